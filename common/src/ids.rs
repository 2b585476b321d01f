//! Names and numbers, each its own type, parsed once at the door.
//!
//! A value of one of these types is valid by construction; inside the system nothing checks it again.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest document id accepted, in bytes. Longer ids would make keys that no engine likes.
pub const DOC_ID_BYTES_MAX: usize = 512;
/// Longest database name accepted, in bytes.
pub const DB_NAME_BYTES_MAX: usize = 238;
/// Longest node name accepted, in bytes.
const NODE_ID_BYTES_MAX: usize = 63;

/// Why a name was refused. The text is CouchDB's where clients compare it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A database name with forbidden characters, or too long.
    #[error(
        "Name: '{0}'. Only lowercase characters (a-z), digits (0-9), and any of the characters _, $, (, ), +, -, and / are allowed. Must begin with a letter."
    )]
    DbName(String),
    /// An empty document id.
    #[error("Document id must not be empty")]
    DocIdEmpty,
    /// An id that starts with `_` and is neither `_design/…` nor `_local/…`.
    #[error("Only reserved document ids may start with underscore.")]
    DocIdReserved,
    /// `_design/` or `_local/` with nothing behind it.
    #[error("Illegal document id `{0}`")]
    DocIdPrefixOnly(String),
    /// Longer than [`DOC_ID_BYTES_MAX`].
    #[error("Document id is too long")]
    DocIdTooLong,
    /// An id that is no text.
    #[error("Document id must be valid UTF-8")]
    DocIdNotUtf8,
    /// In a partitioned database, an id that is not `partition:id`.
    #[error("Doc id must be of form partition:id")]
    DocIdNotPartitioned,
    /// A partition without a name.
    #[error("Partition must not be empty")]
    PartitionEmpty,
    /// A partition with a `:` in its name.
    #[error("Partition must not contain a colon")]
    PartitionColon,
    /// A partition that starts with `_`.
    #[error("Partition must not start with an underscore")]
    PartitionUnderscore,
    /// A revision that is not `N-hash`.
    #[error("Invalid rev format")]
    Rev,
    /// A node name outside `[a-z0-9-]{1,63}`.
    #[error("node name '{0}' must be 1 to 63 of a-z, 0-9 and -")]
    NodeId(String),
}

/// The name of a node in the cluster file: `[a-z0-9-]{1,63}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Parses a node name; errors with [`Invalid::NodeId`].
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = (1..=NODE_ID_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(allowed) { Ok(Self(text.into())) } else { Err(Invalid::NodeId(text.to_owned())) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeId {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A shard: a slice of the key space with its own log.
    ShardId(u32)
);
number!(
    /// One of the 1,024 hash ranges; the shard map says which shard owns it.
    Slot(u16)
);
number!(
    /// Raft's term.
    Term(u64)
);
number!(
    /// Position of an entry in a shard's log.
    Index(u64)
);
number!(
    /// Position in the stream of changes of one database on one shard. Dense: the n-th change there has seq n.
    Seq(u64)
);
number!(
    /// The incarnation of one replica's data folder, and its Raft id. Drawn at random when the folder is made, so a
    /// wiped folder never votes in the name of the one that was lost.
    RaftId(u64)
);

macro_rules! uid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub uuid::Uuid);

        impl fmt::Display for $name {
            /// 32 lowercase hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_simple(), f)
            }
        }
    };
}

uid!(
    /// A database for ever: a database made again under the same name has another one.
    DbUid
);
uid!(
    /// Names one edit over all its retries; a repeated request takes effect once.
    RequestId
);
uid!(
    /// An upload of an attachment's bytes, and the place where they lie from then on. Never used for other bytes.
    UploadId
);
uid!(
    /// The cluster a data folder belongs to: derived from the cluster's name.
    ClusterId
);

/// Names an index of views on every replica: equal functions and options have one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Signature(pub [u8; 16]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The catalog's databases live on shard 0 under fixed uids.
impl DbUid {
    /// `_dbs`: one document per database.
    pub const DBS: DbUid = DbUid(uuid::Uuid::from_u128(1));
    /// `_users`: one document per user.
    pub const USERS: DbUid = DbUid(uuid::Uuid::from_u128(2));
    /// `_shards`: the shard map.
    pub const SHARDS: DbUid = DbUid(uuid::Uuid::from_u128(3));
    /// `_replicator`: one document per replication that somebody wants.
    pub const REPLICATOR: DbUid = DbUid(uuid::Uuid::from_u128(4));
    /// Which router runs which replication, and how far it is. Shown to nobody as such.
    pub const JOBS: DbUid = DbUid(uuid::Uuid::from_u128(5));

