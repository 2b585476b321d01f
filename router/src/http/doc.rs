//! A document as it is shown: which of its special members, in CouchDB's order.

use common::document;
use common::ids::DocId;
use common::query::{DocAnswer, RevBody};
use common::rev::Rev;
use common::rev_tree::RevTree;

use super::attachments::shown::{Data, Shown as Attachments};
use super::attachments::splice::Spliced;
use super::error::Error;
use super::params::Params;
use super::render;

/// Which special members to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// `_revisions`
    pub revs: bool,
    /// `_revs_info`
    pub revs_info: bool,
    /// `_conflicts`
    pub conflicts: bool,
    /// `_deleted_conflicts`
    pub deleted_conflicts: bool,
    /// `_local_seq`
    pub local_seq: bool,
    /// How the bytes of attachments are shown.
    pub data: Data,
    /// Whether to tell how attachments are packed.
    pub encoding: bool,
    /// Revisions that the reader has: it knows the attachments of the newest of them that leads to what is shown.
    pub since: Vec<Rev>,
}

impl Shown {
    /// What the options ask for.
    pub(crate) fn of(params: &Params<'_>) -> Result<Self, Error> {
        let meta = params.is_true("meta");
        let since = since(params)?;
        let data = params.is_true("attachments") || since.is_some();
        Ok(Self {
            revs: params.is_true("revs"),
            revs_info: meta || params.is_true("revs_info"),
            conflicts: meta || params.is_true("conflicts"),
            deleted_conflicts: meta || params.is_true("deleted_conflicts"),
            local_seq: params.is_true("local_seq"),
            data: if data { Data::Inline } else { Data::Stubs },
            encoding: params.is_true("att_encoding_info"),
            since: since.unwrap_or_default(),
        })
    }

    /// The same, the bytes of attachments behind the document and not in it.
    pub(crate) fn following(&self) -> Self {
        match self.data {
            Data::Stubs => self.clone(),
            Data::Inline | Data::Follow => Self { data: Data::Follow, encoding: true, ..self.clone() },
        }
    }

    /// Whether the document is shown as its revision alone decides it.
    pub(crate) fn is_plain(&self) -> bool {
        !(self.revs_info || self.conflicts || self.deleted_conflicts || self.local_seq)
    }

    /// Whether the tree must be read.
    pub(crate) fn needs_tree(&self) -> bool {
        self.revs || self.revs_info || self.conflicts || self.deleted_conflicts || !self.since.is_empty()
    }

    /// How the attachments of a revision are shown.
    pub(crate) fn attachments(&self, doc: &DocAnswer, rev: &Rev) -> Attachments {
        let path = doc.tree.as_ref().filter(|_| !self.since.is_empty()).map(|tree| tree.path(rev)).unwrap_or_default();
        let known = path.iter().find(|rev| self.since.contains(rev)).map(|rev| rev.generation);
        Attachments { data: self.data, known, encoding: self.encoding }
    }

    /// Writes one revision of a document. Says whether it shows more than the revision alone decides: then its
    /// revision is no `ETag`.
    pub(crate) fn render(&self, out: &mut Spliced, id: &DocId, doc: &DocAnswer, found: &RevBody) -> bool {
        let mut extra: Vec<(&str, String)> = Vec::new();
        if let Some(tree) = &doc.tree {
            if self.revs {
                extra.push(("_revisions", revisions(tree, &found.rev)));
            }
            self.add_meta(&mut extra, tree, &found.rev);
        }
        if self.local_seq {
            extra.push(("_local_seq", doc.seq.to_string()));
        }
        let has_meta = extra.iter().any(|(name, _)| *name != "_revisions");
        let extra: Vec<(&str, &str)> = extra.iter().map(|(name, json)| (*name, json.as_str())).collect();
        document::render(&mut out.text, id.as_str(), &found.rev, found.deleted, &extra, &found.json);
        self.attachments(doc, &found.rev).add(out, id, &found.attachments);
        has_meta
    }

