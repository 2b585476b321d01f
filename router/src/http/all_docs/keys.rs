//! A listing by `keys`: a row for each, in the order asked, also for those that are not there.

use std::sync::Arc;

use bytes::Bytes;
use common::ids::{DbName, DocId};
use common::query::{Consistency, DocAnswer, LocalAnswer, RangeRow, Revs};
use common::rev::{Rev, RevHash};
use futures::StreamExt;
use serde_json::value::RawValue;

use super::{CHUNK_BYTES, Kind, Options, Text, designs, head, write_row};
use crate::http::attachments::splice::{Origin, Spliced};
use crate::http::render;
use crate::ops::get::{READS_AT_ONCE, Wanted};
use crate::ops::{self, Ops};

pub(super) async fn list(
    ops: &Ops,
    name: &DbName,
    kind: Kind,
    options: &Options,
    keys: Vec<Box<RawValue>>,
    consistency: Consistency,
) -> Result<Text, ops::Error> {
    // Asks every shard, so that one that cannot answer is found out before the first row is sent.
    let info = ops.info(name, consistency).await?;
    let total = match kind {
        Kind::All => Some(info.counters.docs),
        Kind::Design => Some(designs(ops, name, consistency).await?),
        Kind::Local => None,
    };
    let keys: Vec<_> = keys.into_iter().filter(|key| is_of(kind, key)).collect();
    let update_seq = options.update_seq.then(|| info.update_seq.to_string());
    let head = head(total, None, update_seq.as_deref());
    let (ops, db) = (ops.clone(), Arc::clone(&info.db));
    let shown = Shown { options: options.clone() };
    let from = Origin { ops: ops.clone(), db: Arc::clone(&db), consistency };
    let rows = futures::stream::iter(keys)
        .map(move |key| {
            let (ops, db, shown) = (ops.clone(), Arc::clone(&db), shown.clone());
            async move {
                let Some(id) = id_of(&key) else { return Ok(shown.row(&key, None, None)) };
                if id.is_local() {
                    let doc = ops.get_local_placed(&db, &id, consistency).await?;
                    return Ok(doc.map_or_else(|| shown.row(&key, None, None), |doc| shown.local_row(&id, &doc)));
                }
                let (doc, _) = ops.get_placed(&db, &id, &shown.wanted(), consistency).await?;
                Ok(shown.row(&key, Some(&id), doc.as_ref()))
            }
        })
        .buffered(READS_AT_ONCE)
        .ready_chunks(READS_AT_ONCE);
    let text = rows.scan((false, false), |(any, failed), rows: Vec<Result<Spliced, ops::Error>>| {
        let mut out = Spliced::from(Vec::with_capacity(CHUNK_BYTES));
        let mut error = None;
        for row in rows {
            match row {
                Ok(row) => {
                    out.text.extend_from_slice(if *any { b",\r\n" } else { b"\r\n" });
                    out.append(row);
                    *any = true;
                }
                Err(why) => error = Some(why),
            }
        }
        // Nothing may follow an error: the connection is cut there, so that the answer does not look whole.
        let over = std::mem::replace(failed, error.is_some());
        futures::future::ready((!over).then(|| error.map_or_else(|| Ok(out), Err)))
    });
    let text = from.pieces(text);
    let head = futures::stream::once(futures::future::ready(Ok(Bytes::from(head))));
    let tail = futures::stream::once(futures::future::ready(Ok(Bytes::from_static(b"\r\n]}"))));
    // The rows are read while they are sent, so this is the age of what was read first: the counters.
    Ok(Text { pieces: head.chain(text).chain(tail).boxed(), lag_ms: info.lag_ms })
}

/// Whether a key may be asked for in a listing of that kind; others are passed over without a row, as in CouchDB.
fn is_of(kind: Kind, key: &RawValue) -> bool {
    let starts = |prefix: &str| serde_json::from_str::<String>(key.get()).is_ok_and(|key| key.starts_with(prefix));
    match kind {
        Kind::All => true,
        Kind::Design => starts("_design/"),
        Kind::Local => starts("_local/"),
    }
}

/// The id a key names; none that is not a valid id is there.
fn id_of(key: &RawValue) -> Option<DocId> {
    DocId::parse(&serde_json::from_str::<String>(key.get()).ok()?).ok()
}

