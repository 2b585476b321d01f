//! Shapes of what is written and read by hand, for the document only: the routes write their answers straight into
//! the buffer that goes out. A test holds these shapes against the answers that the API's script pins.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use crate::replicator::{DocRow, JobRow};

/// What every refusal says.
#[derive(ToSchema)]
#[schema(as = Error)]
pub(super) struct ErrorAnswer {
    /// What kind of refusal, for programs.
    error: String,
    /// Why, for people.
    reason: String,
    /// The shard that could not serve it.
    shard: Option<u32>,
}

/// Done.
#[derive(ToSchema)]
#[schema(as = Ok)]
pub(super) struct Done {
    ok: bool,
}

/// Who answers.
#[derive(ToSchema)]
pub(super) struct Welcome {
    couchdb: String,
    /// The version of CouchDB whose API this is.
    version: String,
    /// The cluster's.
    uuid: String,
    features: Vec<String>,
    vendor: Vendor,
}

#[derive(ToSchema)]
struct Vendor {
    name: String,
    version: String,
}

/// This router lives.
#[derive(ToSchema)]
pub(super) struct Up {
    status: String,
    seeds: BTreeMap<String, Value>,
}

/// This router reaches a primary of every shard.
#[derive(ToSchema)]
pub(super) struct Ready {
    status: String,
}

/// Names of databases, sorted.
#[derive(ToSchema)]
pub(super) struct DatabaseNames(Vec<String>);

/// What there is to say of a database.
#[derive(ToSchema)]
pub(super) struct Database {
    instance_start_time: String,
    db_name: String,
    purge_seq: String,
    update_seq: String,
    sizes: Sizes,
    props: Props,
    doc_del_count: u64,
    doc_count: u64,
    disk_format_version: u64,
    compact_running: bool,
    cluster: ClusterNumbers,
}

/// Bytes of its documents.
#[derive(ToSchema)]
struct Sizes {
    file: u64,
    external: u64,
    active: u64,
}

/// What there is to say of a partition.
#[derive(ToSchema)]
pub(super) struct Partition {
    db_name: String,
    sizes: PartitionSizes,
    partition: String,
    doc_count: u64,
    doc_del_count: u64,
}

/// Bytes of its documents.
#[derive(ToSchema)]
struct PartitionSizes {
    active: u64,
    external: u64,
}

#[derive(ToSchema)]
struct Props {
    partitioned: Option<bool>,
}

/// Shards, replicas, and how many of these make a quorum to write and to read.
#[derive(ToSchema)]
struct ClusterNumbers {
    q: u64,
    n: u64,
    w: u64,
    r: u64,
}

/// Databases asked about by name.
#[derive(ToSchema)]
pub(super) struct DatabaseKeys {
    #[schema(max_items = 100)]
    keys: Vec<String>,
}

/// A row a database.
#[derive(ToSchema)]
pub(super) struct DatabaseRows(Vec<DatabaseRow>);

#[derive(ToSchema)]
struct DatabaseRow {
    key: String,
    info: Option<Database>,
    error: Option<String>,
}

/// What became of databases, each once, at its latest place.
#[derive(ToSchema)]
pub(super) struct DatabaseUpdates {
    results: Vec<DatabaseUpdate>,
    last_seq: String,
}

#[derive(ToSchema)]
struct DatabaseUpdate {
    db_name: String,
    /// `created`, `updated` or `deleted`.
    r#type: String,
    seq: String,
}

/// Fresh ids.
#[derive(ToSchema)]
pub(super) struct Uuids {
    uuids: Vec<String>,
}

/// Name and password.
#[derive(ToSchema)]
pub(super) struct Login {
    /// May be called `username` instead.
    name: String,
    password: String,
}

/// Logged in; the cookie is in `Set-Cookie`.
#[derive(ToSchema)]
pub(super) struct LoggedIn {
    ok: bool,
    name: String,
    roles: Vec<String>,
}

/// Who is asking.
#[derive(ToSchema)]
pub(super) struct Session {
    ok: bool,
    #[schema(rename = "userCtx")]
    user_ctx: UserContext,
    info: SessionInfo,
}

#[derive(ToSchema)]
struct UserContext {
    /// Null for nobody in particular.
    name: Option<String>,
    roles: Vec<String>,
}

