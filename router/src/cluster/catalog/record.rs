//! The catalog's documents: what is stored, and what the rest of the router sees of it.

use common::change::Change;
use common::ids::{DbName, DbUid, DocId};
use common::refusal::Refusal;
use common::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::security::Security;
use crate::cluster::system::decode;

/// CouchDB's default `_revs_limit`.
const REVS_LIMIT: u32 = 1000;
/// CouchDB's default `_purged_infos_limit`.
const PURGED_INFOS_LIMIT: u32 = 1000;
/// Stands before a name that starts with `_` in its document's id, which may not. No name starts with it.
const SYSTEM_PREFIX: &str = "$";

/// One database.
#[derive(Debug, Clone)]
pub struct DbEntry {
    /// Its name.
    pub name: DbName,
    /// Itself, for ever.
    pub uid: DbUid,
    /// Whether its documents are placed by partition.
    pub partitioned: bool,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// CouchDB's `instance_start_time`: the same on every router, for ever; another one when made again.
    pub instance_start_time: String,
    /// Longest chain of ancestors kept for a document.
    pub revs_limit: u32,
    /// Purges remembered, so that a repeated one is told what the first one did.
    pub purged_infos_limit: u32,
    /// Its `_security` object as it was put; `None` for the default.
    pub security: Option<Box<RawValue>>,
    /// The same, read: who may come in.
    pub access: Security,
}

/// Body of a database's document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DbRecord {
    pub(super) uid: DbUid,
    pub(super) partitioned: bool,
    pub(super) created_ms: u64,
    pub(super) state: State,
    pub(super) revs_limit: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) security: Option<Box<RawValue>>,
    /// Whether its settings were changed since it was made.
    #[serde(default)]
    pub(super) changed: bool,
    #[serde(default = "purged_infos_limit")]
    pub(super) purged_infos_limit: u32,
}

fn purged_infos_limit() -> u32 {
    PURGED_INFOS_LIMIT
}

/// What a change of the catalog says of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It was made.
    Created,
    /// It was made, and its settings were changed.
    Updated,
    /// It is gone.
    Deleted,
}

/// The database a change of the catalog is about, and what happened to it; `None` if it is about none.
pub(super) fn news(change: &Change) -> Result<Option<(DbName, News)>, Refusal> {
    let Some(name) = name_of(&change.id) else { return Ok(None) };
    let Some(json) = change.json.as_ref().filter(|_| !change.deleted) else {
        return Ok(Some((name, News::Deleted)));
    };
    let record: DbRecord = decode(&change.id, json)?;
    let news = match record.state {
        State::Deleting => News::Deleted,
        State::Live if record.changed => News::Updated,
        State::Live => News::Created,
    };
    Ok(Some((name, news)))
}

/// How far a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// There.
    Live,
    /// No longer there for anybody; its data is being dropped.
    Deleting,
}

/// Body of the document that names the cluster.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ClusterRecord {
    pub(super) uuid: Uuid,
}

/// Body of the document with the key that signs sessions.
#[derive(Serialize, Deserialize)]
pub(super) struct SessionKeyRecord {
    #[serde(with = "secret")]
    pub(super) key: Secret,
}

/// Stores a secret: the only place where one becomes text.
mod secret {
    use common::secret::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(key: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(key.as_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(|text| Secret::of_any(&text))
    }
}

impl DbRecord {
    /// A new database.
    pub(super) fn new(uid: DbUid, partitioned: bool, created_ms: u64) -> Self {
        Self {
            uid,
            partitioned,
            created_ms,
            state: State::Live,
            revs_limit: REVS_LIMIT,
            security: None,
            changed: false,
            purged_infos_limit: PURGED_INFOS_LIMIT,
        }
    }

    /// What the rest of the router sees.
    pub(super) fn entry(&self, name: &DbName) -> DbEntry {
        DbEntry {
            name: name.clone(),
            uid: self.uid,
            partitioned: self.partitioned,
            created_ms: self.created_ms,
            instance_start_time: self.created_ms.to_string(),
            revs_limit: self.revs_limit,
            purged_infos_limit: self.purged_infos_limit,
            security: self.security.clone(),
            // What cannot be read admits nobody.
            access: self.security.as_ref().and_then(|raw| Security::parse(raw.get()).ok()).unwrap_or_default(),
        }
    }
}

/// `_replicator` and `_users`, which are always there; sorted by name.
pub(super) fn standing() -> [DbEntry; 2] {
    [("_replicator", DbUid::REPLICATOR), ("_users", DbUid::USERS)].map(|(name, uid)| {
        let name = DbName::parse(name).expect("a valid name");
        DbRecord::new(uid, false, 0).entry(&name)
    })
}

/// The id of a database's document.
pub(super) fn id_of(name: &DbName) -> DocId {
    let prefix = if name.as_str().starts_with('_') { SYSTEM_PREFIX } else { "" };
    DocId::parse(&format!("{prefix}{name}")).expect("names are shorter than ids and start with no underscore now")
}

/// The name a document stands for.
pub(super) fn name_of(id: &DocId) -> Option<DbName> {
    DbName::parse(id.as_str().strip_prefix(SYSTEM_PREFIX).unwrap_or(id.as_str())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_an_id_and_comes_back_from_it() {
        for text in ["a", "_replicator", "x/y$(z)+-9", &"n".repeat(238)] {
            let name = DbName::parse(text).expect("valid");
            assert_eq!(name_of(&id_of(&name)), Some(name));
        }
    }

    #[test]
    fn a_change_tells_what_became_of_its_database() {
        let mut record = DbRecord::new(DbUid(Uuid::from_u128(7)), false, 12);
        let told = |record: &DbRecord, deleted| {
            let json = Some(serde_json::to_vec(record).expect("serialises").into());
            let id = DocId::parse("$_replicator").expect("valid");
            let (seq, leaves, attachments) = Default::default();
            let change = Change { seq, id, leaves, deleted, json, attachments, matching: None };
            news(&change).expect("readable").map(|(name, news)| (name.to_string(), news))
        };
        let wanted = |news| Some(("_replicator".to_owned(), news));
        assert_eq!(told(&record, false), wanted(News::Created));
        record.changed = true;
        assert_eq!(told(&record, false), wanted(News::Updated));
        record.state = State::Deleting;
        assert_eq!(told(&record, false), wanted(News::Deleted));
        assert_eq!(told(&record, true), wanted(News::Deleted));
    }

    #[test]
    fn records_are_kept_to_the_letter() {
        let text = r#"{"admins":{"names":["A"],"n":1.0}}"#;
        let mut record = DbRecord::new(DbUid(Uuid::from_u128(7)), true, 12);
        record.security = Some(RawValue::from_string(text.to_owned()).expect("valid"));
        let json = serde_json::to_string(&record).expect("serialises");
        let again: DbRecord = serde_json::from_str(&json).expect("reads");
        assert_eq!(again.security.expect("kept").get(), text);
        assert!(json.contains(r#""state":"live""#), "{json}");
    }
}
