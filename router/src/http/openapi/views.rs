//! What views take and give.

use serde_json::Value;
use utoipa::ToSchema;

use super::documents::Document;

/// Rows of a view, by key; or what they were reduced to.
#[derive(ToSchema)]
pub(super) struct ViewRows {
    /// Not of reduced rows.
    total_rows: Option<u64>,
    offset: Option<u64>,
    rows: Vec<ViewRow>,
    update_seq: Option<String>,
}

#[derive(ToSchema)]
struct ViewRow {
    /// Not of reduced rows.
    id: Option<String>,
    key: Value,
    value: Value,
    doc: Option<Document>,
}

/// Answers to several queries of a view.
#[derive(ToSchema)]
pub(super) struct ViewsRows {
    results: Vec<ViewRows>,
}

/// Several queries of a view.
#[derive(ToSchema)]
pub(super) struct ViewQueries {
    queries: Vec<ViewOptions>,
}

/// Options of a view, as in the query.
#[derive(ToSchema)]
pub(super) struct ViewOptions {
    keys: Option<Vec<Value>>,
    key: Option<Value>,
    start_key: Option<Value>,
    end_key: Option<Value>,
    startkey_docid: Option<String>,
    endkey_docid: Option<String>,
    inclusive_end: Option<bool>,
    descending: Option<bool>,
    reduce: Option<bool>,
    group: Option<bool>,
    group_level: Option<u64>,
    include_docs: Option<bool>,
    conflicts: Option<bool>,
    attachments: Option<bool>,
    att_encoding_info: Option<bool>,
    update_seq: Option<bool>,
    skip: Option<u64>,
    limit: Option<u64>,
}

/// What there is to say of a design document's views.
#[derive(ToSchema)]
pub(super) struct DesignInfo {
    name: String,
    view_index: ViewIndex,
}

#[derive(ToSchema)]
struct ViewIndex {
    signature: String,
    language: String,
    update_seq: u64,
    updater_running: bool,
    waiting_commit: bool,
    waiting_clients: u64,
    compact_running: bool,
    purge_seq: u64,
    updates_pending: Value,
    sizes: Value,
    collator_versions: Vec<String>,
}
