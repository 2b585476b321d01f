//! Validation functions called: what they are shown, and what is made of what they throw.

use std::sync::Arc;

use common::attachment::{Attachment, Sent, stubs};
use common::document;
use common::ids::DocId;
use common::query::{Replaced, RevBody};
use common::rev::Rev;
use common::validation::Fingerprint;
use serde_json::Value;

use crate::js::{self, Call, Failure, Program, Sandbox, Verb};
use crate::ops::Error;
use crate::ops::views::sandbox;
use crate::ops::write::Change;

/// Bytes of a reason that a function gives that are repeated to the client. It may have made it of the whole document.
const REASON_BYTES_MAX: usize = 64 << 10;

/// All functions of a database.
#[derive(Debug)]
pub(in crate::ops) struct Functions {
    /// Their name as a set.
    pub(super) fingerprint: Fingerprint,
    /// By the ids of their design documents.
    pub(super) all: Vec<Function>,
}

/// The function of one design document.
#[derive(Debug)]
pub(super) struct Function {
    /// The design document's id.
    pub(super) ddoc: Box<str>,
    /// The function, with what it may `require`; or the language that it is in.
    pub(super) program: Result<Arc<Program>, Box<str>>,
}

impl Functions {
    /// Puts writes to every function, in order, until one has something against them. `calls` are their arguments.
    pub(super) async fn ask(&self, calls: &[Arc<str>]) -> Result<Vec<Result<(), Error>>, Error> {
        let mut verdicts: Vec<Result<(), Error>> = calls.iter().map(|_| Ok(())).collect();
        for function in &self.all {
            let left: Vec<usize> = (0..calls.len()).filter(|at| verdicts[*at].is_ok()).collect();
            if left.is_empty() {
                break;
            }
            let texts = left.iter().map(|at| calls[*at].clone()).collect();
            for (at, verdict) in left.into_iter().zip(function.ask(texts).await?) {
                verdicts[at] = verdict;
            }
        }
        Ok(verdicts)
    }
}

impl Function {
    /// A verdict for each call.
    async fn ask(&self, calls: Vec<Arc<str>>) -> Result<Vec<Result<(), Error>>, Error> {
        let count = calls.len();
        let answers = match &self.program {
            Ok(program) => {
                let calls = calls.into_iter().map(|text| Call { function: 0, text }).collect();
                Sandbox::shared().call(program.clone(), Verb::Validate, calls).await
            }
            Err(language) => {
                let reason = format!("{}: functions in {language} are not served", self.ddoc);
                return Ok(vec![Err(Error::Function(reason)); count]);
            }
        };
        let mut verdicts: Vec<Result<(), Error>> = match answers {
            Ok(answers) => {
                answers.into_iter().map(|answer| answer.map(drop).map_err(|why| self.refused(why))).collect()
            }
            // It was let in where it was compiled.
            Err(js::Error::Uncompiled(why)) => {
                let error =
                    Error::Thrown { error: "compilation_error", reason: format!("{}: {why}", self.ddoc).into() };
                vec![Err(error); count]
            }
            Err(error) => return Err(sandbox(error)),
        };
        // The calls behind one that was stopped were not made.
        let last = verdicts.last().cloned();
        let last = last.unwrap_or_else(|| Err(Error::Function(format!("{}: it gave nothing", self.ddoc))));
        verdicts.resize(count, last);
        Ok(verdicts)
    }

    /// What is told to whoever wrote, in CouchDB's words.
    fn refused(&self, failure: Failure) -> Error {
        match failure {
            Failure::Threw(json) => thrown(&json),
            Failure::Error { name, message } => Error::Thrown { error: kind(&name), reason: message.into() },
            stopped @ (Failure::TooLong | Failure::TooLarge(_)) => Error::Function(format!("{}: {stopped}", self.ddoc)),
        }
    }
}

/// `throw({forbidden: …})`, `throw({unauthorized: …})`, or something else.
fn thrown(json: &str) -> Error {
    let text = |value: &Value| -> Box<str> { short(&value.as_str().map_or_else(|| value.to_string(), str::to_owned)) };
    let unknown = |reason| Error::Thrown { error: "unknown_error", reason };
    match serde_json::from_str(json) {
        Ok(Value::Object(members)) if members.len() == 1 => match members.iter().next() {
            Some((name, reason)) if name == "forbidden" => Error::Forbidden(text(reason)),
            Some((name, reason)) if name == "unauthorized" => Error::Unauthorized(text(reason)),
            Some((_, reason)) => unknown(text(reason)),
            None => unknown(short(json)),
        },
        Ok(other) => unknown(text(&other)),
        Err(_) => unknown(short(json)),
    }
}

/// The beginning of a text that a function made up.
fn short(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(REASON_BYTES_MAX)].into()
}

/// The kinds of errors that functions throw, by name.
pub const KINDS: [&str; 8] =
    ["Error", "EvalError", "InternalError", "RangeError", "ReferenceError", "SyntaxError", "TypeError", "URIError"];

