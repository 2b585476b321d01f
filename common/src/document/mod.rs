//! The JSON door: documents come in as text, are checked once, and stay text.
//!
//! Promises: what [`parse`] lets through is an object in valid UTF-8 JSON, without duplicate keys at any level and not
//! deeper than allowed, and its body is the text that was sent (numbers, spaces and escapes to the letter), less the
//! members that start with `_`. [`render`] puts those back. Nothing here panics, whatever the bytes.
//!
//! Leaves to others: whether the id is acceptable ([`crate::ids::DocId`]), size limits. What `_attachments` holds is read
//! by [`parse_attachments`].

mod attachments;
mod bulk;
mod error;
#[cfg(test)]
mod properties;
mod render;
mod scan;
mod special;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use jiter::Peek;

pub use attachments::{Follows, Form, Given, check_attachment_name, parse_attachments};
pub use bulk::{Bulk, parse_bulk};
pub use error::Error;
pub use render::{render, render_sent};
use scan::Scanner;

use crate::command::Body;
use crate::rev::{Rev, RevHash};

/// Limits on what is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseLimits {
    /// Containers inside each other at most, the document itself included.
    pub depth_max: usize,
}

/// A document as sent, its special members split off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// `_id`, unchecked.
    pub id: Option<String>,
    /// `_rev`.
    pub rev: Option<Rev>,
    /// `_deleted`.
    pub deleted: bool,
    /// `_revisions`: generation of the newest, and the hashes, newest first. At most as many as generations.
    pub revisions: Option<(u64, Vec<String>)>,
    /// `_attachments`: JSON text of an object.
    pub attachments: Option<Bytes>,
    /// The rest. Without any `_`-member the very bytes that were sent, not a copy.
    pub body: Body,
}

impl Parsed {
    /// A document that is this body, upon this revision, and says nothing else of itself.
    pub fn of(rev: Option<Rev>, body: Body) -> Self {
        Self { id: None, rev, deleted: false, revisions: None, attachments: None, body }
    }

    /// The revision and its ancestors, newest first, as a graft takes them: `_revisions` if there, else `_rev` alone.
    pub fn path(&self) -> Option<Vec<Rev>> {
        let listed = self.revisions.as_ref().filter(|(_, ids)| !ids.is_empty());
        let Some((start, ids)) = listed else { return self.rev.clone().map(|rev| vec![rev]) };
        let generations = (0..=*start).rev();
        Some(ids.iter().zip(generations).map(|(id, generation)| Rev { generation, hash: RevHash::new(id) }).collect())
    }
}

/// Parses one document.
pub fn parse(text: Bytes, limits: ParseLimits) -> Result<Parsed, Error> {
    let mut scanner = Scanner::new(&text, limits.depth_max, 0)?;
    let parsed = match scanner.peek()? {
        Peek::Object => Some(read(&mut scanner, &text)?),
        _ => scanner.value().map(|_| None)?,
    };
    scanner.finish()?;
    parsed.ok_or(Error::NotObject)
}

/// Reads the object that the scanner stands before. What is wrong with its special members is left with the scanner,
/// so that text that is no JSON at all is called that, wherever the fault lies.
fn read(scanner: &mut Scanner<'_>, text: &Bytes) -> Result<Parsed, Error> {
    let start = scanner.position();
    let mut parsed = Parsed::of(None, Body { json: Bytes::new(), digest: [0; 16] });
    // Ranges of neighbouring members that stay in the body, commas and spaces between them included.
    let mut kept: Vec<std::ops::Range<usize>> = Vec::new();
    let mut all_kept = true;
    let mut extends = false;
    let mut member = scanner.enter_object()?;
    while let Some(key) = member {
        let value = scanner.value()?;
        let taken = key.name.first() == Some(&b'_')
            && special::take(&mut parsed, &key.name, text.slice(value.clone()), scanner);
        match kept.last_mut() {
            _ if taken => all_kept = false,
            Some(run) if extends => run.end = value.end,
            _ => kept.push(key.start..value.end),
        }
        extends = !taken;
        member = scanner.next_key()?;
    }
    let json = if all_kept { text.slice(start..scanner.position()) } else { join(text, &kept) };
    parsed.body = Body::of(json);
    Ok(parsed)
}

/// The object made of some ranges of members.
fn join(text: &[u8], kept: &[std::ops::Range<usize>]) -> Bytes {
    if kept.is_empty() {
        return Bytes::from_static(b"{}");
    }
    let size: usize = kept.iter().map(|run| run.len() + 1).sum();
    let mut json = Vec::with_capacity(size + 1);
    for (at, run) in kept.iter().enumerate() {
        json.push(if at == 0 { b'{' } else { b',' });
        json.extend_from_slice(&text[run.clone()]);
    }
    json.push(b'}');
    json.into()
}