    fn add_meta(&self, extra: &mut Vec<(&str, String)>, tree: &RevTree, rev: &Rev) {
        if self.revs_info {
            extra.push(("_revs_info", revs_info(tree, rev)));
        }
        let lists = [
            (self.conflicts, "_conflicts", RevTree::conflicts as fn(&RevTree) -> Vec<Rev>),
            (self.deleted_conflicts, "_deleted_conflicts", RevTree::deleted_conflicts),
        ];
        for (wanted, name, list) in lists {
            let revs = if wanted { list(tree) } else { Vec::new() };
            // As CouchDB: no conflicts, no member.
            if !revs.is_empty() {
                extra.push((name, text(|out| render::revs(out, &revs))));
            }
        }
    }
}

/// The revisions of `atts_since`.
fn since(params: &Params<'_>) -> Result<Option<Vec<Rev>>, Error> {
    let Some(texts) = params.json::<serde_json::Value>("atts_since")? else { return Ok(None) };
    let texts: Vec<String> =
        serde_json::from_value(texts).map_err(|_| Error::bad("Invalid list of revisions in `atts_since`"))?;
    texts.iter().map(|text| Rev::parse(text).map_err(Error::from)).collect::<Result<_, _>>().map(Some)
}

/// `{"start":2,"ids":[…]}`: the revision and its ancestors, newest first.
fn revisions(tree: &RevTree, rev: &Rev) -> String {
    text(|out| {
        out.extend_from_slice(format!("{{\"start\":{},\"ids\":", rev.generation).as_bytes());
        render::array(out, tree.path(rev), |out, rev| render::string(out, &rev.hash.to_string()));
        out.push(b'}');
    })
}

/// `[{"rev":…,"status":"available"}, …]`
fn revs_info(tree: &RevTree, rev: &Rev) -> String {
    text(|out| {
        render::array(out, tree.path(rev), |out, rev| {
            let status = match tree.get(&rev) {
                Some(node) if node.stored && node.deleted => "deleted",
                Some(node) if node.stored => "available",
                _ => "missing",
            };
            out.extend_from_slice(b"{\"rev\":");
            render::rev(out, &rev);
            out.extend_from_slice(format!(",\"status\":\"{status}\"}}").as_bytes());
        });
    })
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("JSON made of strings is UTF-8")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::ids::{RequestId, Seq};

    use super::*;

    fn rev(text: &str) -> Rev {
        Rev::parse(text).expect("valid")
    }

    fn conflicted() -> (DocAnswer, RevBody) {
        let mut tree = RevTree::default();
        tree.graft(&[rev("2-bbb"), rev("1-aaa")], false, RequestId(uuid::Uuid::nil()));
        tree.graft(&[rev("2-ccc"), rev("1-aaa")], false, RequestId(uuid::Uuid::nil()));
        let json = Bytes::from_static(b"{\"v\":\"c\"}");
        let found = RevBody { rev: rev("2-ccc"), deleted: false, json, attachments: Vec::new() };
        let doc =
            DocAnswer { found: vec![found.clone()], missing: vec![], seq: Seq(5), deleted: false, tree: Some(tree) };
        (doc, found)
    }

    fn shown(options: &str) -> (String, bool) {
        let (doc, found) = conflicted();
        let mut out = Spliced::default();
        let shown = Shown::of(&Params::of_query(Some(options))).expect("valid");
        let meta = shown.render(&mut out, &DocId::parse("c").expect("valid"), &doc, &found);
        (String::from_utf8(out.text).expect("text"), meta)
    }

    #[test]
    fn members_stand_in_couchdbs_order() {
        assert_eq!(shown(""), (r#"{"_id":"c","_rev":"2-ccc","v":"c"}"#.to_owned(), false));
        let (text, meta) = shown("revs=true&conflicts=true");
        let wanted =
            r#"{"_id":"c","_rev":"2-ccc","v":"c","_revisions":{"start":2,"ids":["ccc","aaa"]},"_conflicts":["2-bbb"]}"#;
        assert_eq!((text.as_str(), meta), (wanted, true));
        let (text, _) = shown("meta=true&local_seq=true");
        let info = r#""_revs_info":[{"rev":"2-ccc","status":"available"},{"rev":"1-aaa","status":"missing"}]"#;
        let wanted = format!(r#"{{"_id":"c","_rev":"2-ccc","v":"c",{info},"_conflicts":["2-bbb"],"_local_seq":5}}"#);
        assert_eq!(text, wanted);
        assert!(!shown("revs=true").1, "the path to a revision is part of its identity");
    }
}