fn kind(name: &str) -> &'static str {
    KINDS.into_iter().find(|kind| *kind == name).unwrap_or("unnamed_error")
}

/// JSON text of what a function is called with: the new document, the old one, whose write it is, the database's
/// `_security`.
pub(super) fn arguments(
    id: &DocId,
    change: &Change,
    old: Option<&Replaced>,
    user: &str,
    security: &str,
) -> Result<Arc<str>, Error> {
    let mut text = b"[".to_vec();
    new_document(&mut text, id, change, old)?;
    text.push(b',');
    match old {
        None => text.extend_from_slice(b"null"),
        Some(Replaced { body: RevBody { rev, deleted, json, attachments }, path }) => {
            render(&mut text, id, Some(rev), *deleted, path, attachments, json);
        }
    }
    text.extend_from_slice(format!(",{user},{security}]").as_bytes());
    Ok(String::from_utf8_lossy(&text).into())
}

/// As it was sent: an edit has the revision that it names, one made elsewhere its own.
fn new_document(out: &mut Vec<u8>, id: &DocId, change: &Change, old: Option<&Replaced>) -> Result<(), Error> {
    let path = match change {
        Change::Edit { parent, .. } => parent.as_slice(),
        Change::Graft { path, .. } => &path[..],
    };
    let revpos = match change {
        Change::Edit { parent, .. } => Some(parent.as_ref().map_or(0, |parent| parent.generation).saturating_add(1)),
        Change::Graft { .. } => None,
    };
    let kept = old.map(|old| &old.body.attachments[..]).unwrap_or_default();
    let attachments: Vec<Attachment> = change
        .attachments()
        .iter()
        .map(|sent| match sent {
            Sent::New { attachment, .. } => {
                Ok(Attachment { revpos: revpos.unwrap_or(attachment.revpos), ..attachment.clone() })
            }
            Sent::Stub { name, revpos } => {
                let is_it = |one: &&Attachment| one.name == *name && revpos.is_none_or(|revpos| revpos == one.revpos);
                let missing = || Error::MissingStub { id: id.as_str().into(), name: name.clone() };
                kept.iter().find(is_it).cloned().ok_or_else(missing)
            }
        })
        .collect::<Result<_, _>>()?;
    render(out, id, path.first(), change.is_deletion(), path, &attachments, &change.body().json);
    Ok(())
}

