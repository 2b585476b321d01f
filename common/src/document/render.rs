//! A document as it goes out: its special members around the body's text, which is copied and not read.

use crate::rev::{Rev, RevHash};

/// Writes a document: `_id`, `_rev`, `_deleted` if it is, the body's members, then `extra` (name and JSON text).
/// `json` is the text of an object, as [`super::parse`] keeps it.
pub fn render(out: &mut Vec<u8>, id: &str, rev: &Rev, deleted: bool, extra: &[(&str, &str)], json: &[u8]) {
    render_sent(out, id, Some(rev), deleted, extra, json);
}

/// The same for a document on its way in, which may have no revision yet.
pub fn render_sent(out: &mut Vec<u8>, id: &str, rev: Option<&Rev>, deleted: bool, extra: &[(&str, &str)], json: &[u8]) {
    let members = members(json);
    let extra_bytes: usize = extra.iter().map(|(name, raw)| name.len() + raw.len() + 4).sum();
    out.reserve(id.len() + members.len() + extra_bytes + 80);
    out.extend_from_slice(b"{\"_id\":");
    push_string(out, id);
    if let Some(rev) = rev {
        out.extend_from_slice(b",\"_rev\":");
        push_rev(out, rev);
    }
    if deleted {
        out.extend_from_slice(b",\"_deleted\":true");
    }
    if !members.is_empty() {
        out.push(b',');
        out.extend_from_slice(members);
    }
    for (name, raw) in extra {
        out.push(b',');
        push_string(out, name);
        out.push(b':');
        out.extend_from_slice(raw.as_bytes());
    }
    out.push(b'}');
}

/// What stands between the braces.
fn members(json: &[u8]) -> &[u8] {
    let object = json.trim_ascii();
    let inner = object.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
    debug_assert!(inner.is_some(), "a body is an object");
    inner.unwrap_or_default().trim_ascii()
}

fn push_rev(out: &mut Vec<u8>, rev: &Rev) {
    let text = rev.to_string();
    match rev.hash {
        // Nothing in it to escape.
        RevHash::Digest(_) => {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        }
        RevHash::Text(_) => push_string(out, &text),
    }
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string becomes JSON, and a vector takes it");
}
