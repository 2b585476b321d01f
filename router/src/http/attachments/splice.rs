//! Text with the bytes of attachments in between, which are read while it is sent: no more than a few chunks are in
//! memory, however large the answer.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use common::attachment::Content;
use common::ids::DocId;
use common::query::Consistency;
use flate2::write::MultiGzDecoder;
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::cluster::catalog::DbEntry;
use crate::ops::download::Blob;
use crate::ops::{Error, Ops};

/// Bytes unpacked at once: a thousand times as many may come out.
const UNPACKED_AT_ONCE: usize = 4 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Spliced {
    /// The text, without the bytes in between.
    pub text: Vec<u8>,
    splices: Vec<Splice>,
}

/// Bytes that belong into the text.
#[derive(Debug)]
struct Splice {
    /// Before which byte of the text.
    at: usize,
    id: DocId,
    content: Content,
    form: Form,
}

/// What becomes of stored bytes on their way out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// Whether they are written in base64.
    pub base64: bool,
    /// Whether they are unpacked before.
    pub unpack: bool,
}

/// Text as it comes.
pub(crate) type Pieces = BoxStream<'static, Result<Bytes, Error>>;

impl From<Vec<u8>> for Spliced {
    fn from(text: Vec<u8>) -> Self {
        Self { text, splices: Vec::new() }
    }
}

impl Spliced {
    /// Puts the bytes of an attachment of the document `id` behind the text.
    pub(crate) fn put(&mut self, id: &DocId, content: &Content, form: Form) {
        self.splices.push(Splice { at: self.text.len(), id: id.clone(), content: content.clone(), form });
    }

    /// Puts another text behind this one.
    pub(crate) fn append(&mut self, other: Spliced) {
        let start = self.text.len();
        self.text.extend_from_slice(&other.text);
        self.splices.extend(other.splices.into_iter().map(|splice| Splice { at: start + splice.at, ..splice }));
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.splices.is_empty()
    }

    /// Whether it is text alone.
    pub(crate) fn is_text(&self) -> bool {
        self.splices.is_empty()
    }

    /// How many bytes it has in all; `None` if that is only known once they are unpacked.
    pub(crate) fn len(&self) -> Option<u64> {
        self.splices.iter().try_fold(self.text.len() as u64, |sum, splice| {
            let stored = splice.content.stored_bytes;
            let bytes = if splice.form.base64 { stored.div_ceil(3) * 4 } else { stored };
            (!splice.form.unpack).then_some(sum + bytes)
        })
    }

    /// All of it, as it comes. The documents are those of `db`, read with this consistency.
    pub(crate) fn pieces(self, ops: &Ops, db: &DbEntry, consistency: Consistency) -> Pieces {
        let (text, mut start) = (Bytes::from(self.text), 0);
        let mut parts: Vec<Pieces> = Vec::with_capacity(2 * self.splices.len() + 1);
        for Splice { at, id, content, form } in self.splices {
            parts.push(one(text.slice(start..at)));
            start = at;
            let blob = Blob { shard: ops.shard_of_doc(db, &id), db: db.uid, content, consistency };
            parts.push(formed(ops.bytes_of(&blob, 0, blob.content.stored_bytes), form));
        }
        parts.push(one(text.slice(start..)));
        stream::iter(parts).flatten().filter(|piece| futures::future::ready(!is_empty(piece))).boxed()
    }

    /// The same as a body.
    pub(crate) fn body(self, ops: &Ops, db: &DbEntry, consistency: Consistency) -> Body {
        Body::from_stream(self.pieces(ops, db, consistency).inspect(|piece| {
            if let Err(error) = piece {
                tracing::warn!(%error, "an answer with attachments was cut");
            }
        }))
    }
}

/// Where what an answer shows comes from.
#[derive(Clone)]
pub(crate) struct Origin {
    pub ops: Ops,
    pub db: Arc<DbEntry>,
    pub consistency: Consistency,
}

impl Origin {
    /// Texts, each with the bytes that belong into it. Nothing follows an error.
    pub(crate) fn pieces(
        self,
        texts: impl futures::Stream<Item = Result<Spliced, Error>> + Send + 'static,
    ) -> impl futures::Stream<Item = Result<Bytes, Error>> + Send + 'static {
        texts.flat_map(move |text| match text {
            Ok(text) if text.is_text() => one(text.text.into()),
            Ok(text) => text.pieces(&self.ops, &self.db, self.consistency),
            Err(error) => stream::once(futures::future::ready(Err(error))).boxed(),
        })
    }
}

fn one(text: Bytes) -> Pieces {
    stream::once(futures::future::ready(Ok(text))).boxed()
}

