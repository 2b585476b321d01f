//! What a path names. Pure: the one place where URLs are taken apart.
//!
//! Paths are CouchDB's: names are percent-encoded segments, so `a%2Fb` is one database and `_design%2Fd` and
//! `_design/d` are one document. A name that is not allowed is kept as such, since the answer depends on the method.

mod cluster;
mod design;
mod index;
mod partition;
mod scheduler;

use common::ids::{DbName, DocId, Invalid};
pub(crate) use design::{OfDesign, of_compact};
pub(crate) use index::IndexPath;
pub(crate) use partition::OfPartition;
use percent_encoding::percent_decode_str;
pub(crate) use scheduler::Scheduled;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The server or the cluster as a whole.
    Server(Server),
    /// The dashboard: a file of it, by name; empty for its page.
    Dashboard(String),
    /// A database.
    Db(DbName),
    /// A database under a name that none can have.
    BadDb(Invalid),
    /// An endpoint of a database.
    Part(DbName, Part),
    /// A document, design documents included.
    Doc(DbName, DocId),
    /// A local document.
    Local(DbName, DocId),
    /// A document under an id that none can have.
    BadDoc(DbName, Invalid),
    /// A local document as none can be asked for, and what is wrong with that.
    BadLocal(DbName, &'static str),
    /// An attachment of a document.
    Attachment(DbName, DocId, String),
    /// An index, as it is deleted: `_index/{ddoc}/{type}/{name}`.
    Index(DbName, IndexPath),
    /// A partition, by a name that need not be one: `_partition/{partition}`, and what is asked of it.
    Partition(DbName, String, OfPartition),
    /// What is asked of a design document besides itself.
    OfDesign(DbName, DocId, OfDesign),
    /// A view of a partition: the partition's name, that need not be one, the design document and the view.
    PartitionView(DbName, String, DocId, String),
    /// The shard of a document: `_shards/{doc}`.
    ShardOf(DbName, DocId),
    /// A replication that is scheduled.
    Scheduled(Scheduled),
    /// Known, and not served, whatever the method.
    Refused(Refused),
}

/// Endpoints of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray)]
pub(crate) enum Server {
    /// `/`
    Root,
    /// `/_up`
    Up,
    /// `/_ready`
    Ready,
    /// `/_all_dbs`
    AllDbs,
    /// `/_dbs_info`
    DbsInfo,
    /// `/_db_updates`
    DbUpdates,
    /// `/_uuids`
    Uuids,
    /// `/_metrics`
    Metrics,
    /// `/_session`
    Session,
    /// `/_membership`
    Membership,
    /// `/_active_tasks`
    ActiveTasks,
    /// `/_openapi.json`
    OpenApi,
    /// `/_replicate`
    Replicate,
    /// `/_scheduler/jobs`
    SchedulerJobs,
    /// `/_scheduler/docs`
    SchedulerDocs,
    /// `/v1/_replication/state`
    ReplicationState,
    /// `/v1/_replication/promote`
    ReplicationPromote,
    /// `/v1/_replication/drain`
    ReplicationDrain,
    /// `/v1/_replication/wal`
    ReplicationWal,
    /// `/v1/_backup/catalog`
    BackupCatalog,
    /// `/v1/_backup/export`
    BackupExport,
    /// `/v1/_backup/load`
    BackupLoad,
}

/// Endpoints of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray)]
pub(crate) enum Part {
    /// `_all_docs`
    AllDocs,
    /// `_design_docs`
    DesignDocs,
    /// `_local_docs`
    LocalDocs,
    /// `_all_docs/queries`
    AllDocsQueries,
    /// `_design_docs/queries`
    DesignDocsQueries,
    /// `_local_docs/queries`
    LocalDocsQueries,
    /// `_bulk_docs`
    BulkDocs,
    /// `_bulk_get`
    BulkGet,
    /// `_changes`
    Changes,
    /// `_revs_diff`
    RevsDiff,
    /// `_missing_revs`
    MissingRevs,
    /// `_security`
    Security,
    /// `_revs_limit`
    RevsLimit,
    /// `_purge`
    Purge,
    /// `_purged_infos_limit`
    PurgedInfosLimit,
    /// `_shards`
    Shards,
    /// `_sync_shards`
    SyncShards,
    /// `_ensure_full_commit`
    EnsureFullCommit,
    /// `_compact`, also of one design document
    Compact,
    /// `_view_cleanup`
    ViewCleanup,
    /// `_find`
    Find,
    /// `_explain`
    Explain,
    /// `_index`
    Index,
    /// `_index/_bulk_delete`
    IndexBulkDelete,
}

