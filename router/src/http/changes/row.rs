//! A feed as text: its rows, and what stands around them, for each way of delivery.

use common::change::Change;
use common::document;
use common::mango::Reader;
use common::rev::Rev;

use super::filter::Filter;
use super::options::{Kind, Options};
use crate::feed::Token;
use crate::http::attachments::splice::Spliced;
use crate::http::render;

/// Rows that CouchDB takes to be wanted where none are said. Only which seqs are shown depends on it.
const LIMIT: u64 = 1_000_000_000_000_000;

/// What stands before the first row.
pub(super) fn head(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Normal | Kind::LongPoll => b"{\"results\":[\n",
        Kind::Continuous | Kind::EventSource => b"",
    }
}

/// A sign of life.
pub(super) fn heartbeat(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Normal | Kind::LongPoll | Kind::Continuous => b"\n",
        Kind::EventSource => b"event: heartbeat\ndata: \n\n",
    }
}

/// What stands behind the last row.
pub(super) fn tail(out: &mut Vec<u8>, kind: Kind, last: &Token, pending: u64) {
    match kind {
        Kind::Normal | Kind::LongPoll => out.extend_from_slice(b"\n],\n"),
        Kind::Continuous => out.push(b'{'),
        Kind::EventSource => return,
    }
    out.extend_from_slice(b"\"last_seq\":");
    render::string(out, &last.to_string());
    out.extend_from_slice(format!(",\"pending\":{pending}}}\n").as_bytes());
}

/// Writes the row number `at` (from 0). `conflicts`: the losing leaves to show in the document.
pub(super) fn row(all: &mut Spliced, options: &Options, at: u64, token: &Token, change: &Change, conflicts: &[Rev]) {
    let out = &mut all.text;
    match options.kind {
        Kind::Normal | Kind::LongPoll if at > 0 => out.extend_from_slice(b",\n"),
        Kind::EventSource => out.extend_from_slice(b"data: "),
        _ => {}
    }
    let seq = token.to_string();
    object(all, options, at, &seq, change, conflicts);
    let out = &mut all.text;
    match options.kind {
        Kind::Normal | Kind::LongPoll => {}
        Kind::Continuous => out.push(b'\n'),
        Kind::EventSource => {
            out.extend_from_slice(b"\nid: ");
            render::string(out, &seq);
            out.extend_from_slice(b"\n\n");
        }
    }
}

fn object(all: &mut Spliced, options: &Options, at: u64, seq: &str, change: &Change, conflicts: &[Rev]) {
    let out = &mut all.text;
    out.extend_from_slice(b"{\"seq\":");
    // CouchDB spares itself the work of most seqs: a row has one if the rows still wanted are so many times the interval.
    let shown = options.limit.unwrap_or(LIMIT).saturating_sub(at).is_multiple_of(options.seq_interval);
    if shown {
        render::string(out, seq)
    } else {
        out.extend_from_slice(b"null")
    }
    out.extend_from_slice(b",\"id\":");
    render::string(out, change.id.as_str());
    out.extend_from_slice(b",\"changes\":");
    render::array(out, options.leaves(change), |out, leaf| {
        out.extend_from_slice(b"{\"rev\":");
        render::rev(out, leaf);
        out.push(b'}');
    });
    if change.deleted {
        out.extend_from_slice(b",\"deleted\":true");
    }
    if options.include_docs {
        out.extend_from_slice(b",\"doc\":");
        doc(all, options, change, conflicts);
    }
    all.text.push(b'}');
}

