//! What to measure.

use clap::{Parser, ValueEnum};

/// Measures a running server. One row a combination of operation and number of connections.
#[derive(Debug, Clone, Parser)]
#[command(name = "bench")]
pub struct Options {
    /// Where the server is, as http://HOST:PORT; several, by commas or repeated, are used in turn.
    #[arg(long, required = true, value_delimiter = ',')]
    pub url: Vec<String>,
    /// The database; made if it is not there.
    #[arg(long, default_value = "bench")]
    pub db: String,
    /// Documents written before reads are measured.
    #[arg(long, default_value_t = 20_000)]
    pub docs: u64,
    /// Size of a document's JSON text, in bytes.
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// Numbers of connections; each sends one request at a time.
    #[arg(long, default_value = "1,16,64,256", value_delimiter = ',')]
    pub connections: Vec<usize>,
    /// Operations.
    #[arg(long, default_value = "put,get,bulk,changes", value_delimiter = ',')]
    pub ops: Vec<Op>,
    /// How long each combination is measured, in seconds.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// Documents in one `_bulk_docs` or `_bulk_get`.
    #[arg(long, default_value_t = 100)]
    pub batch: usize,
    /// Rows in one `_changes` or `_all_docs`.
    #[arg(long, default_value_t = 1000)]
    pub rows: usize,
    /// Print JSON and no progress bar.
    #[arg(long)]
    pub json: bool,
    /// What the server is.
    #[arg(long, default_value = "quorate")]
    pub kind: Kind,
    /// Credentials for Basic authentication, NAME:PASSWORD.
    #[arg(long)]
    pub auth: Option<String>,
    /// Threads of the load generator; more than one only where the servers have processors of their own.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// The servers' processes, if they run on this machine: the processor time of all of them and of the load generator
    /// is told for each document or row.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
}

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Op {
    /// Creates documents.
    Put,
    /// Reads documents at random, linearizably.
    Get,
    /// Creates documents with `_bulk_docs`.
    Bulk,
    /// Walks through the feed of changes.
    Changes,
    /// The same with documents.
    ChangesDocs,
    /// Walks through all documents by id.
    AllDocs,
    /// Reads documents at random with `_bulk_get`.
    BulkGet,
    /// Queries by an indexed field, ten documents each.
    Find,
    /// Makes an index of all documents there are and waits until it is whole; counts documents.
    IndexBuild,
}

impl Op {
    /// Whether it is about documents that are there before.
    pub(super) fn reads(self) -> bool {
        !matches!(self, Self::Put | Self::Bulk)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Bulk => "bulk",
            Self::Changes => "changes",
            Self::ChangesDocs => "changes_docs",
            Self::AllDocs => "all_docs",
            Self::BulkGet => "bulk_get",
            Self::Find => "find",
            Self::IndexBuild => "index_build",
        }
    }
}

/// What a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Quorate.
    Quorate,
    /// CouchDB.
    Couchdb,
    /// etcd, over its HTTP gateway; it has no bulk writes and no changes.
    Etcd,
}
