//! Attachments: what a revision says of them, what a write brings along, and how their bytes are cut into chunks.
//!
//! The bytes of an attachment are a blob, named by the SHA-256 of what is stored. A shard keeps a blob of a database
//! once, as chunks under the name of the upload that brought it, and counts the stored revisions that name it.
//! Everything here is data; what becomes of it is decided in the shard's fold.

#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::ids::UploadId;

/// Bytes in a chunk; only the last of a blob is shorter. Larger ones hold up the small writes behind them in the log;
/// smaller ones cost entries. A multiple of three, so that chunks in base64 can be put one behind the other.
pub const CHUNK_BYTES: usize = 240 << 10;
/// Longest content that travels with its document and needs no upload. Larger makes a command that holds up others;
/// smaller costs a round trip for each attachment.
pub const CARRIED_BYTES_MAX: usize = 64 << 10;
/// Bytes of all contents that travel with one document.
pub const CARRIED_BYTES_TOTAL_MAX: usize = 256 << 10;
/// What an attachment is that does not say.
pub const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

const _: () = assert!(CHUNK_BYTES.is_multiple_of(3));
// A content that is carried is one chunk.
const _: () = assert!(CARRIED_BYTES_MAX <= CHUNK_BYTES && CARRIED_BYTES_MAX <= CARRIED_BYTES_TOTAL_MAX);

/// The SHA-256 of a blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobDigest(pub [u8; 32]);

impl fmt::Display for BlobDigest {
    /// 64 lowercase hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the stored bytes are packed. The order of the variants is part of the log's format: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// They are the content.
    Identity,
    /// They are the content, gzipped by whoever sent it.
    Gzip,
}

impl Encoding {
    /// Its name in headers; `None` where there is nothing to be said.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
        }
    }

    /// The encoding of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let is = |other: &str| name.trim().eq_ignore_ascii_case(other);
        match name {
            _ if is("identity") => Some(Self::Identity),
            _ if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// The bytes of an attachment, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Names them.
    pub blob: BlobDigest,
    /// Their MD5, which clients see as `digest`.
    pub md5: [u8; 16],
    /// How many there are.
    pub stored_bytes: u64,
    /// How many the content has when unpacked; `stored_bytes` where nobody said.
    pub length: u64,
    /// How they are packed.
    pub encoding: Encoding,
}

/// An attachment of a stored revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name, which may hold slashes.
    pub name: Box<str>,
    /// Its media type, to the letter.
    pub content_type: Box<str>,
    /// Generation of the revision that brought it.
    pub revpos: u64,
    /// Its bytes.
    pub content: Content,
}

impl Attachment {
    /// The same attachment in a write that keeps it.
    pub fn stub(&self) -> Sent {
        Sent::Stub { name: self.name.clone(), revpos: Some(self.revpos) }
    }
}

/// An attachment as a write brings it. The order of the variants is part of the log's format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sent {
    /// The one of the same name stays, from the revision that is written upon.
    Stub {
        /// Its name.
        name: Box<str>,
        /// Its `revpos`, if the sender said so: then it must be that.
        revpos: Option<u64>,
    },
    /// A new one, or another one in the place of one.
    New {
        /// What is said of it. `revpos` counts for revisions made elsewhere; an edit gives its own.
        attachment: Attachment,
        /// Where its bytes are.
        source: Source,
    },
}

impl Sent {
    /// The attachment's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Stub { name, .. } => name,
            Self::New { attachment, .. } => &attachment.name,
        }
    }

    /// The upload it goes by, if it does.
    pub fn upload(&self) -> Option<UploadId> {
        match self {
            Self::New { source: Source::Uploaded(upload), .. } => Some(*upload),
            Self::New { source: Source::Carried(_), .. } | Self::Stub { .. } => None,
        }
    }

    /// Bytes it holds while it waits, roughly.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Stub { name, .. } => name.len() + 16,
            Self::New { attachment, source } => {
                let carried = if let Source::Carried(bytes) = source { bytes.len() } else { 0 };
                attachment.name.len() + attachment.content_type.len() + carried + 128
            }
        }
    }
}

/// Where the bytes of a new attachment are. The order of the variants is part of the log's format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Here: [`CARRIED_BYTES_MAX`] at most.
    Carried(Bytes),
    /// On the document's shard already, brought by this upload.
    Uploaded(UploadId),
}

/// How many chunks a blob of `stored_bytes` has.
pub fn chunks_of(stored_bytes: u64) -> u64 {
    stored_bytes.div_ceil(CHUNK_BYTES as u64)
}

/// The value of `_attachments` in a document that is shown without their bytes: JSON text of an object of stubs, in the
/// order given; `None` where there are none.
pub fn stubs(attachments: &[Attachment]) -> Option<String> {
    if attachments.is_empty() {
        return None;
    }
    let stub = |attachment: &Attachment| {
        format!(r#"{},"length":{},"stub":true}}"#, begun_member(attachment), attachment.content.length)
    };
    let stubs: Vec<String> = attachments.iter().map(stub).collect();
    Some(format!("{{{}}}", stubs.join(",")))
}

/// What stands at the beginning of an attachment's member of `_attachments`, however its bytes are shown behind it.
pub fn begun_member(Attachment { name, content_type, revpos, content }: &Attachment) -> String {
    let (name, content_type, digest) = (quoted(name), quoted(content_type), BASE64_STANDARD.encode(content.md5));
    format!(r#"{name}:{{"content_type":{content_type},"revpos":{revpos},"digest":"md5-{digest}""#)
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string becomes JSON")
}

/// The digest that a revision goes by: of its body's digest alone, or with its attachments, in whatever order they are
/// listed. Equal documents with equal attachments have equal ones on every cluster.
pub fn digest_with(body: [u8; 16], attachments: &[Attachment]) -> [u8; 16] {
    if attachments.is_empty() {
        return body;
    }
    let mut sorted: Vec<&Attachment> = attachments.iter().collect();
    sorted.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let mut md5 = Md5::new();
    md5.update(body);
    for Attachment { name, content_type, content, .. } in sorted {
        for text in [name, content_type] {
            md5.update((text.len() as u64).to_le_bytes());
            md5.update(text.as_bytes());
        }
        md5.update([u8::from(content.encoding != Encoding::Identity)]);
        md5.update(content.md5);
    }
    md5.finalize().into()
}
