//! The body of `_bulk_docs`: `{"docs": […], "new_edits": …}`.

use bytes::Bytes;
use jiter::Peek;

use super::error::Error;
use super::scan::Scanner;
use super::{ParseLimits, Parsed, read, special};

/// The documents of one bulk request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bulk {
    /// The documents, in order.
    pub docs: Vec<Parsed>,
    /// Whether these are edits made here (`true`, also when nothing was said), or revisions made elsewhere.
    pub new_edits: bool,
    /// Whether all documents are to be written or none.
    pub atomic: bool,
}

/// Parses the body of a bulk request. One bad document fails the request as a whole, as in CouchDB.
///
/// Bodies without `_`-members are slices of `text`: they keep all of it in memory.
pub fn parse_bulk(text: Bytes, limits: ParseLimits) -> Result<Bulk, Error> {
    // Around each document: the request's object and the array.
    let mut scanner = Scanner::new(&text, limits.depth_max, 2)?;
    if scanner.peek()? != Peek::Object {
        scanner.value()?;
        scanner.finish()?;
        return Err(Error::BodyNotObject);
    }
    let mut docs = None;
    let (mut new_edits, mut atomic) = (true, false);
    let mut member = scanner.enter_object()?;
    while let Some(key) = member {
        match (key.name.as_ref(), scanner.peek()?) {
            (b"docs", Peek::Array) => docs = Some(read_all(&mut scanner, &text)?),
            (b"docs", _) => {
                scanner.value()?;
                scanner.refuse(Error::DocsNotArray);
            }
            (b"new_edits", _) => match special::boolean(&text[scanner.value()?]) {
                Some(told) => new_edits = told,
                None => scanner.refuse(Error::NewEditsNotBoolean),
            },
            (b"atomic", _) => match special::boolean(&text[scanner.value()?]) {
                Some(told) => atomic = told,
                None => scanner.refuse(Error::AtomicNotBoolean),
            },
            _ => {
                scanner.value()?;
            }
        }
        member = scanner.next_key()?;
    }
    scanner.finish()?;
    docs.map(|docs| Bulk { docs, new_edits, atomic }).ok_or(Error::DocsMissing)
}

fn read_all(scanner: &mut Scanner<'_>, text: &Bytes) -> Result<Vec<Parsed>, Error> {
    let mut docs = Vec::new();
    let mut element = scanner.enter_array()?;
    while let Some(peek) = element {
        if peek == Peek::Object {
            docs.push(read(scanner, text)?);
        } else {
            scanner.value()?;
            scanner.refuse(Error::NotObject);
        }
        element = scanner.next_element()?;
    }
    Ok(docs)
}