    /// The document of [`DbUid::SHARDS`] with the key that signs sessions: shown to nobody, admins included.
    pub const SESSION_KEY: &'static str = "session-key";

    /// Whether this is one of the catalog's databases, which are pinned to shard 0 whatever their keys hash to.
    pub fn is_system(self) -> bool {
        self.0.as_u128() <= 0xff
    }
}

impl RequestId {
    /// The request id of a client's `Idempotency-Key` in one database: the same key always gives the same id.
    /// `scope` is the database's name and the document's id, so that keys of different edits never meet.
    pub fn from_key(scope: &str, key: &str) -> Self {
        let text = format!("{}:{scope}{key}", scope.len());
        Self(uuid::Uuid::from_u128(xxhash_rust::xxh3::xxh3_128(text.as_bytes())))
    }
}

impl ClusterId {
    /// The id of the cluster called `name`.
    pub fn of(name: &str) -> Self {
        Self(uuid::Uuid::from_u128(xxhash_rust::xxh3::xxh3_128(name.as_bytes())))
    }
}

/// The name of a database as apps see it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DbName(Arc<str>);

impl DbName {
    /// Parses a name: a lowercase letter, then `a-z 0-9 _ $ ( ) + - /`; or one of the system databases.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_$()+-/".contains(&b);
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let system = matches!(text, "_users" | "_replicator" | "_global_changes");
        if system || (first && text.len() <= DB_NAME_BYTES_MAX && text.bytes().all(allowed)) {
            Ok(Self(text.into()))
        } else {
            Err(Invalid::DbName(text.to_owned()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DbName {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<DbName> for String {
    fn from(name: DbName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for DbName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a document, `_design/…` included; local documents have [`DocId`]s that start with `_local/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DocId(Arc<str>);

impl DocId {
    /// Parses an id; the errors carry CouchDB's texts.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::DocIdEmpty);
        }
        if text.len() > DOC_ID_BYTES_MAX {
            return Err(Invalid::DocIdTooLong);
        }
        if text == "_design/" || text == "_local/" {
            return Err(Invalid::DocIdPrefixOnly(text.to_owned()));
        }
        if text.starts_with('_') && !text.starts_with("_design/") && !text.starts_with("_local/") {
            return Err(Invalid::DocIdReserved);
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a design document.
    pub fn is_design(&self) -> bool {
        self.0.starts_with("_design/")
    }

    /// Whether this is a local document, which is neither listed nor replicated.
    pub fn is_local(&self) -> bool {
        self.0.starts_with("_local/")
    }

    /// The partition of a document in a partitioned database: what stands before the first `:`.
    /// Design and local documents have none and are accepted as they are (`Ok(None)`).
    pub fn partition(&self) -> Result<Option<&str>, Invalid> {
        if self.is_design() || self.is_local() {
            return Ok(None);
        }
        match self.0.split_once(':') {
            Some((partition, rest)) if !partition.is_empty() && !rest.is_empty() => Ok(Some(partition)),
            _ => Err(Invalid::DocIdNotPartitioned),
        }
    }
}

impl TryFrom<String> for DocId {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<DocId> for String {
    fn from(id: DocId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for DocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_names_follow_couchdb() {
        for good in ["a", "tdb", "a_$()+-/9", "_users"] {
            assert!(DbName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "Bad", "9a", "_x", "a b", "ä"] {
            assert!(matches!(DbName::parse(bad), Err(Invalid::DbName(_))), "{bad}");
        }
    }

    #[test]
    fn document_ids_follow_couchdb() {
        assert_eq!(DocId::parse(""), Err(Invalid::DocIdEmpty));
        assert_eq!(DocId::parse("_x"), Err(Invalid::DocIdReserved));
        assert!(matches!(DocId::parse("_design/"), Err(Invalid::DocIdPrefixOnly(_))));
        assert_eq!(DocId::parse(&"x".repeat(513)), Err(Invalid::DocIdTooLong));
        assert!(DocId::parse("_design/d").is_ok_and(|id| id.is_design()));
    }

    #[test]
    fn partition_is_what_stands_before_the_first_colon() {
        let id = |text| DocId::parse(text).expect("a valid id");
        assert_eq!(id("p:x:y").partition(), Ok(Some("p")));
        assert_eq!(id("_design/d").partition(), Ok(None));
        for bad in ["p", ":x", "p:"] {
            assert_eq!(id(bad).partition(), Err(Invalid::DocIdNotPartitioned));
        }
    }
}
