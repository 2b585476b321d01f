//! Tells who is asking, what they are to what they ask for, and whether they come in.
//!
//! Each route has its class here, in a match without a rest: a new one does not compile until it has one. What a class
//! means to whom is the table in [`crate::auth::rules`].

use std::sync::Arc;

use common::ids::{DbName, DocId};
use http::HeaderValue;
use http::request::Parts;

use super::error::Error;
use super::standing::Standing;
use super::target::{OfPartition, Part, Server, Target};
use crate::app::App;
use crate::auth::rules::{Class, Level, Verdict, decide};
use crate::auth::{Acting, ID_PREFIX, Identity, User, require_loopback};
use crate::cluster::catalog::CatalogError;

/// The database of users, which has rules of its own.
pub(super) const USERS: &str = "_users";
/// The database of replications that are wanted: for server admins, since it holds credentials.
pub(super) const REPLICATOR: &str = "_replicator";

/// Somebody who was let in.
pub(super) struct Admitted {
    pub user: User,
    /// What they are to the database asked about, or to the server.
    pub level: Level,
    /// `Set-Cookie`: their session goes on.
    pub renewal: Option<HeaderValue>,
    /// What is to be looked at again while the answer is being sent.
    pub standing: Option<Standing>,
}

/// Tells who is asking, if they may ask for this.
pub(super) async fn admit(app: &Arc<App>, target: &Target, parts: &Parts) -> Result<Admitted, Error> {
    let acting = parts.extensions.get::<Acting>();
    if !app.auth.is_closed() && acting.is_none() {
        require_loopback(parts)?;
    }
    let class = class_of(target);
    if class == Class::Liveness {
        return Ok(Admitted { user: User::anonymous(), level: Level::Anonymous, renewal: None, standing: None });
    }
    let identity = match acting {
        Some(acting) => Identity { user: app.auth.acting(acting).await?, renewal: None },
        None => app.auth.identify(&parts.headers).await?,
    };
    let level = match level(app, &identity.user, class, target).await {
        // What is not there has no members: what only they may do is told to be missing.
        Err(error) => match decide(class, &parts.method, identity.user.level()) {
            verdict @ (Verdict::Login | Verdict::NotServerAdmin) => return Err(Error::NotAllowed(verdict)),
            _ => return Err(error),
        },
        Ok(level) => level,
    };
    refuse_unless(decide(class, &parts.method, level))?;
    let standing = Standing::of(app, &identity.user, class, target, &parts.method);
    Ok(Admitted { user: identity.user, level, renewal: identity.renewal, standing })
}

/// Passes a verdict on.
pub(super) fn refuse_unless(verdict: Verdict) -> Result<(), Error> {
    match verdict {
        Verdict::Allow => Ok(()),
        Verdict::Missing => Err(crate::ops::Error::Missing.into()),
        verdict => Err(Error::NotAllowed(verdict)),
    }
}

/// What the user is to what is asked about.
async fn level(app: &App, user: &User, class: Class, target: &Target) -> Result<Level, Error> {
    let level = user.level();
    let db = target.db().filter(|_| class.is_in_database());
    let Some(db) = db.filter(|_| level != Level::ServerAdmin) else { return Ok(level) };
    if db.as_str() == USERS {
        return Ok(level_among_users(user, target, app.auth.allows_sign_up()));
    }
    match app.ops.catalog.db_confirmed(db).await {
        Ok(entry) => Ok(user.level_in(&entry.access)),
        // Nobody in particular is not told which databases there are.
        Err(CatalogError::NotFound) if user.name.is_none() => Ok(level),
        Err(error) => Err(error.into()),
    }
}

/// In `_users` everybody is a member of their own document only.
fn level_among_users(user: &User, target: &Target, sign_up: bool) -> Level {
    let about = match target {
        Target::Doc(_, id) => id.as_str().strip_prefix(ID_PREFIX),
        _ => None,
    };
    match user.name.as_deref() {
        None if sign_up => Level::Guest,
        None => Level::Anonymous,
        Some(name) if about == Some(name) => Level::Member,
        Some(_) => Level::User,
    }
}