/// Endpoints that are not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Known to CouchDB, not (yet) to us.
    NotImplemented,
    /// `_temp_view`
    TemporaryView,
    /// `_search…`, `_nouveau…`
    Search,
    /// Nothing has this name.
    Nothing,
}

impl Target {
    /// Takes a path apart.
    pub(crate) fn parse(path: &str) -> Self {
        // As CouchDB: between two slashes there is nothing. A client may put one behind its base and one before a name.
        // The dashboard's page would look for its parts in the wrong place.
        if path.contains("//") && !path.starts_with("/_utils/") {
            let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
            return Self::parse(&format!("/{}", parts.join("/")));
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        match first {
            "" => Target::Server(Server::Root),
            "v1" if rest.starts_with("_replication/") => cluster::replication(&rest["_replication/".len()..]),
            "v1" if rest.starts_with("_backup/") => cluster::backup(&rest["_backup/".len()..]),
            "_replication" => cluster::replication(rest),
            "_utils" => Target::Dashboard(rest.to_owned()),
            "_scheduler" => scheduler::parse(rest),
            _ => server(first, rest).unwrap_or_else(|| in_db(&decode(first), rest)),
        }
    }

    /// The path's pattern, for metrics: few values, whatever clients ask for.
    pub(crate) fn route(&self) -> &'static str {
        match self {
            Target::Server(server) => server.route(),
            Target::Dashboard(_) => "/_utils/{file}",
            Target::Db(_) | Target::BadDb(_) => "/{db}",
            Target::Part(_, part) => part.route(),
            Target::Doc(..) | Target::BadDoc(..) => "/{db}/{doc}",
            Target::Local(..) | Target::BadLocal(..) => "/{db}/_local/{doc}",
            Target::Attachment(..) => "/{db}/{doc}/{attachment}",
            Target::Index(..) => "/{db}/_index/{ddoc}/{type}/{name}",
            Target::Partition(_, _, asked) => asked.route(),
            Target::OfDesign(_, _, asked) => asked.route(),
            Target::PartitionView(..) => "/{db}/_partition/{partition}/_design/{ddoc}/_view/{view}",
            Target::ShardOf(..) => "/{db}/_shards/{doc}",
            Target::Scheduled(scheduled) => scheduled.route(),
            Target::Refused(_) => "other",
        }
    }

    /// The methods it takes, as CouchDB's `Allow` lists them.
    pub(crate) fn allow(&self) -> &'static str {
        match self {
            Target::Server(server) => server.allow(),
            Target::Dashboard(_) => "GET,HEAD",
            Target::Db(_) | Target::BadDb(_) => "DELETE,GET,HEAD,POST",
            Target::Part(_, part) => part.allow(),
            Target::Doc(..) | Target::BadDoc(..) => "DELETE,GET,HEAD,POST,PUT,COPY",
            Target::Local(..) | Target::BadLocal(..) => "DELETE,GET,HEAD,POST,PUT,COPY",
            Target::Attachment(..) => "DELETE,GET,HEAD,PUT",
            Target::Index(..) => "DELETE",
            Target::Partition(_, _, asked) => asked.allow(),
            Target::OfDesign(_, _, asked) => asked.allow(),
            Target::PartitionView(..) => Part::AllDocs.allow(),
            Target::ShardOf(..) => "GET",
            Target::Scheduled(_) | Target::Refused(_) => "GET,HEAD",
        }
    }
}

