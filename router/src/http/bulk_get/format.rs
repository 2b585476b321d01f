//! The two shapes of an answer: rows in JSON, and parts of a multipart body.

use common::ids::DocId;
use common::query::RevBody;
use http::HeaderValue;

use crate::http::attachments::related::Related;
use crate::http::attachments::shown::Shown as Attachments;
use crate::http::attachments::splice::Spliced;
use crate::http::call::Call;
use crate::http::render;

/// What the client takes.
#[derive(Debug)]
pub(super) enum Format {
    Json,
    /// Parts behind each other, whichever document they are of.
    Multipart {
        /// `mixed` or `related`.
        kind: &'static str,
        boundary: String,
        /// Of the parts that one document with attachments is made of.
        inner: Related,
    },
}

impl Format {
    /// JSON, unless the client takes only multipart.
    pub(super) fn of(call: &Call) -> Self {
        let kind = ["mixed", "related"].into_iter().find(|kind| call.accepts("multipart", kind));
        match kind {
            Some(kind) if !call.accepts("application", "json") => {
                // CouchDB's begin with two dashes as well.
                let boundary = || format!("--{}", render::boundary());
                Format::Multipart { kind, boundary: boundary(), inner: Related::new(boundary()) }
            }
            _ => Format::Json,
        }
    }

    pub(super) fn is_multipart(&self) -> bool {
        matches!(self, Self::Multipart { .. })
    }

    /// One revision, whose text this is: the `at`th of its document.
    pub(super) fn revision(
        &self,
        out: &mut Spliced,
        at: usize,
        text: Spliced,
        id: &DocId,
        found: &RevBody,
        attachments: Attachments,
    ) {
        match self {
            Format::Json => {
                out.text.extend_from_slice(if at == 0 { b"{\"ok\":" } else { b",{\"ok\":" });
                out.append(text);
                out.text.push(b'}');
            }
            Format::Multipart { boundary, inner, .. } => {
                let (text, kind) = inner.write(text, id, &found.attachments, attachments);
                out.text.extend_from_slice(format!("\r\n--{boundary}").as_bytes());
                match kind {
                    None => out.text.extend_from_slice(b"\r\nContent-Type: application/json\r\n\r\n"),
                    Some(kind) => out.text.extend_from_slice(&related_head(id, found, &kind)),
                }
                out.append(text);
            }
        }
    }

    /// Why there is no revision: in the place of the `at`th of its document.
    pub(super) fn error(&self, out: &mut Spliced, at: usize, write: impl FnOnce(&mut Vec<u8>)) {
        match self {
            Format::Json => {
                out.text.extend_from_slice(if at == 0 { b"{\"error\":" } else { b",{\"error\":" });
                write(&mut out.text);
                out.text.push(b'}');
            }
            Format::Multipart { boundary, .. } => {
                let head = format!("\r\n--{boundary}\r\nContent-Type: application/json; error=\"true\"\r\n\r\n");
                out.text.extend_from_slice(head.as_bytes());
                write(&mut out.text);
            }
        }
    }

    /// All documents asked for: `write` adds the revisions of one behind its `id`. And of what type that is.
    pub(super) fn answer<T>(
        &self,
        asked: &[T],
        id: impl Fn(&T) -> String,
        mut write: impl FnMut(&mut Spliced, &T),
    ) -> (HeaderValue, Spliced) {
        let mut out = Spliced::default();
        match self {
            Format::Json => {
                out.text.extend_from_slice(b"{\"results\":[");
                for (at, asked) in asked.iter().enumerate() {
                    let separator = if at == 0 { "" } else { "," };
                    out.text.extend_from_slice(format!("{separator}{{\"id\":{},\"docs\":[", id(asked)).as_bytes());
                    write(&mut out, asked);
                    out.text.extend_from_slice(b"]}");
                }
                out.text.extend_from_slice(b"]}\n");
                (render::JSON, out)
            }
            Format::Multipart { kind, boundary, .. } => {
                asked.iter().for_each(|asked| write(&mut out, asked));
                if !asked.is_empty() {
                    out.text.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
                }
                let kind = format!("multipart/{kind}; boundary=\"{boundary}\"");
                (HeaderValue::try_from(kind).expect("hexadecimal digits can stand in a header"), out)
            }
        }
    }
}

/// What stands in front of a document with attachments. An id that would end the line is left out.
fn related_head(id: &DocId, found: &RevBody, kind: &HeaderValue) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, text) in [("X-Doc-Id", id.as_str()), ("X-Rev-Id", &found.rev.to_string())] {
        if !text.chars().any(char::is_control) {
            head.extend_from_slice(format!("\r\n{name}: {text}").as_bytes());
        }
    }
    head.extend_from_slice(b"\r\nContent-Type: ");
    head.extend_from_slice(kind.as_bytes());
    head.extend_from_slice(b"\r\n\r\n");
    head
}