fn doc(all: &mut Spliced, options: &Options, change: &Change, conflicts: &[Rev]) {
    let out = &mut all.text;
    let (Some(rev), Some(json)) = (change.leaves.first(), &change.json) else {
        out.extend_from_slice(b"null");
        return;
    };
    if let Filter::Selector { fields, .. } = &options.filter
        && !fields.is_all()
    {
        let reader = Reader::new(fields.roots());
        let mut document = reader.open(change.id.as_str(), rev, json);
        if change.deleted {
            document.add_deleted();
        }
        document.add_revs("_conflicts", conflicts);
        fields.write(&document, out);
        return;
    }
    if conflicts.is_empty() {
        document::render(out, change.id.as_str(), rev, change.deleted, &[], json);
    } else {
        let mut list = Vec::new();
        render::revs(&mut list, conflicts);
        let list = String::from_utf8_lossy(&list);
        document::render(out, change.id.as_str(), rev, change.deleted, &[("_conflicts", &list)], json);
    }
    options.attachments.add(all, &change.id, &change.attachments);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::ids::{DbUid, DocId, Seq, ShardId};

    use super::*;
    use crate::feed::Scope;
    use crate::http::params::Params;

    fn shown(query: &str, changes: &[Change]) -> String {
        let options = Options::of(&Params::of_query(Some(query)), None, false).expect("valid");
        let token = |seq: u64| Token {
            origin: DbUid::USERS.into(),
            scope: Scope::Database,
            map_version: 1,
            seqs: vec![(ShardId(0), Seq(seq))],
        };
        let mut out = Spliced::from(head(options.kind).to_vec());
        for (at, change) in changes.iter().enumerate() {
            row(&mut out, &options, at as u64, &token(change.seq.0), change, &[]);
        }
        tail(&mut out.text, options.kind, &token(9), 3);
        let text = String::from_utf8(out.text).expect("text");
        // Tokens are somebody else's business.
        let seqs = changes.iter().map(|change| change.seq.0).chain([9]);
        seqs.fold(text, |text, seq| text.replace(&token(seq).to_string(), &format!("{seq}-x")))
    }

    fn change(seq: u64, id: &str, leaves: &[&str], deleted: bool) -> Change {
        Change {
            seq: Seq(seq),
            id: DocId::parse(id).expect("valid"),
            leaves: leaves.iter().map(|leaf| Rev::parse(leaf).expect("valid")).collect(),
            deleted,
            json: Some(Bytes::from_static(b"{\"n\":1}")),
            attachments: Vec::new(),
            matching: None,
        }
    }

    #[test]
    fn a_feed_looks_as_couchdbs() {
        let changes = [change(1, "b", &["1-x"], false), change(3, "del", &["2-y", "2-a"], true)];
        assert_eq!(
            shown("", &changes),
            "{\"results\":[\n\
             {\"seq\":\"1-x\",\"id\":\"b\",\"changes\":[{\"rev\":\"1-x\"}]},\n\
             {\"seq\":\"3-x\",\"id\":\"del\",\"changes\":[{\"rev\":\"2-y\"}],\"deleted\":true}\n\
             ],\n\
             \"last_seq\":\"9-x\",\"pending\":3}\n"
        );
        assert_eq!(shown("", &[]), "{\"results\":[\n\n],\n\"last_seq\":\"9-x\",\"pending\":3}\n");
        assert_eq!(
            shown("feed=continuous&style=all_docs&include_docs=true", &changes[1..]),
            "{\"seq\":\"3-x\",\"id\":\"del\",\"changes\":[{\"rev\":\"2-y\"},{\"rev\":\"2-a\"}],\"deleted\":true,\
             \"doc\":{\"_id\":\"del\",\"_rev\":\"2-y\",\"_deleted\":true,\"n\":1}}\n\
             {\"last_seq\":\"9-x\",\"pending\":3}\n"
        );
        assert_eq!(
            shown("feed=eventsource", &changes[..1]),
            "data: {\"seq\":\"1-x\",\"id\":\"b\",\"changes\":[{\"rev\":\"1-x\"}]}\nid: \"1-x\"\n\n"
        );
    }

    #[test]
    fn seqs_can_be_sparse() {
        let changes: Vec<_> = (1..=5).map(|seq| change(seq, "a", &["1-x"], false)).collect();
        let text = shown("seq_interval=3", &changes);
        let seqs: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("{\"seq\":")?.split(',').next()).collect();
        assert_eq!(seqs, ["null", "\"2-x\"", "null", "null", "\"5-x\""]);
        // As a client asks that takes batches: the last seq stands behind the rows.
        let text = shown("seq_interval=5&limit=5", &changes);
        assert_eq!((text.matches("null").count(), text.find("\"1-x\"").is_some()), (4, true), "{text}");
    }
}
