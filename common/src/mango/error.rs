//! Why a selector, an index or a query was refused; the words are CouchDB's, since clients compare them.

/// Why a selector, an index or a query was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("invalid UTF-8 JSON")]
    Json,
    /// A selector that is no object.
    #[error("Selector must be a JSON object, not: {0}")]
    SelectorNotObject(String),
    /// A condition on nothing.
    #[error("One or more conditions is missing a field name.")]
    FieldMissing,
    /// An operator's argument that it cannot take.
    #[error("Bad argument for operator {operator}: {argument}")]
    BadArgument {
        /// The operator.
        operator: &'static str,
        /// Its argument, as a term.
        argument: String,
    },
    /// An operator that CouchDB knows and does not support.
    #[error("Unsupported operator: {0}")]
    Unsupported(&'static str),
    /// No operator has this name.
    #[error("Invalid operator: {0}")]
    Operator(String),
    /// A field where none can be.
    #[error("Invalid field normalization on selector: {0}")]
    BadField(String),
    /// A field's name with an empty part.
    #[error("Invalid field name: {0}")]
    FieldName(String),
    /// A text search, or a text index.
    #[error("text")]
    NoTextService,
    /// An index type of the other search service.
    #[error("nouveau")]
    NoNouveauService,
    /// A sort that is no list.
    #[error("Sort must be an array of sort specs, not: {0}")]
    SortNotList(String),
    /// A field to sort by that is none.
    #[error("Invalid sort field: {0}")]
    SortField(String),
    /// Fields up and down in one sort.
    #[error("Sorts currently only support a single direction for all fields.")]
    MixedSort,
    /// Fields to answer with that are no list.
    #[error("Fields must be an array of strings, not: {0}")]
    FieldsNotList(String),
    /// A field to answer with that is none.
    #[error("Invalid JSON for field spec: {0}")]
    Field(String),
    /// A key that must be there.
    #[error("Missing required key: {0}")]
    MissingKey(&'static str),
    /// A key that means nothing.
    #[error("Invalid key {0} for this request.")]
    UnknownKey(String),
    /// An index definition that is no object.
    #[error("JSON indexes must be an object, not: {0}")]
    IndexNotObject(String),
    /// An index of a type that is not known.
    #[error("Invalid type for index: {0}")]
    IndexType(String),
    /// The name of an index, or of its design document, is empty.
    #[error("Index name or ddoc cannot be empty string")]
    EmptyName,
    /// A value that must be text.
    #[error("Invalid string: {0}")]
    NotString(String),
    /// A value that must be `true` or `false`.
    #[error("Invalid boolean value: {0}")]
    NotBoolean(String),
    /// A value that must be a whole number above zero.
    #[error("{0} is not an integer greater than zero")]
    NotPositive(String),
    /// A value that must be a whole number, zero at least.
    #[error("{0} is not an integer greater than or equal to zero")]
    NotNatural(String),
    /// A value that has another meaning for another request.
    #[error("Invalid value for {key}: {value}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value, as a term.
        value: String,
    },
    /// A `use_index` that names no index, or a list of indexes that is none.
    #[error("Invalid index name: {0}")]
    IndexName(String),
    /// Names of indexes to delete that are no list.
    #[error("Bulk Delete requires an array of non-null docids. Docids: {0}")]
    BulkNames(String),
    /// A bookmark that was not given out for this query.
    #[error("Invalid bookmark value: {0}")]
    Bookmark(String),
    /// No index can give this order.
    #[error("No index exists for this sort, try indexing by the sort fields.")]
    NoSortIndex,
    /// No index of a whole database can give this order.
    #[error("No global index exists for this sort, try indexing by the sort fields.")]
    NoGlobalSortIndex,
    /// No index of partitions can give this order.
    #[error("No partitioned index exists for this sort, try indexing by the sort fields.")]
    NoPartitionedSortIndex,
    /// The index asked for cannot be used, and no other may be.
    #[error("{0} specified by `use_index` could not be found or it is not suitable.")]
    UseIndex(String),
    /// No index was asked for, and reading all documents is not allowed.
    #[error("You must specify an index with the `use_index` parameter.")]
    NoIndex,
    /// A design document of another language.
    #[error("Existing design doc has an invalid language: {0}")]
    Language(String),
    /// Indexes of partitions and of whole databases in one design document.
    #[error("Requested partitioned option does not match existing value on design document {0}")]
    PartitionedMismatch(String),
    /// `partitioned` is no boolean.
    #[error("Unknown Error: mango_opts :: {{invalid_partitioned_value,{0}}}")]
    Partitioned(String),
    /// The partition in the path is not that in the body.
    #[error("Unknown Error: mango_httpd :: {{bad_partition,{0}}}")]
    PartitionConflict(String),
    /// `limit` or `skip` of a list of indexes are none.
    #[error("Index parameter ranges: limit > 1, skip > 0")]
    ListRange,
}

impl Error {
    /// The `error` that goes with the reason.
    pub fn name(&self) -> &'static str {
        match self {
            Error::Json => "bad_request",
            Error::SelectorNotObject(_) => "invalid_selector_json",
            Error::FieldMissing => "invalid_selector",
            Error::BadArgument { .. } => "bad_arg",
            Error::Unsupported(_) => "not_supported",
            Error::Operator(_) => "invalid_operator",
            Error::BadField(_) => "bad_field",
            Error::FieldName(_) => "invalid_field_name",
            Error::NoTextService | Error::NoNouveauService => "required index service unavailable",
            Error::SortNotList(_) => "invalid_sort_json",
            Error::SortField(_) => "invalid_sort_field",
            Error::MixedSort => "unsupported_mixed_sort",
            Error::FieldsNotList(_) => "invalid_fields",
            Error::Field(_) => "invalid_field",
            Error::MissingKey(_) => "missing_required_key",
            Error::UnknownKey(_) => "invalid_key",
            Error::IndexNotObject(_) | Error::IndexType(_) | Error::UseIndex(_) | Error::NoIndex => "invalid_index",
            Error::EmptyName => "invalid_empty_string",
            Error::NotString(_) => "invalid_string",
            Error::NotBoolean(_) => "invalid_boolean",
            Error::NotPositive(_) => "invalid_pos_integer",
            Error::NotNatural(_) => "invalid_non_neg_integer",
            Error::Value { .. } => "invalid_value",
            Error::IndexName(_) => "invalid_index_name",
            Error::BulkNames(_) => "invalid_bulk_docs",
            Error::Bookmark(_) => "invalid_bookmark",
            Error::NoSortIndex | Error::NoGlobalSortIndex | Error::NoPartitionedSortIndex => "no_usable_index",
            Error::Language(_) => "invalid_ddoc_lang",
            Error::PartitionedMismatch(_) => "invalid_partitioned_option",
            Error::Partitioned(_) | Error::PartitionConflict(_) => "unknown_error",
            Error::ListRange => "invalid_list_index_params",
        }
    }

    /// The HTTP status: CouchDB answers most with 400, some carelessly with 500, and clients know it.
    pub fn status(&self) -> u16 {
        match self {
            Error::NoTextService | Error::NoNouveauService => 503,
            Error::ListRange => 500,
            _ => 400,
        }
    }
}