#[derive(Clone)]
struct Shown {
    options: Options,
}

impl Shown {
    /// The winner with its body, or the tree alone.
    fn wanted(&self) -> Wanted {
        match self.options.include_docs {
            true => Wanted { revs: Revs::Winner, tree: self.options.conflicts },
            false => Wanted { revs: Revs::List { revs: Vec::new(), latest: false }, tree: true },
        }
    }

    fn row(&self, key: &RawValue, id: Option<&DocId>, doc: Option<&DocAnswer>) -> Spliced {
        let mut row = Spliced::from(Vec::with_capacity(128));
        let out = &mut row.text;
        let found = id.zip(doc).and_then(|(id, doc)| Some((id, doc, winner(doc)?)));
        let Some((id, doc, rev)) = found else {
            out.extend_from_slice(b"{\"key\":");
            out.extend_from_slice(key.get().as_bytes());
            out.extend_from_slice(b",\"error\":\"not_found\"}");
            return row;
        };
        out.extend_from_slice(b"{\"id\":");
        render::string(out, id.as_str());
        out.extend_from_slice(b",\"key\":");
        render::string(out, id.as_str());
        out.extend_from_slice(b",\"value\":{\"rev\":");
        render::rev(out, &rev);
        out.extend_from_slice(if doc.deleted { b",\"deleted\":true}" } else { b"}" });
        if self.options.include_docs {
            out.extend_from_slice(b",\"doc\":");
            self.doc(&mut row, id, doc);
        }
        row.text.push(b'}');
        row
    }

    fn local_row(&self, id: &DocId, doc: &LocalAnswer) -> Spliced {
        let rev = Rev { generation: 0, hash: RevHash::new(&doc.counter.to_string()) };
        let json = self.options.include_docs.then(|| doc.json.clone());
        let mut out = Spliced::from(Vec::with_capacity(128));
        let row = RangeRow { id: id.clone(), rev, json, conflicts: Vec::new(), attachments: Vec::new() };
        write_row(&mut out, &row, &self.options);
        out
    }

    fn doc(&self, out: &mut Spliced, id: &DocId, doc: &DocAnswer) {
        let Options { conflicts, attachments, .. } = self.options;
        let (data, encoding) = (attachments.data, attachments.encoding);
        let shown = crate::http::doc::Shown { conflicts, data, encoding, ..Default::default() };
        match doc.found.first() {
            Some(found) if !doc.deleted => {
                shown.render(out, id, doc, found);
            }
            _ => out.text.extend_from_slice(b"null"),
        }
    }
}

fn winner(doc: &DocAnswer) -> Option<Rev> {
    let in_tree = || doc.tree.as_ref()?.winner().map(|node| node.rev.clone());
    doc.found.first().map(|found| found.rev.clone()).or_else(in_tree)
}

#[cfg(test)]
mod tests {
    use common::ids::Seq;
    use common::query::RevBody;

    use super::*;

    #[test]
    fn a_key_gets_a_row_whatever_became_of_its_document() {
        let rev = Rev::parse("2-b").expect("valid");
        let doc = |deleted| DocAnswer {
            found: vec![RevBody {
                rev: rev.clone(),
                deleted,
                json: Bytes::from_static(b"{\"n\":1}"),
                attachments: Vec::new(),
            }],
            missing: vec![],
            seq: Seq(1),
            deleted,
            tree: None,
        };
        let row = |key: &str, doc: Option<&DocAnswer>| {
            let key = RawValue::from_string(key.to_owned()).expect("JSON");
            let shown = Shown { options: super::super::options_of("include_docs=true").expect("valid") };
            String::from_utf8(shown.row(&key, id_of(&key).as_ref(), doc).text).expect("text")
        };
        assert_eq!(row("\"none\"", None), r#"{"key":"none","error":"not_found"}"#);
        assert_eq!(row("[1]", None), r#"{"key":[1],"error":"not_found"}"#);
        assert_eq!(
            row("\"a\"", Some(&doc(false))),
            r#"{"id":"a","key":"a","value":{"rev":"2-b"},"doc":{"_id":"a","_rev":"2-b","n":1}}"#
        );
        assert_eq!(
            row("\"a\"", Some(&doc(true))),
            r#"{"id":"a","key":"a","value":{"rev":"2-b","deleted":true},"doc":null}"#
        );
    }
}
