//! What stands behind `v1`: the cluster's replicas, and backups of it.

use super::{Refused, Server, Target};

/// What stands behind `_replication`, which is `v1/_replication` too.
pub(super) fn replication(rest: &str) -> Target {
    match rest {
        "state" => Target::Server(Server::ReplicationState),
        "promote" => Target::Server(Server::ReplicationPromote),
        "drain" => Target::Server(Server::ReplicationDrain),
        "wal" => Target::Server(Server::ReplicationWal),
        _ => Target::Refused(Refused::Nothing),
    }
}

/// What stands behind `v1/_backup`.
pub(super) fn backup(rest: &str) -> Target {
    match rest {
        "catalog" => Target::Server(Server::BackupCatalog),
        "export" => Target::Server(Server::BackupExport),
        "load" => Target::Server(Server::BackupLoad),
        _ => Target::Refused(Refused::Nothing),
    }
}