fn render(
    out: &mut Vec<u8>,
    id: &DocId,
    rev: Option<&Rev>,
    deleted: bool,
    path: &[Rev],
    attachments: &[Attachment],
    json: &[u8],
) {
    let ids: Vec<String> = path.iter().map(|rev| rev.hash.to_string()).collect();
    let start = rev.map_or(0, |rev| rev.generation);
    let mut extra = vec![("_revisions", serde_json::json!({"start": start, "ids": ids}).to_string())];
    extra.extend(stubs(attachments).map(|stubs| ("_attachments", stubs)));
    let extra: Vec<(&str, &str)> = extra.iter().map(|(name, json)| (*name, json.as_str())).collect();
    document::render_sent(out, id.as_str(), rev, deleted, &extra, json);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::attachment::{BlobDigest, Content, Encoding, Source};
    use common::command::{Body, EditKind};

    use super::*;

    fn rev(text: &str) -> Rev {
        Rev::parse(text).expect("valid")
    }

    fn attachment(name: &str, revpos: u64) -> Attachment {
        let content = Content {
            blob: BlobDigest([1; 32]),
            md5: [0; 16],
            stored_bytes: 5,
            length: 5,
            encoding: Encoding::Identity,
        };
        Attachment { name: name.into(), content_type: "text/plain".into(), revpos, content }
    }

    fn told(change: &Change, old: Option<&Replaced>) -> Value {
        let text = arguments(&DocId::parse("a").expect("valid"), change, old, "{}", "{}").expect("its stubs are there");
        serde_json::from_str(&text).expect("JSON")
    }

    fn old() -> Replaced {
        let json = Bytes::from_static(b"{\"n\":1}");
        let body = RevBody { rev: rev("2-b"), deleted: false, json, attachments: vec![attachment("f", 1)] };
        Replaced { body, path: vec![rev("2-b"), rev("1-a")] }
    }

    fn stub(digest: &str, revpos: u64) -> Value {
        let content_type = "text/plain";
        serde_json::json!({"content_type": content_type, "revpos": revpos, "digest": digest, "length": 5, "stub": true})
    }

    #[test]
    fn a_function_is_shown_what_was_sent_and_what_it_replaces() {
        let body = Body::of(Bytes::from_static(b"{\"n\":2}"));
        let (f, g) = (stub("md5-AAAAAAAAAAAAAAAAAAAAAA==", 1), stub("md5-AAAAAAAAAAAAAAAAAAAAAA==", 3));
        let shown_old = serde_json::json!({
            "_id": "a", "_rev": "2-b", "n": 1, "_revisions": {"start": 2, "ids": ["b", "a"]}, "_attachments": {"f": f},
        });
        let sent = vec![
            Sent::Stub { name: "f".into(), revpos: None },
            Sent::New { attachment: attachment("g", 0), source: Source::Carried(Bytes::new()) },
        ];
        let parent = Some(rev("2-b"));
        let edit = Change::Edit { parent, kind: EditKind::Update, body: body.clone(), attachments: sent };
        let new = serde_json::json!({
            "_id": "a", "_rev": "2-b", "n": 2, "_revisions": {"start": 2, "ids": ["b"]},
            "_attachments": {"f": f, "g": g},
        });
        assert_eq!(told(&edit, Some(&old())), serde_json::json!([new, shown_old, {}, {}]));
        let created =
            Change::Edit { parent: None, kind: EditKind::Update, body: body.clone(), attachments: Vec::new() };
        let new = serde_json::json!({"_id": "a", "n": 2, "_revisions": {"start": 0, "ids": []}});
        assert_eq!(told(&created, None), serde_json::json!([new, null, {}, {}]));
        let path = vec![rev("3-c"), rev("2-b")];
        let graft = Change::Graft { path, deleted: true, body, attachments: Vec::new() };
        let revisions = serde_json::json!({"start": 3, "ids": ["c", "b"]});
        let new = serde_json::json!({"_id": "a", "_rev": "3-c", "_deleted": true, "n": 2, "_revisions": revisions});
        assert_eq!(told(&graft, Some(&old())), serde_json::json!([new, shown_old, {}, {}]));
    }

    #[test]
    fn a_stub_of_nothing_is_told_before_any_function_is_asked() {
        let attachments = vec![Sent::Stub { name: "x".into(), revpos: None }];
        let body = Body::of(Bytes::from_static(b"{}"));
        let edit = Change::Edit { parent: Some(rev("2-b")), kind: EditKind::Update, body, attachments };
        let told = arguments(&DocId::parse("a").expect("valid"), &edit, Some(&old()), "{}", "{}");
        assert_eq!(told, Err(Error::MissingStub { id: "a".into(), name: "x".into() }));
    }

    #[test]
    fn what_is_thrown_is_told_in_couchdbs_words() {
        for (json, wanted) in [
            (r#"{"forbidden":"no"}"#, Error::Forbidden("no".into())),
            (r#"{"forbidden":{"a":1}}"#, Error::Forbidden(r#"{"a":1}"#.into())),
            (r#"{"unauthorized":"who?"}"#, Error::Unauthorized("who?".into())),
            (r#"{"odd":"x"}"#, Error::Thrown { error: "unknown_error", reason: "x".into() }),
            (r#""text""#, Error::Thrown { error: "unknown_error", reason: "text".into() }),
            (
                r#"{"a":1,"forbidden":"no"}"#,
                Error::Thrown { error: "unknown_error", reason: r#"{"a":1,"forbidden":"no"}"#.into() },
            ),
            ("null", Error::Thrown { error: "unknown_error", reason: "null".into() }),
        ] {
            assert_eq!(thrown(json), wanted, "{json}");
        }
        assert_eq!((kind("TypeError"), kind("Mine")), ("TypeError", "unnamed_error"));
    }

    #[tokio::test]
    async fn every_function_is_asked_and_the_first_that_refuses_is_told() {
        let function = |ddoc: &str, code: &str| Function {
            ddoc: ddoc.into(),
            program: Ok(Arc::new(Program { design: "{}".into(), functions: vec![code.into()] })),
        };
        let functions = Functions {
            fingerprint: Fingerprint([0; 16]),
            all: vec![
                function("_design/a", "function (n) { if (n > 1) throw({forbidden: 'a' + n}) }"),
                function("_design/b", "function (n) { if (n > 0) throw({forbidden: 'b' + n}) }"),
            ],
        };
        let calls = ["[0]", "[1]", "[2]"].map(Arc::from);
        let no = |why: &str| Err(Error::Forbidden(why.into()));
        assert_eq!(functions.ask(&calls).await.expect("asked"), [Ok(()), no("b1"), no("a2")]);
        let endless = Functions {
            fingerprint: Fingerprint([0; 16]),
            all: vec![function("_design/a", "function (n) { if (n == 1) for (;;) {} }")],
        };
        let stopped = Err(Error::Function("_design/a: it took too long".to_owned()));
        assert_eq!(endless.ask(&calls).await.expect("asked"), [Ok(()), stopped.clone(), stopped]);
        let foreign = Functions {
            fingerprint: Fingerprint([0; 16]),
            all: vec![Function { ddoc: "_design/a".into(), program: Err("erlang".into()) }],
        };
        assert!(foreign.ask(&calls).await.expect("asked").iter().all(Result::is_err), "nothing is let in unseen");
    }
}
