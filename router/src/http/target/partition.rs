//! What stands behind `/{db}/_partition`. Pure.

use common::ids::DbName;

use super::{Part, Refused, Target, decode};

/// What is asked of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfPartition {
    /// Nothing, for want of a name.
    Nothing,
    /// What there is of it.
    Info,
    /// `_all_docs`
    AllDocs,
    /// `_changes`
    Changes,
    /// `_find`
    Find,
    /// `_explain`
    Explain,
    /// `_index`: the database's
    Index,
}

impl OfPartition {
    pub(super) fn route(self) -> &'static str {
        match self {
            OfPartition::Nothing | OfPartition::Info => "/{db}/_partition/{partition}",
            OfPartition::AllDocs => "/{db}/_partition/{partition}/_all_docs",
            OfPartition::Changes => "/{db}/_partition/{partition}/_changes",
            OfPartition::Find => "/{db}/_partition/{partition}/_find",
            OfPartition::Index => "/{db}/_partition/{partition}/_index",
            OfPartition::Explain => "/{db}/_partition/{partition}/_explain",
        }
    }

    pub(super) fn allow(self) -> &'static str {
        match self {
            OfPartition::Nothing | OfPartition::Info => "GET",
            OfPartition::AllDocs => Part::AllDocs.allow(),
            OfPartition::Changes => Part::Changes.allow(),
            OfPartition::Find | OfPartition::Explain => Part::Find.allow(),
            OfPartition::Index => Part::Index.allow(),
        }
    }
}

/// What stands behind `_partition`.
pub(super) fn parse(db: DbName, behind: &str) -> Target {
    let (name, asked) = match behind.split_once('/') {
        None if behind.is_empty() => ("", OfPartition::Nothing),
        None => (behind, OfPartition::Info),
        Some((name, "_all_docs")) => (name, OfPartition::AllDocs),
        Some((name, "_changes")) => (name, OfPartition::Changes),
        Some((name, "_find")) => (name, OfPartition::Find),
        Some((name, "_explain")) => (name, OfPartition::Explain),
        Some((name, "_index")) => (name, OfPartition::Index),
        Some((name, rest)) if rest.starts_with("_design/") => {
            return super::design::in_partition(db, name, &rest["_design/".len()..]);
        }
        Some(_) => return Target::Refused(Refused::Nothing),
    };
    Target::Partition(db, decode(name).into_owned(), asked)
}
