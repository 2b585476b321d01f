//! What stands behind `/{db}/_index`: one index. Pure.

use common::ids::DbName;

use super::{Refused, Target, decode};

/// What stands behind `_index`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexPath {
    /// The design document, with or without `_design/`.
    pub(crate) ddoc: String,
    /// The type.
    pub(crate) kind: String,
    /// The index's name.
    pub(crate) name: String,
}

/// `_index/{ddoc}/{type}/{name}`; the design document may be written with its slash.
pub(super) fn parse(db: DbName, behind: &str) -> Target {
    let parts: Vec<_> = behind.split('/').map(decode).collect();
    let (ddoc, rest) = match parts.as_slice() {
        [prefix, ddoc, rest @ ..] if prefix == "_design" => (format!("_design/{ddoc}"), rest),
        [ddoc, rest @ ..] => (ddoc.to_string(), rest),
        [] => return Target::Refused(Refused::Nothing),
    };
    match rest {
        [kind, name] => Target::Index(db, IndexPath { ddoc, kind: kind.to_string(), name: name.to_string() }),
        _ => Target::Refused(Refused::Nothing),
    }
}
