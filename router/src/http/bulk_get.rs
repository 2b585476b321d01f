//! `POST /{db}/_bulk_get`: revisions of many documents at once, as JSON or multipart.
//!
//! What is wrong with one of the documents asked for is told in its row; the others are answered all the same.

mod format;

use axum::body::Body;
use common::ids::{DbName, DocId};
use common::query::{DocAnswer, Revs};
use common::rev::Rev;
use http::StatusCode;
use serde_json::{Value, json};

use self::format::Format;
use super::attachments::splice::Spliced;
use super::call::Call;
use super::doc::Shown;
use super::error::{self, Error};
use super::params::Params;
use super::read::tell_lag;
use super::{Answer, render};
use crate::ops;
use crate::ops::get::Wanted;

/// Options of reading one document that make no sense for many, in CouchDB's order.
const REFUSED: [&str; 5] = ["open_revs", "new_edits", "w", "rev", "atts_since"];

/// One document asked for.
#[derive(Debug, PartialEq)]
struct Asked {
    /// As it was sent; null when it was not.
    id: Value,
    wanted: Result<Good, Wrong>,
}

/// A document that can be looked up.
#[derive(Debug, PartialEq)]
struct Good {
    id: DocId,
    /// `None` for all leaves.
    rev: Option<Rev>,
}

/// What is wrong with a document asked for: the row that says so.
#[derive(Debug, PartialEq)]
struct Wrong {
    rev: Value,
    error: &'static str,
    reason: String,
}

pub(super) async fn read(call: &Call, name: DbName, body: Body) -> Answer {
    let params = call.params();
    refuse(&params)?;
    let format = Format::of(call);
    let shown = Shown::of(&params)?;
    let shown = if format.is_multipart() { shown.following() } else { shown };
    let latest = params.is_true("latest");
    let body: Value = super::body::parse_json(&call.read_json(body).await?)?;
    let docs = body.get("docs").and_then(Value::as_array);
    let asked: Vec<Asked> = docs.ok_or_else(|| Error::bad("Missing JSON list of 'docs'."))?.iter().map(parse).collect();
    let consistency = call.consistency(&params)?;
    let db = call.app.ops.db_for(&name, consistency).await?;
    let good = asked.iter().filter_map(|asked| asked.wanted.as_ref().ok());
    let wanted = good.map(|good| {
        let revs = good.rev.clone().map_or(Revs::Leaves, |rev| Revs::List { revs: vec![rev], latest });
        (good.id.clone(), Wanted { revs, tree: shown.needs_tree() })
    });
    let (answers, lag_ms) = call.app.ops.get_many(&db, wanted.collect(), consistency).await?;
    let mut answers = answers.iter();
    let id = |asked: &Asked| asked.id.to_string();
    let (kind, body) = format.answer(&asked, id, |out, asked| match &asked.wanted {
        Ok(good) => {
            let answer = answers.next().and_then(Option::as_ref);
            found(out, &format, good, answer, &shown);
        }
        Err(Wrong { rev, error, reason }) => {
            format.error(out, 0, |out| error_row(out, rev, &asked.id, error, reason));
        }
    });
    let body = if body.is_text() { body.text.into() } else { body.body(&call.app.ops, &db, consistency) };
    let mut response = render::typed(StatusCode::OK, kind, body);
    tell_lag(response.headers_mut(), consistency, lag_ms);
    Ok(response)
}

fn refuse(params: &Params<'_>) -> Result<(), Error> {
    match REFUSED.iter().find(|name| params.get(name).is_some()) {
        Some(name) => Err(Error::bad(format!("\"{name}\" query parameter is not acceptable"))),
        None => Ok(()),
    }
}