impl Server {
    fn route(self) -> &'static str {
        match self {
            Server::Root => "/",
            Server::Up => "/_up",
            Server::Ready => "/_ready",
            Server::AllDbs => "/_all_dbs",
            Server::DbsInfo => "/_dbs_info",
            Server::DbUpdates => "/_db_updates",
            Server::Uuids => "/_uuids",
            Server::Metrics => "/_metrics",
            Server::Session => "/_session",
            Server::Membership => "/_membership",
            Server::ActiveTasks => "/_active_tasks",
            Server::OpenApi => "/_openapi.json",
            Server::Replicate => "/_replicate",
            Server::SchedulerJobs => "/_scheduler/jobs",
            Server::SchedulerDocs => "/_scheduler/docs",
            Server::ReplicationState => "/v1/_replication/state",
            Server::ReplicationPromote => "/v1/_replication/promote",
            Server::ReplicationDrain => "/v1/_replication/drain",
            Server::ReplicationWal => "/v1/_replication/wal",
            Server::BackupCatalog => "/v1/_backup/catalog",
            Server::BackupExport => "/v1/_backup/export",
            Server::BackupLoad => "/v1/_backup/load",
        }
    }

    fn allow(self) -> &'static str {
        match self {
            Server::DbsInfo => "GET,HEAD,POST",
            Server::Session => "GET,HEAD,POST,DELETE",
            Server::ReplicationPromote | Server::ReplicationDrain => "POST",
            Server::BackupExport | Server::BackupLoad | Server::Replicate => "POST",
            Server::DbUpdates => "GET",
            _ => "GET,HEAD",
        }
    }
}

impl Part {
    /// The endpoint of that name, with whatever follows it in the path.
    fn parse(name: &str, rest: &str) -> Option<Self> {
        let part = match name {
            "_all_docs" if rest == "queries" => return Some(Part::AllDocsQueries),
            "_all_docs" => Part::AllDocs,
            "_design_docs" if rest == "queries" => return Some(Part::DesignDocsQueries),
            "_design_docs" => Part::DesignDocs,
            "_local_docs" if rest == "queries" => return Some(Part::LocalDocsQueries),
            "_local_docs" => Part::LocalDocs,
            "_bulk_docs" => Part::BulkDocs,
            "_bulk_get" => Part::BulkGet,
            "_changes" => Part::Changes,
            "_revs_diff" => Part::RevsDiff,
            "_missing_revs" => Part::MissingRevs,
            "_security" => Part::Security,
            "_revs_limit" => Part::RevsLimit,
            "_purge" => Part::Purge,
            "_purged_infos_limit" => Part::PurgedInfosLimit,
            "_shards" => Part::Shards,
            "_sync_shards" => Part::SyncShards,
            "_ensure_full_commit" => Part::EnsureFullCommit,
            "_compact" => return Some(Part::Compact),
            "_view_cleanup" => Part::ViewCleanup,
            "_find" => Part::Find,
            "_explain" => Part::Explain,
            "_index" if rest == "_bulk_delete" => return Some(Part::IndexBulkDelete),
            "_index" => Part::Index,
            _ => return None,
        };
        rest.is_empty().then_some(part)
    }

    fn route(self) -> &'static str {
        match self {
            Part::AllDocs => "/{db}/_all_docs",
            Part::DesignDocs => "/{db}/_design_docs",
            Part::LocalDocs => "/{db}/_local_docs",
            Part::AllDocsQueries => "/{db}/_all_docs/queries",
            Part::DesignDocsQueries => "/{db}/_design_docs/queries",
            Part::LocalDocsQueries => "/{db}/_local_docs/queries",
            Part::BulkDocs => "/{db}/_bulk_docs",
            Part::BulkGet => "/{db}/_bulk_get",
            Part::Changes => "/{db}/_changes",
            Part::RevsDiff => "/{db}/_revs_diff",
            Part::MissingRevs => "/{db}/_missing_revs",
            Part::Security => "/{db}/_security",
            Part::RevsLimit => "/{db}/_revs_limit",
            Part::Purge => "/{db}/_purge",
            Part::PurgedInfosLimit => "/{db}/_purged_infos_limit",
            Part::Shards => "/{db}/_shards",
            Part::SyncShards => "/{db}/_sync_shards",
            Part::EnsureFullCommit => "/{db}/_ensure_full_commit",
            Part::Compact => "/{db}/_compact",
            Part::ViewCleanup => "/{db}/_view_cleanup",
            Part::Find => "/{db}/_find",
            Part::Explain => "/{db}/_explain",
            Part::Index => "/{db}/_index",
            Part::IndexBulkDelete => "/{db}/_index/_bulk_delete",
        }
    }

    /// Whether it takes a method (`HEAD` counted as `GET`).
    pub(crate) fn takes(self, method: &http::Method) -> bool {
        self.allow().split(',').any(|allowed| allowed == method.as_str())
    }

    fn allow(self) -> &'static str {
        match self {
            Part::AllDocs | Part::DesignDocs | Part::LocalDocs | Part::Changes => "GET,HEAD,POST",
            Part::Security | Part::RevsLimit => "PUT,GET",
            Part::PurgedInfosLimit => "GET,PUT",
            Part::Shards => "GET",
            Part::Index => "GET,POST",
            _ => "POST",
        }
    }
}

