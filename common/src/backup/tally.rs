//! What is counted of a backup, so that two copies of a database can be compared, and the order records must have.
//!
//! A tally is a sum over documents: the tallies of a database's shards, added up, are those of the database, however
//! many shards there are. The content digest is a sum of hashes, one for each document: of its id, its revision tree
//! and its bodies. It finds what was lost or mixed up, not somebody who wants to deceive.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::Xxh3;

use super::End;
use super::blobs::Blobs;
use super::record::{Attached, Chunk, Document, Local, Record};
use crate::attachment::{Attachment, BlobDigest};
use crate::ids::DbUid;

/// A local document that a restore keeps in a database while it is at work. It counts for nothing.
pub const RESTORE_MARK: &str = "_local/quorate-restore";

/// Counts of a database, or of a part of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Documents whose winner is not a deletion.
    pub docs: u64,
    /// Documents whose winner is a deletion.
    pub deleted: u64,
    /// Local documents.
    pub locals: u64,
    /// Revisions with a body.
    pub bodies: u64,
    /// Bytes of JSON text in all bodies and local documents, and of attachments, each once for a document.
    pub bytes: u64,
    /// Digest of the content; does not depend on the order of documents.
    pub digest: Digest,
}

/// A digest that can be added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(u128);

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = std::num::ParseIntError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

impl fmt::Display for Digest {
    /// 32 lowercase hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Tally {
    /// The tally of both together.
    pub fn add(&mut self, other: &Self) {
        self.docs += other.docs;
        self.deleted += other.deleted;
        self.locals += other.locals;
        self.bodies += other.bodies;
        self.bytes += other.bytes;
        self.add_digest(other.digest.0);
    }

    fn add_digest(&mut self, digest: u128) {
        self.digest.0 = self.digest.0.wrapping_add(digest);
    }
}

/// Counts records as they pass by, and refuses those that are out of order.
#[derive(Debug, Default)]
pub struct Tallies {
    databases: BTreeMap<DbUid, Tally>,
    current: Option<DbUid>,
    open: Option<Open>,
    locals: bool,
}

/// A document whose bodies are still to come.
struct Open {
    /// Places of the revisions whose bodies are missing, the next one last.
    missing: Vec<u32>,
    hash: Box<Xxh3>,
    /// Blobs, some of whose bytes may be missing.
    blobs: Blobs,
    /// Of the one whose bytes pass by.
    sha256: Sha256,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("missing", &self.missing).finish_non_exhaustive()
    }
}

