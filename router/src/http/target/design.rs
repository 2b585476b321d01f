//! What stands behind a design document's id. Pure.

use common::ids::{DbName, DocId};

use super::{Part, Refused, Target, decode};

/// What is asked of a design document besides itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OfDesign {
    /// `_view/{view}`
    View(String),
    /// `_view/{view}/queries`
    Queries(String),
    /// `_info`
    Info,
}

impl OfDesign {
    pub(super) fn route(&self) -> &'static str {
        match self {
            OfDesign::View(_) => "/{db}/_design/{ddoc}/_view/{view}",
            OfDesign::Queries(_) => "/{db}/_design/{ddoc}/_view/{view}/queries",
            OfDesign::Info => "/{db}/_design/{ddoc}/_info",
        }
    }

    pub(super) fn allow(&self) -> &'static str {
        match self {
            OfDesign::View(_) => Part::AllDocs.allow(),
            OfDesign::Queries(_) => "POST",
            OfDesign::Info => "GET,HEAD",
        }
    }
}

/// What is known and not served.
const UNSERVED: [&str; 4] = ["_show", "_list", "_update", "_rewrite"];

/// What stands behind a design document's id, if it is no attachment of it.
pub(super) fn parse(db: &DbName, id: &DocId, rest: &str) -> Option<Target> {
    let segments: Vec<&str> = rest.split('/').collect();
    let first = segments.first().copied().unwrap_or_default();
    if first.starts_with("_search") || first.starts_with("_nouveau") {
        return Some(Target::Refused(Refused::Search));
    }
    if UNSERVED.contains(&first) {
        return Some(Target::Refused(Refused::NotImplemented));
    }
    let asked = match segments.as_slice() {
        ["_info"] => OfDesign::Info,
        ["_view", name] => OfDesign::View(decode(name).into_owned()),
        ["_view", name, "queries"] => OfDesign::Queries(decode(name).into_owned()),
        ["_view" | "_info", ..] => return Some(Target::Refused(Refused::Nothing)),
        _ => return None,
    };
    Some(Target::OfDesign(db.clone(), id.clone(), asked))
}

/// Which design document's views the path of a `_compact` asks for; none if it asks for the documents.
pub(crate) fn of_compact(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/_compact/")?;
    let name = rest.split('/').find(|part| !part.is_empty())?;
    Some(decode(name).into_owned())
}

/// What is asked of a design document in a partition: its views.
pub(super) fn in_partition(db: DbName, partition: &str, rest: &str) -> Target {
    let segments: Vec<&str> = rest.split('/').collect();
    let [name, "_view", view] = segments.as_slice() else { return Target::Refused(Refused::Nothing) };
    match DocId::parse(&format!("_design/{}", decode(name))) {
        Ok(id) => Target::PartitionView(db, decode(partition).into_owned(), id, decode(view).into_owned()),
        Err(invalid) => Target::BadDoc(db, invalid),
    }
}
