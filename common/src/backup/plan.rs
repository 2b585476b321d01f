//! How the records of a backup become writes.
//!
//! Each revision with a body is one write: its path leads down to the next ancestor that is written by itself, or to
//! the root. Whatever the order of the writes, and however often one is repeated, the tree comes out as it was. Only
//! the bytes of attachments go before the revision that names them.

use super::Load;
use super::blobs::Blobs;
use super::record::{Attached, Body, Document, Local, Record};
use crate::ids::DocId;
use crate::rev::Rev;

/// The document passing by.
#[derive(Debug, Default)]
pub struct Plan {
    document: Option<Document>,
    blobs: Blobs,
    /// A revision that waits for the bytes of its attachments.
    waiting: Option<Load>,
}

impl Plan {
    /// The writes that a record asks for, in order. The records must be in order, as a
    /// [`Reader`](super::reader::Reader) gives them.
    pub fn load(&mut self, record: Record) -> Vec<Load> {
        match record {
            Record::Database(_) => self.document = None,
            Record::Document(document) => (self.document, self.blobs) = (Some(document), Blobs::default()),
            Record::Body(Body { at, json }) => {
                let load = |(id, path, deleted)| Load::Revision { id, path, deleted, json };
                return self.revision(at).map(load).into_iter().collect();
            }
            Record::Local(Local { id, json, .. }) => return vec![Load::Local { id, json }],
            Record::Attached(Attached { at, json, attachments }) => {
                self.blobs.body(&attachments);
                let load = |(id, path, deleted)| Load::Attached { id, path, deleted, json, attachments };
                let load = self.revision(at).map(load);
                if self.blobs.next().is_none() {
                    return load.into_iter().collect();
                }
                self.waiting = load;
            }
            Record::Chunk(chunk) => {
                let Some(document) = &self.document else { return Vec::new() };
                self.blobs.pass(&chunk);
                let chunk = Load::Chunk { id: document.id.clone(), chunk };
                let whole = self.blobs.next().is_none();
                return std::iter::once(chunk).chain(self.waiting.take_if(|_| whole)).collect();
            }
        }
        Vec::new()
    }

    /// The document of a revision, its path, and whether it is a deletion.
    fn revision(&self, at: u32) -> Option<(DocId, Vec<Rev>, bool)> {
        let document = self.document.as_ref()?;
        let deleted = document.revisions.get(at as usize)?.deleted;
        Some((document.id.clone(), path(document, at), deleted))
    }
}

fn path(document: &Document, at: u32) -> Vec<Rev> {
    let mut path: Vec<Rev> = Vec::new();
    let mut next = Some(at);
    while let Some(revision) = next.and_then(|at| document.revisions.get(at as usize)) {
        path.push(revision.rev.clone());
        next = revision.parent.filter(|_| path.len() == 1 || !revision.stored);
    }
    path
}
