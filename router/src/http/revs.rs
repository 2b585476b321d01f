//! `POST /{db}/_revs_diff` and `_missing_revs`: what a replicator asks before it sends.

use axum::body::Body;
use bytes::Bytes;
use common::ids::{DbName, DocId};
use common::rev::Rev;
use http::StatusCode;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::body::parse_json;
use super::call::Call;
use super::error::Error;
use super::{Answer, render};
use crate::ops::revs::Missing;

/// `{"id": ["rev", …], …}`, in the order sent.
pub(super) struct Asked(pub(super) Vec<(DocId, Vec<Rev>)>);

/// `POST /{db}/_revs_diff`
pub(super) async fn diff(call: &Call, db: DbName, body: Body) -> Answer {
    let missing = compare(call, &db, body).await?;
    let mut text = Vec::new();
    object(&mut text, &missing, |out, doc| {
        out.extend_from_slice(b"{\"missing\":");
        render::revs(out, &doc.missing);
        if !doc.possible_ancestors.is_empty() {
            out.extend_from_slice(b",\"possible_ancestors\":");
            render::revs(out, &doc.possible_ancestors);
        }
        out.push(b'}');
    });
    Ok(render::json(StatusCode::OK, text))
}

/// `POST /{db}/_missing_revs`
pub(super) async fn missing(call: &Call, db: DbName, body: Body) -> Answer {
    let missing = compare(call, &db, body).await?;
    let mut text = b"{\"missing_revs\":".to_vec();
    object(&mut text, &missing, |out, doc| render::revs(out, &doc.missing));
    text.push(b'}');
    Ok(render::json(StatusCode::OK, text))
}

async fn compare(call: &Call, db: &DbName, body: Body) -> Result<Vec<Missing>, Error> {
    let Asked(asked) = Asked::parse(&call.read_json(body).await?)?;
    Ok(call.app.ops.revs_diff(db, asked).await?)
}

fn object(out: &mut Vec<u8>, docs: &[Missing], mut write: impl FnMut(&mut Vec<u8>, &Missing)) {
    out.push(b'{');
    for (at, doc) in docs.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        render::string(out, doc.id.as_str());
        out.push(b':');
        write(out, doc);
    }
    out.push(b'}');
}

/// The members of the object, in the order sent: the answer keeps it.
struct Members(Vec<(String, Vec<String>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of lists of revisions")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Asked {
    pub(super) fn parse(body: &Bytes) -> Result<Self, Error> {
        let Members(docs) = parse_json(body)?;
        let docs = docs.into_iter().map(|(id, revs)| {
            let revs: Result<Vec<Rev>, Error> = revs.iter().map(|rev| Ok(Rev::parse(rev)?)).collect();
            Ok((DocId::parse(&id)?, revs?))
        });
        docs.collect::<Result<_, Error>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_an_object_of_lists_of_revisions() {
        let parse = |text: &'static str| Asked::parse(&Bytes::from_static(text.as_bytes())).map(|asked| asked.0.len());
        assert!(matches!(parse(r#"{"a":["1-x"],"b":[]}"#), Ok(2)));
        for (bad, reason) in [
            ("[]", "Request body must be a JSON object"),
            ("{", "invalid UTF-8 JSON"),
            (r#"{"a":["x"]}"#, "Invalid rev format"),
            (r#"{"_a":["1-x"]}"#, "Only reserved document ids may start with underscore."),
        ] {
            assert_eq!(parse(bad).expect_err(bad).to_string(), reason);
        }
    }
}
