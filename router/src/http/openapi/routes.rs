//! Which routes there are: every value of the enums of `target`, so that a new one is here by itself.

use strum::VariantArray;

use super::super::target::{Part, Server, Target};

/// A route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Server(Server),
    Part(Part),
    Named(Named),
}

/// Routes whose targets hold names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub(super) enum Named {
    Dashboard,
    Db,
    Doc,
    Local,
    Attachment,
    Index,
    ShardOf,
    Partition,
    PartitionAllDocs,
    PartitionChanges,
    PartitionIndex,
    PartitionFind,
    PartitionExplain,
    ScheduledJob,
    ScheduledDoc,
    PartitionView,
    View,
    ViewQueries,
    DesignInfo,
}

impl Route {
    pub(super) fn all() -> impl Iterator<Item = Route> {
        let server = Server::VARIANTS.iter().copied().map(Route::Server);
        let parts = Part::VARIANTS.iter().copied().map(Route::Part);
        server.chain(parts).chain(Named::VARIANTS.iter().copied().map(Route::Named))
    }

    /// Something it leads to.
    pub(super) fn sample(self) -> Target {
        match self {
            Route::Server(server) => Target::Server(server),
            Route::Part(part) => match Target::parse("/db") {
                Target::Db(db) => Target::Part(db, part),
                other => other,
            },
            Route::Named(named) => Target::parse(match named {
                Named::Dashboard => "/_utils/main.js",
                Named::Db => "/db",
                Named::Doc => "/db/doc",
                Named::Local => "/db/_local/doc",
                Named::Attachment => "/db/doc/attachment",
                Named::Index => "/db/_index/ddoc/json/name",
                Named::ShardOf => "/db/_shards/doc",
                Named::Partition => "/db/_partition/partition",
                Named::PartitionAllDocs => "/db/_partition/partition/_all_docs",
                Named::PartitionChanges => "/db/_partition/partition/_changes",
                Named::PartitionIndex => "/db/_partition/partition/_index",
                Named::PartitionFind => "/db/_partition/partition/_find",
                Named::PartitionExplain => "/db/_partition/partition/_explain",
                Named::ScheduledJob => "/_scheduler/jobs/job",
                Named::ScheduledDoc => "/_scheduler/docs/_replicator/doc",
                Named::PartitionView => "/db/_partition/partition/_design/ddoc/_view/view",
                Named::View => "/db/_design/ddoc/_view/view",
                Named::ViewQueries => "/db/_design/ddoc/_view/view/queries",
                Named::DesignInfo => "/db/_design/ddoc/_info",
            }),
        }
    }
}

/// An endpoint that is known and not served: its path and methods.
pub(super) struct Unserved {
    pub template: &'static str,
    pub methods: &'static [&'static str],
    pub summary: &'static str,
}

const fn unserved(template: &'static str, methods: &'static [&'static str], summary: &'static str) -> Unserved {
    Unserved { template, methods, summary }
}

/// What is answered with 501.
pub(super) static UNSERVED: [Unserved; 9] = [
    unserved("/_reshard", &["GET"], "Resharding"),
    unserved("/_cluster_setup", &["GET", "POST"], "Set a cluster up"),
    unserved("/{db}/_purged_infos", &["GET"], "Purges that are remembered"),
    unserved("/{db}/_auto_purge", &["GET", "PUT"], "When deleted documents are purged"),
    unserved("/{db}/_time_seq", &["GET", "DELETE"], "Which changes were made when"),
    unserved("/{db}/_design/{ddoc}/_show/{function}", &["GET", "POST"], "A show function"),
    unserved("/{db}/_design/{ddoc}/_list/{function}/{view}", &["GET", "POST"], "A list function"),
    unserved("/{db}/_design/{ddoc}/_update/{function}", &["POST"], "An update function"),
    unserved("/{db}/_design/{ddoc}/_rewrite/{path}", &["GET", "PUT", "POST", "DELETE"], "Rewritten paths"),
];
