//! Answers as text: written once, straight into the buffer that goes out.

use axum::body::Body;
use axum::response::Response;
use common::rev::{Rev, RevHash};
use http::{HeaderValue, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// CouchDB's type of every JSON answer.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// What CouchDB leaves as it is in a `Location`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

/// An answer in JSON; a line feed is added, as CouchDB ends its answers.
pub(crate) fn json(status: StatusCode, mut body: Vec<u8>) -> Response<Body> {
    body.push(b'\n');
    typed(status, JSON, body.into())
}

/// An answer in JSON that is still being made.
pub(crate) fn json_stream(body: Body) -> Response<Body> {
    typed(StatusCode::OK, JSON, body)
}

/// A boundary between parts, which no part is likely to hold.
pub(crate) fn boundary() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// An answer of some type.
pub(crate) fn typed(status: StatusCode, content_type: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// `{"ok":true}`
pub(crate) fn ok(status: StatusCode) -> Response<Body> {
    json(status, b"{\"ok\":true}".to_vec())
}

/// Writes a JSON string.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string becomes JSON, and a vector takes it");
}

/// Writes a revision as a JSON string.
pub(crate) fn rev(out: &mut Vec<u8>, rev: &Rev) {
    use std::io::Write;
    match &rev.hash {
        RevHash::Digest(_) => write!(out, "\"{rev}\"").expect("a vector takes it"),
        // A foreign hash may hold anything.
        RevHash::Text(_) => string(out, &rev.to_string()),
    }
}

/// Writes a JSON array of revisions.
pub(crate) fn revs<'r>(out: &mut Vec<u8>, list: impl IntoIterator<Item = &'r Rev>) {
    array(out, list, rev);
}

/// Writes a JSON array.
pub(crate) fn array<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// `{"ok":true,"id":…,"rev":…}`: what a write answers; without a revision when it is only accepted.
pub(crate) fn written(out: &mut Vec<u8>, id: &str, rev_written: Option<&Rev>) {
    out.extend_from_slice(b"{\"ok\":true,\"id\":");
    string(out, id);
    if let Some(written) = rev_written {
        out.extend_from_slice(b",\"rev\":");
        rev(out, written);
    }
    out.push(b'}');
}

/// A revision as an `ETag`; `None` if its hash cannot stand in a header.
pub(crate) fn etag(rev: &Rev) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("\"{rev}\"")).ok()
}

/// An `ETag` of an answer that has no revision of its own: a digest of its text.
pub(crate) fn content_etag(body: &[u8]) -> HeaderValue {
    let digest = document_digest(body);
    HeaderValue::try_from(format!("\"{digest:016x}\"")).expect("hexadecimal digits can stand in a header")
}

/// Equal on every router, so that a client may change between them.
fn document_digest(body: &[u8]) -> u64 {
    // FNV-1a: a few lines, stable for ever, and nothing here depends on it being hard to meet.
    body.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// An absolute `Location`: the address the client used, then encoded segments.
pub(crate) fn location(host: Option<&HeaderValue>, segments: &[&str]) -> Option<HeaderValue> {
    let host = host.and_then(|host| host.to_str().ok())?;
    let mut text = String::with_capacity(host.len() + 64);
    text.push_str("http://");
    text.push_str(host);
    for segment in segments {
        text.push('/');
        text.extend(utf8_percent_encode(segment, ENCODED));
    }
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_absolute_and_encoded_as_couchdb_does() {
        let host = HeaderValue::from_static("127.0.0.1:5984");
        let shown = |segments: &[&str]| {
            location(Some(&host), segments).map(|value| value.to_str().map(str::to_owned).unwrap_or_default())
        };
        assert_eq!(shown(&["tdb", "_local/chk"]), Some("http://127.0.0.1:5984/tdb/_local%2Fchk".to_owned()));
        assert_eq!(shown(&["a/b", "p1:x ä"]), Some("http://127.0.0.1:5984/a%2Fb/p1:x%20%C3%A4".to_owned()));
        assert_eq!(location(None, &["tdb"]), None);
    }

    #[test]
    fn foreign_revisions_are_escaped() {
        let mut out = Vec::new();
        revs(&mut out, &[Rev::parse("1-731bef401491606a3b246ed178e697c1"), Rev::parse("2-a\"b")].map(Result::unwrap));
        assert_eq!(out, br#"["1-731bef401491606a3b246ed178e697c1","2-a\"b"]"#);
    }
}