#[derive(ToSchema)]
struct SessionInfo {
    authentication_handlers: Vec<String>,
    /// By which of them.
    authenticated: Option<String>,
}

/// The nodes of the cluster.
#[derive(ToSchema)]
pub(super) struct Membership {
    all_nodes: Vec<String>,
    cluster_nodes: Vec<String>,
}

/// What this router has under way.
#[derive(ToSchema)]
pub(super) struct ActiveTasks(Vec<ActiveTask>);

/// An index that is made, or a replication that runs; more members by its type.
#[derive(ToSchema)]
struct ActiveTask {
    r#type: String,
    /// The database, or the one of the document that asks for the replication.
    database: Option<String>,
    design_document: Option<String>,
    changes_done: Option<u64>,
    total_changes: Option<u64>,
    /// Percent.
    progress: Option<u64>,
    replication_id: Option<String>,
    source: Option<String>,
    target: Option<String>,
    docs_read: Option<u64>,
    docs_written: Option<u64>,
    doc_write_failures: Option<u64>,
    changes_pending: Option<u64>,
}

/// A replication. Each end is a database's name, a URL, or an object with `url`, `headers` and `auth`.
#[derive(ToSchema)]
pub(super) struct Replicate {
    source: Option<Value>,
    target: Option<Value>,
    continuous: Option<bool>,
    create_target: Option<bool>,
    cancel: Option<bool>,
    /// With `cancel`: which.
    replication_id: Option<String>,
    doc_ids: Option<Vec<String>>,
    selector: Option<Value>,
    /// `design/function`
    filter: Option<String>,
    query_params: Option<BTreeMap<String, Value>>,
    since_seq: Option<Value>,
    checkpoint_interval: Option<u64>,
    use_checkpoints: Option<bool>,
    winning_revs_only: Option<bool>,
}

/// A replication that has ended, or was cancelled.
#[derive(ToSchema)]
pub(super) struct Replicated {
    ok: bool,
    session_id: Option<String>,
    source_last_seq: Option<Value>,
    replication_id_version: Option<u32>,
    no_changes: Option<bool>,
    history: Option<Vec<Value>>,
    #[schema(rename = "_local_id")]
    local_id: Option<String>,
}

/// A replication that goes on.
#[derive(ToSchema)]
pub(super) struct Replicating {
    ok: bool,
    /// Its id.
    #[schema(rename = "_local_id")]
    local_id: String,
}

/// Replications under way.
#[derive(ToSchema)]
pub(super) struct Jobs {
    total_rows: u64,
    offset: u64,
    jobs: Vec<JobRow>,
}

/// Replications that documents ask for.
#[derive(ToSchema)]
pub(super) struct ReplicatorDocs {
    total_rows: u64,
    offset: u64,
    docs: Vec<DocRow>,
}

/// A replica was asked to campaign.
#[derive(ToSchema)]
pub(super) struct Promoted {
    ok: bool,
    node: String,
    campaign: Value,
}

/// A node gives away what it leads, or leads again.
#[derive(ToSchema)]
pub(super) struct Drained {
    ok: bool,
    node: String,
    draining: bool,
    /// Shards it still leads.
    leads: Vec<u32>,
}

/// A batch was loaded.
#[derive(ToSchema)]
pub(super) struct Loaded {
    ok: bool,
    written: u64,
}

/// Who is let into a database; whatever else is in the object is kept.
#[derive(ToSchema)]
pub(super) struct Security {
    #[schema(nullable = false)]
    admins: Option<SecurityList>,
    #[schema(nullable = false)]
    members: Option<SecurityList>,
}

#[derive(ToSchema)]
struct SecurityList {
    #[schema(nullable = false)]
    names: Option<Vec<String>>,
    #[schema(nullable = false)]
    roles: Option<Vec<String>>,
}

/// How many are remembered.
#[derive(ToSchema)]
#[schema(minimum = 1)]
pub(super) struct Limit(u32);

/// Every acknowledged write is durable already.
#[derive(ToSchema)]
pub(super) struct FullCommit {
    ok: bool,
    instance_start_time: String,
}

/// Ranges of hashes, and the nodes that have each.
#[derive(ToSchema)]
pub(super) struct Shards {
    shards: BTreeMap<String, Vec<String>>,
}

/// Where a document lives, or would.
#[derive(ToSchema)]
pub(super) struct ShardOf {
    range: String,
    nodes: Vec<String>,
}
