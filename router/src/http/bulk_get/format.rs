//! The two shapes of an answer: rows in JSON, and parts of a multipart body.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode};

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
    },
}

impl Format {
    /// JSON, unless the client takes only multipart.
    pub(super) fn of(call: &Call) -> Self {
        let kind = ["mixed", "related"].into_iter().find(|kind| call.accepts("multipart", kind));
        match kind {
            Some(kind) if !call.accepts("application", "json") => {
                // CouchDB's begin with two dashes as well.
                Format::Multipart { kind, boundary: format!("--{:032x}", rand::random::<u128>()) }
            }
            _ => Format::Json,
        }
    }

    /// One revision, or why there is none: the `at`th of its document.
    pub(super) fn revision(&self, out: &mut Vec<u8>, at: usize, good: bool, write: impl FnOnce(&mut Vec<u8>)) {
        match self {
            Format::Json => {
                out.extend_from_slice(if at == 0 { b"" } else { b"," });
                out.extend_from_slice(if good { b"{\"ok\":" } else { b"{\"error\":" });
                write(out);
                out.push(b'}');
            }
            Format::Multipart { boundary, .. } => {
                let error = if good { "" } else { "; error=\"true\"" };
                let head = format!("\r\n--{boundary}\r\nContent-Type: application/json{error}\r\n\r\n");
                out.extend_from_slice(head.as_bytes());
                write(out);
            }
        }
    }

    /// All documents asked for: `write` adds the revisions of one behind its `id`.
    pub(super) fn answer<T>(
        &self,
        asked: &[T],
        id: impl Fn(&T) -> String,
        mut write: impl FnMut(&mut Vec<u8>, &T),
    ) -> Response<Body> {
        let mut out = Vec::new();
        match self {
            Format::Json => {
                out.extend_from_slice(b"{\"results\":");
                render::array(&mut out, asked, |out, asked| {
                    out.extend_from_slice(format!("{{\"id\":{},\"docs\":[", id(asked)).as_bytes());
                    write(out, asked);
                    out.extend_from_slice(b"]}");
                });
                out.push(b'}');
                render::json(StatusCode::OK, out)
            }
            Format::Multipart { kind, boundary } => {
                asked.iter().for_each(|asked| write(&mut out, asked));
                if !asked.is_empty() {
                    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
                }
                let kind = format!("multipart/{kind}; boundary=\"{boundary}\"");
                let kind = HeaderValue::try_from(kind).expect("hexadecimal digits can stand in a header");
                render::typed(StatusCode::OK, kind, out.into())
            }
        }
    }
}