/// Reads one member of `docs`.
fn parse(doc: &Value) -> Asked {
    let wrong = |id, rev, reason: &str| Asked {
        id,
        wanted: Err(Wrong { rev, error: "bad_request", reason: reason.to_owned() }),
    };
    let members = match doc.as_object() {
        Some(members) if !members.is_empty() => members,
        _ => return wrong(Value::Null, Value::Null, "document must be a JSON object"),
    };
    let Some(id) = members.get("id") else { return wrong(Value::Null, Value::Null, "document id missed") };
    let Some(text) = id.as_str() else {
        let reason = "Document id must be a string".to_owned();
        return Asked { id: id.clone(), wanted: Err(Wrong { rev: Value::Null, error: "illegal_docid", reason }) };
    };
    let parsed = match DocId::parse(text) {
        Ok(parsed) => parsed,
        Err(invalid) => {
            let (error, reason) = error::of_row(&ops::Error::Invalid(invalid));
            return Asked { id: id.clone(), wanted: Err(Wrong { rev: Value::Null, error, reason }) };
        }
    };
    let Some(rev) = members.get("rev") else {
        return Asked { id: id.clone(), wanted: Ok(Good { id: parsed, rev: None }) };
    };
    match rev.as_str().map(Rev::parse) {
        Some(Ok(rev)) => Asked { id: id.clone(), wanted: Ok(Good { id: parsed, rev: Some(rev) }) },
        _ => wrong(id.clone(), rev.clone(), "Invalid rev format"),
    }
}

/// The revisions found of one document, then those that are not there.
fn found(out: &mut Spliced, format: &Format, good: &Good, answer: Option<&DocAnswer>, shown: &Shown) {
    let id = json!(good.id.as_str());
    let Some(doc) = answer else {
        let rev = good.rev.as_ref().map_or("undefined".to_owned(), Rev::to_string);
        return format.error(out, 0, |out| error_row(out, &json!(rev), &id, "not_found", "missing"));
    };
    for (at, rev) in doc.found.iter().enumerate() {
        let mut text = Spliced::default();
        shown.render(&mut text, &good.id, doc, rev);
        format.revision(out, at, text, &good.id, rev, shown.attachments(doc, &rev.rev));
    }
    for (at, rev) in doc.missing.iter().enumerate() {
        let rev = json!(rev.to_string());
        format.error(out, doc.found.len() + at, |out| error_row(out, &rev, &id, "not_found", "missing"));
    }
}

fn error_row(out: &mut Vec<u8>, rev: &Value, id: &Value, error: &str, reason: &str) {
    let (error, reason) = (json!(error), json!(reason));
    let row = format!("{{\"rev\":{rev},\"reason\":{reason},\"id\":{id},\"error\":{error}}}");
    out.extend_from_slice(row.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_document_is_told_in_its_row() {
        let row = |doc: Value| {
            let asked = parse(&doc);
            let mut out = Vec::new();
            let Err(Wrong { rev, error, reason }) = asked.wanted else { panic!("{doc} is right") };
            error_row(&mut out, &rev, &asked.id, error, &reason);
            String::from_utf8(out).expect("text")
        };
        let wanted = |rev: &str, reason: &str, id: &str, error: &str| {
            format!(r#"{{"rev":{rev},"reason":"{reason}","id":{id},"error":"{error}"}}"#)
        };
        let object = wanted("null", "document must be a JSON object", "null", "bad_request");
        assert_eq!(row(json!("a")), object);
        assert_eq!(row(json!({})), object);
        assert_eq!(row(json!({"rev": "1-x"})), wanted("null", "document id missed", "null", "bad_request"));
        assert_eq!(row(json!({"id": "a", "rev": "x"})), wanted("\"x\"", "Invalid rev format", "\"a\"", "bad_request"));
        let reserved = "Only reserved document ids may start with underscore.";
        assert_eq!(row(json!({"id": "_a"})), wanted("null", reserved, "\"_a\"", "illegal_docid"));
        assert_eq!(row(json!({"id": 1})), wanted("null", "Document id must be a string", "1", "illegal_docid"));
    }

    #[test]
    fn options_of_one_document_are_refused() {
        assert!(refuse(&Params::of_query(Some("revs=true&latest=true"))).is_ok());
        let told = refuse(&Params::of_query(Some("rev=1-x"))).expect_err("an option of one document").to_string();
        assert_eq!(told, "\"rev\" query parameter is not acceptable");
    }
}