pub(super) fn class_of(target: &Target) -> Class {
    match target {
        Target::Server(server) => class_of_server(*server),
        Target::Doc(db, id) if db.as_str() == USERS => class_of_user_document(id),
        Target::Doc(db, _) if db.as_str() == REPLICATOR => Class::Users,
        Target::Db(db)
        | Target::Part(db, _)
        | Target::Local(db, _)
        | Target::BadDoc(db, _)
        | Target::BadLocal(db, _)
        | Target::Attachment(db, ..)
        | Target::Index(db, ..)
        | Target::Partition(db, ..)
        | Target::OfDesign(db, ..)
        | Target::PartitionView(db, ..)
        | Target::ShardOf(db, _)
            if matches!(db.as_str(), USERS | REPLICATOR) =>
        {
            Class::Users
        }
        Target::Db(_) => Class::Database,
        Target::Part(_, part) => class_of_part(*part),
        Target::Doc(_, id) | Target::Attachment(_, id, _) if id.is_design() => Class::Design,
        Target::Doc(..) | Target::Attachment(..) | Target::Local(..) | Target::ShardOf(..) => Class::Contents,
        Target::BadDoc(..) | Target::BadLocal(..) => Class::Contents,
        Target::OfDesign(..) | Target::PartitionView(..) => Class::Contents,
        Target::Partition(_, _, asked) => match asked {
            // Indexes are design documents.
            OfPartition::Index => Class::Design,
            OfPartition::Nothing | OfPartition::Info | OfPartition::AllDocs | OfPartition::Changes => Class::Contents,
            OfPartition::Find | OfPartition::Explain => Class::Contents,
        },
        Target::Dashboard(_) => Class::Liveness,
        Target::Scheduled(_) => Class::Server,
        Target::Index(..) => Class::Design,
        Target::BadDb(_) | Target::Refused(_) => Class::Commons,
    }
}

fn class_of_user_document(id: &DocId) -> Class {
    if id.as_str().starts_with(ID_PREFIX) { Class::UserDocument } else { Class::Users }
}

fn class_of_server(server: Server) -> Class {
    match server {
        Server::Up | Server::Ready => Class::Liveness,
        Server::Root | Server::Session | Server::OpenApi => Class::Door,
        // Whoever has a name replicates what they may read to where they may write.
        Server::Uuids | Server::Replicate => Class::Commons,
        Server::AllDbs | Server::DbsInfo | Server::DbUpdates => Class::Server,
        Server::Metrics | Server::Membership | Server::ActiveTasks => Class::Server,
        Server::ReplicationState | Server::ReplicationPromote | Server::ReplicationDrain => Class::Server,
        Server::ReplicationWal => Class::Server,
        Server::SchedulerJobs | Server::SchedulerDocs => Class::Server,
        Server::BackupCatalog | Server::BackupExport | Server::BackupLoad => Class::Server,
    }
}

fn class_of_part(part: Part) -> Class {
    match part {
        Part::AllDocs | Part::DesignDocs | Part::LocalDocs => Class::Contents,
        Part::AllDocsQueries | Part::DesignDocsQueries | Part::LocalDocsQueries => Class::Contents,
        Part::BulkDocs | Part::BulkGet | Part::Changes | Part::RevsDiff | Part::MissingRevs => Class::Contents,
        Part::EnsureFullCommit | Part::Shards => Class::Contents,
        Part::Find | Part::Explain => Class::Contents,
        // Indexes are design documents.
        Part::Index | Part::IndexBulkDelete => Class::Design,
        Part::Security | Part::RevsLimit => Class::Settings,
        Part::Compact | Part::ViewCleanup => Class::Maintenance,
        Part::Purge | Part::PurgedInfosLimit => Class::Purging,
        Part::SyncShards => Class::Server,
    }
}

