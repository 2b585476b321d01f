//! Shapes about documents, feeds and queries, as those of `shapes`.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

/// A document: any object. Names that begin with an underscore are the server's.
#[derive(ToSchema)]
pub(super) struct Document {
    _id: Option<String>,
    _rev: Option<String>,
    _deleted: Option<bool>,
    _revisions: Option<Revisions>,
    _revs_info: Option<Vec<RevisionInfo>>,
    _conflicts: Option<Vec<String>>,
    _deleted_conflicts: Option<Vec<String>>,
    _local_seq: Option<u64>,
    _attachments: Option<BTreeMap<String, Value>>,
}

/// A revision and its ancestors, newest first.
#[derive(ToSchema)]
struct Revisions {
    start: u64,
    ids: Vec<String>,
}

#[derive(ToSchema)]
struct RevisionInfo {
    rev: String,
    /// `available`, `deleted` or `missing`.
    status: String,
}

/// Written.
#[derive(ToSchema)]
pub(super) struct Written {
    ok: bool,
    id: String,
    /// Left out with `batch=ok`.
    #[schema(nullable = false)]
    rev: Option<String>,
}

/// Leaves of a document.
#[derive(ToSchema)]
pub(super) struct OpenRevisions(Vec<OpenRevision>);

/// A revision, or that it is not there.
#[derive(ToSchema)]
struct OpenRevision {
    ok: Option<Document>,
    missing: Option<String>,
}

/// Rows of documents, sorted by id.
#[derive(ToSchema)]
pub(super) struct Rows {
    total_rows: Option<u64>,
    offset: Option<u64>,
    rows: Vec<RowShape>,
    update_seq: Option<String>,
}

#[derive(ToSchema)]
#[schema(as = Row)]
struct RowShape {
    id: Option<String>,
    key: Value,
    value: Option<RowValue>,
    doc: Option<Document>,
    error: Option<String>,
}

#[derive(ToSchema)]
struct RowValue {
    /// Of a local document a number and its text.
    rev: String,
    deleted: Option<bool>,
}

/// Options of a listing, as in the query; and the ids wanted.
#[derive(ToSchema)]
pub(super) struct Listing {
    keys: Option<Vec<Value>>,
    key: Option<Value>,
    start_key: Option<Value>,
    end_key: Option<Value>,
    inclusive_end: Option<bool>,
    descending: Option<bool>,
    include_docs: Option<bool>,
    conflicts: Option<bool>,
    update_seq: Option<bool>,
    skip: Option<u64>,
    limit: Option<u64>,
}

/// Several listings at once.
#[derive(ToSchema)]
pub(super) struct Queries {
    queries: Vec<Listing>,
}

/// An answer to each.
#[derive(ToSchema)]
pub(super) struct QueriesRows {
    results: Vec<Rows>,
}

/// Documents to write.
#[derive(ToSchema)]
pub(super) struct BulkDocs {
    docs: Vec<Document>,
    /// `false` takes revisions as they were made elsewhere.
    #[schema(default = true)]
    new_edits: Option<bool>,
    /// `true` writes all documents, which must be of one partition, or none.
    #[schema(default = false)]
    atomic: Option<bool>,
}

/// A row a document, in order; with `new_edits: false` those that failed.
#[derive(ToSchema)]
pub(super) struct BulkRows(Vec<BulkRow>);

#[derive(ToSchema)]
struct BulkRow {
    ok: Option<bool>,
    id: String,
    rev: Option<String>,
    error: Option<String>,
    reason: Option<String>,
}

/// Documents to read.
#[derive(ToSchema)]
pub(super) struct BulkGet {
    docs: Vec<BulkGetItem>,
}

#[derive(ToSchema)]
struct BulkGetItem {
    id: String,
    rev: Option<String>,
}

/// What was found of each.
#[derive(ToSchema)]
pub(super) struct BulkGot {
    results: Vec<BulkGotDoc>,
}

#[derive(ToSchema)]
struct BulkGotDoc {
    id: Option<String>,
    docs: Vec<BulkGotRevision>,
}

#[derive(ToSchema)]
struct BulkGotRevision {
    ok: Option<Document>,
    error: Option<BulkGetError>,
}

#[derive(ToSchema)]
struct BulkGetError {
    id: Option<String>,
    rev: Option<String>,
    error: String,
    reason: String,
}

/// What has changed; each document once, at its latest place.
#[derive(ToSchema)]
pub(super) struct Changes {
    results: Vec<Change>,
    /// Where to go on from.
    last_seq: String,
    pending: u64,
}

