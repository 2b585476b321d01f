use super::*;

fn attachment(name: &str, content_type: &str, md5: u8) -> Attachment {
    let content = Content {
        blob: BlobDigest([md5; 32]),
        md5: [md5; 16],
        stored_bytes: 1,
        length: 1,
        encoding: Encoding::Identity,
    };
    Attachment { name: name.into(), content_type: content_type.into(), revpos: 1, content }
}

#[test]
fn a_digest_tells_attachments_apart_but_not_their_order() {
    let body = [9; 16];
    let of = |all: &[Attachment]| digest_with(body, all);
    let (a, b) = (attachment("a", "t", 1), attachment("b", "t", 2));
    assert_eq!(of(&[]), body, "without attachments nothing changes");
    assert_eq!(of(&[a.clone(), b.clone()]), of(&[b.clone(), a.clone()]));
    let packed = Content { encoding: Encoding::Gzip, ..a.content.clone() };
    let others = [
        vec![],
        vec![a.clone()],
        vec![b.clone()],
        vec![a.clone(), b],
        vec![attachment("a", "u", 1)],
        vec![attachment("a", "t", 3)],
        vec![attachment("at", "", 1)],
        vec![Attachment { content: packed, ..a.clone() }],
    ];
    for (at, one) in others.iter().enumerate() {
        assert!(others.iter().skip(at + 1).all(|other| of(one) != of(other)), "{one:?}");
    }
    let moved = Attachment { revpos: 7, ..a.clone() };
    assert_eq!(of(&[moved]), of(&[a]), "where it came from is no part of it");
}

#[test]
fn a_blob_is_cut_into_whole_chunks_and_a_rest() {
    let chunk = CHUNK_BYTES as u64;
    let table = [(0, 0), (1, 1), (chunk, 1), (chunk + 1, 2), (64 << 20, 274)];
    table.iter().for_each(|(bytes, chunks)| assert_eq!(chunks_of(*bytes), *chunks, "{bytes}"));
}

#[test]
fn encodings_are_known_by_their_names() {
    assert_eq!(Encoding::parse("gzip"), Some(Encoding::Gzip));
    assert_eq!(Encoding::parse(" X-GZip"), Some(Encoding::Gzip));
    assert_eq!(Encoding::parse("identity"), Some(Encoding::Identity));
    assert_eq!(Encoding::parse("deflate"), None);
}
