//! What a server tells of its databases, and how it is asked for their documents.

use common::ids::{ClusterId, DbName, DbUid, ShardId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

/// The databases and shards of a cluster.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupCatalog)]
pub struct Catalog {
    /// The format of backups its nodes write.
    pub format: u16,
    /// The version of its router.
    pub quorate: String,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster.
    #[schema(value_type = serde_json::Value)]
    pub cluster_id: ClusterId,
    /// All shards, sorted.
    #[schema(value_type = Vec<u32>)]
    pub shards: Vec<ShardId>,
    /// All databases, sorted by name; `_users` among them.
    pub databases: Vec<Database>,
}

/// A database and its settings.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = BackupDatabase)]
pub struct Database {
    /// Its name.
    #[schema(value_type = String)]
    pub name: DbName,
    /// Itself, in that cluster.
    #[schema(value_type = serde_json::Value)]
    pub uid: DbUid,
    /// Whether documents are placed by partition.
    pub partitioned: bool,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// `_revs_limit`
    pub revs_limit: u32,
    /// `_purged_infos_limit`
    pub purged_infos_limit: u32,
    /// `_security`, if it was ever put.
    #[schema(value_type = Option<serde_json::Value>)]
    pub security: Option<Box<RawValue>>,
    /// About how many documents it has, deleted ones included.
    pub documents: u64,
}

/// Asks for a shard's part of a backup.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackupExport)]
pub struct Export {
    /// Names the backup.
    #[schema(value_type = String)]
    pub backup: Uuid,
    /// The shard.
    #[schema(value_type = u32)]
    pub shard: ShardId,
    /// The databases wanted.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub databases: Vec<DbUid>,
}