fn is_empty(piece: &Result<Bytes, Error>) -> bool {
    piece.as_ref().is_ok_and(Bytes::is_empty)
}

/// Stored bytes in the form wanted.
pub(crate) fn formed(stored: Pieces, form: Form) -> Pieces {
    let open = if form.unpack { unpacked(stored) } else { stored };
    if form.base64 { encoded(open) } else { open }
}

/// What comes out of gzip, piece by piece.
fn unpacked(stored: Pieces) -> Pieces {
    let slices = stored.flat_map(|piece| match piece {
        Ok(piece) => {
            let cuts = (0..piece.len()).step_by(UNPACKED_AT_ONCE);
            let slices: Vec<_> =
                cuts.map(|start| Ok(Some(piece.slice(start..piece.len().min(start + UNPACKED_AT_ONCE))))).collect();
            stream::iter(slices)
        }
        Err(error) => stream::iter(vec![Err(error)]),
    });
    let end = stream::once(futures::future::ready(Ok(None)));
    let open = slices.chain(end).scan(MultiGzDecoder::new(Vec::new()), |decoder, slice| {
        let open = slice.and_then(|slice| {
            let done = match slice {
                Some(slice) => decoder.write_all(&slice).and_then(|()| decoder.flush()),
                None => decoder.try_finish(),
            };
            done.map_err(|_| Error::bad("The attachment is not properly gzipped."))?;
            Ok(Bytes::from(std::mem::take(decoder.get_mut())))
        });
        futures::future::ready(Some(open))
    });
    open.boxed()
}

/// Base64 of all pieces together.
fn encoded(open: Pieces) -> Pieces {
    let end = stream::once(futures::future::ready(Ok(None)));
    let text = open.map(|piece| piece.map(Some)).chain(end).scan(Vec::new(), |rest, piece| {
        let text = piece.map(|piece| match piece {
            Some(piece) => {
                rest.extend_from_slice(&piece);
                let whole = rest.len() / 3 * 3;
                let text = BASE64_STANDARD.encode(&rest[..whole]);
                rest.drain(..whole);
                Bytes::from(text)
            }
            None => Bytes::from(BASE64_STANDARD.encode(&rest)),
        });
        futures::future::ready(Some(text))
    });
    text.boxed()
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use futures::TryStreamExt;
    use proptest::prelude::*;

    use super::*;

    fn whole(pieces: Pieces) -> Result<Vec<u8>, Error> {
        let all = pieces.try_fold(Vec::new(), async |mut all, piece| {
            all.extend_from_slice(&piece);
            Ok(all)
        });
        futures::executor::block_on(all)
    }

    fn cut(bytes: &[u8], each: usize) -> Pieces {
        let pieces: Vec<_> = bytes.chunks(each).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        stream::iter(pieces).boxed()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("a vector takes it");
        encoder.finish().expect("a vector takes it")
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_come_out_as_one_text(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), each in 1usize..20,
        ) {
            let base64 = Form { base64: true, unpack: false };
            prop_assert_eq!(whole(formed(cut(&bytes, each), base64)), Ok(BASE64_STANDARD.encode(&bytes).into_bytes()));
            let packed = gzip(&bytes);
            let unpack = Form { base64: false, unpack: true };
            prop_assert_eq!(whole(formed(cut(&packed, each), unpack)), Ok(bytes.clone()));
            let both = Form { base64: true, unpack: true };
            prop_assert_eq!(whole(formed(cut(&packed, each), both)), Ok(BASE64_STANDARD.encode(&bytes).into_bytes()));
        }
    }

    #[test]
    fn what_is_not_gzipped_is_an_error_and_not_an_end() {
        let unpack = Form { base64: false, unpack: true };
        assert!(whole(formed(cut(b"not gzip at all", 4), unpack)).is_err());
        let packed = gzip(b"some text");
        assert!(whole(formed(cut(&packed[..packed.len() - 3], 4), unpack)).is_err());
    }

    #[test]
    fn what_is_put_in_keeps_its_place_when_texts_are_joined() {
        let attachment = super::super::shown::tests::attachment("a", 1, common::attachment::Encoding::Identity);
        let id = DocId::parse("d").expect("valid");
        let mut one = Spliced::from(b"<".to_vec());
        one.put(&id, &attachment.content, Form::default());
        one.text.push(b'>');
        let mut all = Spliced::from(b"[".to_vec());
        all.append(one);
        assert_eq!((&all.text[..], all.splices[0].at, all.len()), (&b"[<>"[..], 2, Some(8)));
        all.put(&id, &attachment.content, Form { base64: true, unpack: false });
        assert_eq!(all.len(), Some(16));
        all.put(&id, &attachment.content, Form { base64: true, unpack: true });
        assert_eq!(all.len(), None);
    }
}
