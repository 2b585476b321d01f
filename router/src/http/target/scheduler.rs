//! What stands behind `_scheduler`.

use super::{Refused, Server, Target, decode};

/// One of the things that are scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scheduled {
    /// A replication, by its id: `_scheduler/jobs/{id}`.
    Job(String),
    /// A document's replication: `_scheduler/docs/{db}/{doc}`.
    Doc(String, String),
}

impl Scheduled {
    pub(super) fn route(&self) -> &'static str {
        match self {
            Scheduled::Job(_) => "/_scheduler/jobs/{id}",
            Scheduled::Doc(..) => "/_scheduler/docs/{replicator}/{doc}",
        }
    }
}

pub(super) fn parse(rest: &str) -> Target {
    let (kind, behind) = rest.split_once('/').unwrap_or((rest, ""));
    match (kind, behind.split_once('/').unwrap_or((behind, ""))) {
        ("jobs", ("", "")) => Target::Server(Server::SchedulerJobs),
        ("jobs", (id, "")) => Target::Scheduled(Scheduled::Job(decode(id).into_owned())),
        ("docs", ("", "") | ("_replicator", "")) => Target::Server(Server::SchedulerDocs),
        // Ids may have slashes, plain ones too; the database's name may have encoded ones.
        ("docs", (db, doc)) if !doc.is_empty() => {
            Target::Scheduled(Scheduled::Doc(decode(db).into_owned(), decode(doc).into_owned()))
        }
        _ => Target::Refused(Refused::Nothing),
    }
}