fn server(first: &str, rest: &str) -> Option<Target> {
    let server = match first {
        "_up" => Server::Up,
        "_ready" => Server::Ready,
        "_all_dbs" => Server::AllDbs,
        "_dbs_info" => Server::DbsInfo,
        "_db_updates" => Server::DbUpdates,
        "_uuids" => Server::Uuids,
        "_metrics" => Server::Metrics,
        "_session" => Server::Session,
        "_membership" => Server::Membership,
        "_active_tasks" => Server::ActiveTasks,
        "_openapi.json" => Server::OpenApi,
        "_replicate" => Server::Replicate,
        "_reshard" | "_cluster_setup" => {
            return Some(Target::Refused(Refused::NotImplemented));
        }
        "_search_analyze" | "_nouveau_analyze" => return Some(Target::Refused(Refused::Search)),
        "_node" | "_restart" | "_config" => return Some(Target::Refused(Refused::Nothing)),
        _ => return None,
    };
    Some(if rest.is_empty() { Target::Server(server) } else { Target::Refused(Refused::Nothing) })
}

fn in_db(name: &str, rest: &str) -> Target {
    let db = match DbName::parse(name) {
        Ok(db) => db,
        Err(invalid) => return Target::BadDb(invalid),
    };
    if rest.is_empty() {
        return Target::Db(db);
    }
    // Two texts must not name one document.
    if percent_decode_str(rest).decode_utf8().is_err() {
        return Target::BadDoc(db, Invalid::DocIdNotUtf8);
    }
    let (first, behind) = rest.split_once('/').unwrap_or((rest, ""));
    let first = decode(first);
    match first.as_ref() {
        "_design" | "_local" if !behind.is_empty() => prefixed(db, &first, behind),
        "_local" | "_local/" => Target::BadLocal(db, "Invalid _local document id."),
        "_temp_view" => Target::Refused(Refused::TemporaryView),
        "_index" if !behind.is_empty() && behind != "_bulk_delete" => index::parse(db, behind),
        "_partition" => partition::parse(db, behind),
        "_purged_infos" | "_auto_purge" | "_time_seq" => Target::Refused(Refused::NotImplemented),
        "_shards" if !behind.is_empty() => match DocId::parse(&decode(behind)) {
            Ok(id) => Target::ShardOf(db, id),
            Err(invalid) => Target::BadDoc(db, invalid),
        },
        name => match Part::parse(name, behind) {
            Some(part) => Target::Part(db, part),
            None if !behind.is_empty() => behind_doc(db, name, behind),
            None => doc(db, name),
        },
    }
}

/// `_design/…` and `_local/…` with a plain slash.
fn prefixed(db: DbName, prefix: &str, behind: &str) -> Target {
    let (name, rest) = behind.split_once('/').unwrap_or((behind, ""));
    let id = format!("{prefix}/{}", decode(name));
    if rest.is_empty() { doc(db, &id) } else { behind_doc(db, &id, rest) }
}

fn doc(db: DbName, id: &str) -> Target {
    match DocId::parse(id) {
        Ok(id) if id.is_local() => Target::Local(db, id),
        Ok(id) => Target::Doc(db, id),
        Err(invalid) => Target::BadDoc(db, invalid),
    }
}

/// What stands behind a document's id: attachments, and the endpoints of design documents.
fn behind_doc(db: DbName, id: &str, rest: &str) -> Target {
    let id = match DocId::parse(id) {
        Ok(id) if id.is_local() => return Target::BadLocal(db, "_local documents do not accept attachments."),
        Ok(id) => id,
        Err(invalid) => return Target::BadDoc(db, invalid),
    };
    if id.is_design()
        && let Some(target) = design::parse(&db, &id, rest)
    {
        return target;
    }
    // A slash may stand in a name, plain or encoded.
    Target::Attachment(db, id, decode(rest).into_owned())
}

fn decode(segment: &str) -> std::borrow::Cow<'_, str> {
    percent_decode_str(segment).decode_utf8_lossy()
}

#[cfg(test)]
mod tests;