impl Target {
    /// The database it is about, under a name that there may be.
    pub(super) fn db(&self) -> Option<&DbName> {
        match self {
            Target::Db(db)
            | Target::Part(db, _)
            | Target::Doc(db, _)
            | Target::Local(db, _)
            | Target::BadDoc(db, _)
            | Target::BadLocal(db, _)
            | Target::Attachment(db, ..)
            | Target::Index(db, ..)
            | Target::Partition(db, ..)
            | Target::OfDesign(db, ..)
            | Target::PartitionView(db, ..)
            | Target::ShardOf(db, _) => Some(db),
            Target::Server(_) | Target::Dashboard(_) | Target::BadDb(_) => None,
            Target::Scheduled(_) | Target::Refused(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_class() {
        for (path, class) in [
            ("/_up", Class::Liveness),
            ("/_ready", Class::Liveness),
            ("/_utils/", Class::Liveness),
            ("/", Class::Door),
            ("/_openapi.json", Class::Door),
            ("/v1/_backup/catalog", Class::Server),
            ("/v1/_replication/drain", Class::Server),
            ("/db/_find", Class::Contents),
            ("/db/_explain", Class::Contents),
            ("/db/_index", Class::Design),
            ("/db/_index/_design/d/json/i", Class::Design),
            ("/db/_index/_bulk_delete", Class::Design),
            ("/_session", Class::Door),
            ("/_uuids", Class::Commons),
            ("/_all_dbs", Class::Server),
            ("/_metrics", Class::Server),
            ("/v1/_replication/state", Class::Server),
            ("/_replication/wal", Class::Server),
            ("/db", Class::Database),
            ("/Bad", Class::Commons),
            ("/db/doc", Class::Contents),
            ("/db/doc/file", Class::Contents),
            ("/db/_nope", Class::Contents),
            ("/db/_local/x", Class::Contents),
            ("/db/_changes", Class::Contents),
            ("/db/_partition/p", Class::Contents),
            ("/db/_partition/p/_find", Class::Contents),
            ("/db/_partition/p/_design/d/_view/v", Class::Contents),
            ("/db/_design/d/_view/v", Class::Contents),
            ("/db/_design/d/_view/v/queries", Class::Contents),
            ("/db/_design/d/_info", Class::Contents),
            ("/_users/_design/d/_view/v", Class::Users),
            ("/db/_partition/p/_changes", Class::Contents),
            ("/db/_partition/p/_index", Class::Design),
            ("/_users/_partition/p/_all_docs", Class::Users),
            ("/db/_design_docs", Class::Contents),
            ("/db/_design/d", Class::Design),
            ("/db/_design%2Fd", Class::Design),
            ("/db/_design/d/logo.png", Class::Design),
            ("/db/_security", Class::Settings),
            ("/db/_revs_limit", Class::Settings),
            ("/db/_compact", Class::Maintenance),
            ("/db/_purge", Class::Purging),
            ("/db/_sync_shards", Class::Server),
            ("/_users", Class::Users),
            ("/_users/_all_docs", Class::Users),
            ("/_replicate", Class::Commons),
            ("/_scheduler/jobs", Class::Server),
            ("/_scheduler/jobs/x", Class::Server),
            ("/_scheduler/docs/_replicator/x", Class::Server),
            ("/_replicator", Class::Users),
            ("/_replicator/x", Class::Users),
            ("/_replicator/_all_docs", Class::Users),
            ("/_replicator/_local/x", Class::Users),
            ("/_replicator/org.couchdb.user:jan", Class::Users),
            ("/_replicator/_security", Class::Users),
            ("/_replicator/_design/d", Class::Users),
            ("/_replicator/_partition/p", Class::Users),
            ("/_users/_security", Class::Users),
            ("/_users/_bulk_docs", Class::Users),
            ("/_users/_local/x", Class::Users),
            ("/_users/_design/_auth", Class::Users),
            ("/_users/x", Class::Users),
            ("/_users/org.couchdb.user:jan/photo", Class::Users),
            ("/_users/org.couchdb.user:jan", Class::UserDocument),
            ("/_users/org.couchdb.user%3Ajan", Class::UserDocument),
        ] {
            assert_eq!(class_of(&Target::parse(path)), class, "{path}");
        }
    }

    #[test]
    fn everybody_is_a_member_of_their_own_document_only() {
        let jan = User { name: Some("jan".into()), ..User::anonymous() };
        let level = |user, path| level_among_users(user, &Target::parse(path), false);
        assert_eq!(level(&jan, "/_users/org.couchdb.user:jan"), Level::Member);
        assert_eq!(level(&jan, "/_users/org.couchdb.user:jane"), Level::User);
        assert_eq!(level(&jan, "/_users/org.couchdb.user:jan/photo"), Level::User);
        assert_eq!(level(&jan, "/_users/_all_docs"), Level::User);
        assert_eq!(level(&User::anonymous(), "/_users/org.couchdb.user:jan"), Level::Anonymous);
        let about = Target::parse("/_users/org.couchdb.user:jan");
        assert_eq!(level_among_users(&User::anonymous(), &about, true), Level::Guest);
    }
}