#[derive(ToSchema)]
struct Change {
    /// Null between those that `seq_interval` asks for.
    seq: Option<String>,
    id: String,
    changes: Vec<ChangedRevision>,
    deleted: Option<bool>,
    doc: Option<Document>,
}

#[derive(ToSchema)]
struct ChangedRevision {
    rev: String,
}

/// Which changes are wanted.
#[derive(ToSchema)]
pub(super) struct ChangesFilter {
    /// With `filter=_doc_ids`.
    doc_ids: Option<Vec<String>>,
}

/// Revisions by document.
#[derive(ToSchema)]
pub(super) struct RevisionsById(BTreeMap<String, Vec<String>>);

/// What is missing of each.
#[derive(ToSchema)]
pub(super) struct RevisionsDiff(BTreeMap<String, MissingOfDocument>);

#[derive(ToSchema)]
struct MissingOfDocument {
    missing: Vec<String>,
    possible_ancestors: Option<Vec<String>>,
}

/// What is missing of each.
#[derive(ToSchema)]
pub(super) struct MissingRevisions {
    missing_revs: BTreeMap<String, Vec<String>>,
}

/// What was forgotten of each.
#[derive(ToSchema)]
pub(super) struct Purged {
    purge_seq: Option<u64>,
    purged: BTreeMap<String, Vec<String>>,
}

/// A query.
#[derive(ToSchema)]
pub(super) struct Find {
    /// What documents must be like.
    selector: BTreeMap<String, Value>,
    #[schema(default = 25)]
    limit: Option<u64>,
    skip: Option<u64>,
    /// Fields by name, or `{"field":"asc"}`, `{"field":"desc"}`.
    sort: Option<Vec<Value>>,
    fields: Option<Value>,
    /// A design document, or one and the name of an index.
    use_index: Option<Value>,
    /// Goes on where another answer ended.
    bookmark: Option<String>,
    r: Option<u64>,
    conflicts: Option<bool>,
    stale: Option<Value>,
    #[schema(default = true)]
    update: Option<bool>,
    stable: Option<bool>,
    execution_stats: Option<bool>,
    #[schema(default = true)]
    allow_fallback: Option<bool>,
}

/// What a query found.
#[derive(ToSchema)]
pub(super) struct Found {
    docs: Vec<BTreeMap<String, Value>>,
    bookmark: String,
    warning: Option<String>,
    execution_stats: Option<ExecutionStats>,
}

#[derive(ToSchema)]
struct ExecutionStats {
    total_keys_examined: u64,
    total_docs_examined: u64,
    total_quorum_docs_examined: u64,
    results_returned: u64,
    execution_time_ms: f64,
}

/// How a query would be done.
#[derive(ToSchema)]
pub(super) struct Explained {
    dbname: String,
    index: Index,
    partitioned: bool,
    selector: BTreeMap<String, Value>,
    opts: BTreeMap<String, Value>,
    limit: u64,
    skip: u64,
    fields: Value,
    index_candidates: Vec<Value>,
    selector_hints: Vec<Value>,
    mrargs: BTreeMap<String, Value>,
    covering: bool,
}

/// An index to make.
#[derive(ToSchema)]
pub(super) struct IndexCreate {
    index: IndexDefinition,
    name: Option<String>,
    ddoc: Option<String>,
    #[schema(default = "json")]
    r#type: Option<String>,
    partitioned: Option<bool>,
    w: Option<Value>,
}

#[derive(ToSchema)]
struct IndexDefinition {
    /// Fields by name, or `{"field":"asc"}`.
    fields: Vec<Value>,
    partial_filter_selector: Option<BTreeMap<String, Value>>,
}

/// Made, or there already.
#[derive(ToSchema)]
pub(super) struct IndexCreated {
    /// `created` or `exists`.
    result: String,
    id: String,
    name: String,
}

/// The indexes of a database.
#[derive(ToSchema)]
pub(super) struct Indexes {
    total_rows: u64,
    indexes: Vec<Index>,
}

#[derive(ToSchema)]
struct Index {
    ddoc: Option<String>,
    name: String,
    r#type: String,
    partitioned: Option<bool>,
    def: IndexDefinition,
}

/// Design documents whose indexes go.
#[derive(ToSchema)]
pub(super) struct IndexBulkDelete {
    docids: Vec<String>,
    w: Option<Value>,
}

/// Which went.
#[derive(ToSchema)]
pub(super) struct IndexesDeleted {
    success: Vec<IndexDeleted>,
    fail: Vec<IndexNotDeleted>,
}

#[derive(ToSchema)]
struct IndexDeleted {
    id: String,
    ok: bool,
}

#[derive(ToSchema)]
struct IndexNotDeleted {
    id: String,
    error: String,
}