impl Tallies {
    /// Counts a record; what is wrong with its place or its content otherwise.
    pub fn push(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Body(body) => self.body(body.at, &body.json, &[]),
            Record::Attached(Attached { at, json, attachments }) => self.body(*at, json, attachments),
            Record::Chunk(chunk) => self.chunk(chunk),
            _ if self.open.is_some() => Err("a document without all its bodies".to_owned()),
            Record::Database(uid) => self.database(*uid),
            Record::Document(_) if self.locals => Err("a document behind a local document".to_owned()),
            Record::Document(document) => self.document(document),
            Record::Local(local) => self.local(local),
        }
    }

    /// Whether the shard counted the same; what differs otherwise.
    pub fn agree(&self, end: &End) -> Result<(), String> {
        if self.open.is_some() {
            return Err("a document without all its bodies".to_owned());
        }
        let there = end.databases.iter().filter(|database| !database.dropped).count();
        if there != self.databases.len() {
            return Err(format!("{} of {there} databases are here", self.databases.len()));
        }
        for database in end.databases.iter().filter(|database| !database.dropped) {
            let here = self.databases.get(&database.uid);
            if here != Some(&database.tally) {
                let uid = database.uid;
                return Err(format!("database {uid} should be {:?}, and {here:?} is here", database.tally));
            }
        }
        Ok(())
    }

    /// What was counted of a database; `None` if it was not met.
    pub fn of(&self, uid: DbUid) -> Option<&Tally> {
        self.databases.get(&uid)
    }

    /// Documents counted so far, deleted ones included.
    pub fn documents(&self) -> u64 {
        self.databases.values().map(|tally| tally.docs + tally.deleted).sum()
    }

    fn database(&mut self, uid: DbUid) -> Result<(), String> {
        if self.databases.insert(uid, Tally::default()).is_some() {
            return Err(format!("database {uid} comes twice"));
        }
        (self.current, self.locals) = (Some(uid), false);
        Ok(())
    }

    fn document(&mut self, document: &Document) -> Result<(), String> {
        let deleted = is_deleted(document).ok_or_else(|| format!("the tree of {:?} is none", document.id.as_str()))?;
        let tally = self.tally()?;
        *(if deleted { &mut tally.deleted } else { &mut tally.docs }) += 1;
        let mut hash = Box::new(Xxh3::new());
        text(&mut hash, document.id.as_str());
        for revision in &document.revisions {
            text(&mut hash, &revision.rev.to_string());
            hash.update(&revision.parent.map_or(0, |parent| u64::from(parent) + 1).to_le_bytes());
            // Of a revision without a body nobody can tell any more whether it was a deletion, nor does it matter.
            hash.update(&[u8::from(revision.stored), u8::from(revision.stored && revision.deleted)]);
        }
        let stored = document.revisions.iter().enumerate().filter(|(_, revision)| revision.stored);
        let mut missing: Vec<u32> = stored.filter_map(|(at, _)| u32::try_from(at).ok()).collect();
        missing.reverse();
        self.close(Open { missing, hash, blobs: Blobs::default(), sha256: Sha256::new() })
    }

    fn body(&mut self, at: u32, json: &[u8], attachments: &[Attachment]) -> Result<(), String> {
        let expected = |open: &Open| open.missing.last() == Some(&at) && open.blobs.next().is_none();
        let open = self.open.take().filter(expected);
        let Some(mut open) = open else { return Err("a body that belongs to nothing before it".to_owned()) };
        open.missing.pop();
        bytes(&mut open.hash, json);
        if !attachments.is_empty() {
            let list = postcard::to_stdvec(attachments).map_err(|error| error.to_string())?;
            bytes(&mut open.hash, &list);
            open.blobs.body(attachments);
        }
        let tally = self.tally()?;
        tally.bodies += 1;
        tally.bytes += json.len() as u64;
        self.close(open)
    }

    fn chunk(&mut self, chunk: &Chunk) -> Result<(), String> {
        let misplaced = || "bytes of an attachment that belong to nothing before them".to_owned();
        let mut open = self.open.take().ok_or_else(misplaced)?;
        let whole = open.blobs.pass(chunk).ok_or_else(misplaced)?;
        open.sha256.update(&chunk.bytes);
        if whole && BlobDigest(open.sha256.finalize_reset().into()) != chunk.blob {
            return Err(format!("the bytes of attachment {} are others", chunk.blob));
        }
        self.tally()?.bytes += chunk.bytes.len() as u64;
        self.close(open)
    }

    fn local(&mut self, local: &Local) -> Result<(), String> {
        self.locals = true;
        let tally = self.tally()?;
        if local.id.as_str() == RESTORE_MARK {
            return Ok(());
        }
        tally.locals += 1;
        tally.bytes += local.json.len() as u64;
        let mut hash = Xxh3::new();
        text(&mut hash, local.id.as_str());
        bytes(&mut hash, &local.json);
        tally.add_digest(hash.digest128());
        Ok(())
    }

    /// Ends a document if all its bodies and attachments were there.
    fn close(&mut self, open: Open) -> Result<(), String> {
        if open.missing.is_empty() && open.blobs.next().is_none() {
            self.tally()?.add_digest(open.hash.digest128());
        } else {
            self.open = Some(open);
        }
        Ok(())
    }

    fn tally(&mut self) -> Result<&mut Tally, String> {
        let current = self.current.and_then(|uid| self.databases.get_mut(&uid));
        current.ok_or_else(|| "a record of no database".to_owned())
    }
}

/// Whether the document's winner is a deletion; `None` if its revisions make no tree with leaves that have bodies.
fn is_deleted(document: &Document) -> Option<bool> {
    let revisions = &document.revisions;
    let sorted = revisions.is_sorted_by(|a, b| a.rev < b.rev);
    let mut leaf = vec![true; revisions.len()];
    for (at, revision) in revisions.iter().enumerate() {
        if let Some(parent) = revision.parent.map(|parent| parent as usize) {
            *leaf.get_mut(parent).filter(|_| parent < at)? = false;
        }
    }
    let leaves = || revisions.iter().zip(&leaf).filter(|(_, leaf)| **leaf).map(|(revision, _)| revision);
    let whole = sorted && !revisions.is_empty() && leaves().all(|revision| revision.stored);
    whole.then(|| leaves().all(|revision| revision.deleted))
}

/// With its length, so that no two sequences run together to the same bytes.
fn bytes(hash: &mut Xxh3, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn text(hash: &mut Xxh3, text: &str) {
    bytes(hash, text.as_bytes());
}
