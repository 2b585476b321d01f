//! The users of `_users`, as this router knows them.
//!
//! What was read is kept and dropped when the feed of `_users` tells of a change. What that feed did not confirm for
//! [`FRESH_FOR`](crate::cluster::follow::FRESH_FOR) is read again, and so is what was read longer ago than that: a
//! purged document leaves no change. That there is no such user is kept as well, so that
//! the time an answer takes does not tell.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::change::Change;
use common::ids::{DbUid, DocId};
use common::query::{Answer, Consistency, Query, Revs};
use common::refusal::Refusal;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::password::Password;
use crate::cluster::follow::{FRESH_FOR, Freshness, Watcher, follow};
use crate::cluster::{CATALOG_SHARD, Cluster};

/// Stands before a user's name in the id of the document.
pub const ID_PREFIX: &str = "org.couchdb.user:";
/// Users kept. More spares reads of shard 0; each takes some 500 bytes.
const KEPT_MAX: usize = 10_000;

/// One user.
pub(super) struct Account {
    pub(super) name: Arc<str>,
    pub(super) roles: Arc<[String]>,
    pub(super) password: Password,
    /// Different after every change of the password: sessions and remembered passwords are bound to it.
    pub(super) stamp: Vec<u8>,
}

/// The users this router knows; a cheap handle.
#[derive(Clone)]
pub(super) struct Accounts {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    known: Mutex<Known>,
    freshness: Freshness,
}

/// `changes` grows with each piece of news, so that what was read before it is not kept after it.
#[derive(Default)]
struct Known {
    accounts: HashMap<DocId, (Option<Arc<Account>>, Instant)>,
    order: VecDeque<DocId>,
    changes: u64,
}

impl Known {
    /// What was read less than [`FRESH_FOR`] before `now`.
    fn get(&self, id: &DocId, now: Instant) -> Option<&Option<Arc<Account>>> {
        let (account, read_at) = self.accounts.get(id)?;
        (now.saturating_duration_since(*read_at) < FRESH_FOR).then_some(account)
    }

    /// Keeps what was asked for at `read_at`, when `changes` were known.
    fn keep(&mut self, changes: u64, id: DocId, account: Option<Arc<Account>>, read_at: Instant) {
        if self.changes != changes || self.accounts.insert(id.clone(), (account, read_at)).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > KEPT_MAX {
            let oldest = self.order.pop_front();
            oldest.map(|oldest| self.accounts.remove(&oldest));
        }
    }

    fn drop_all(&mut self) {
        self.changes += 1;
        self.accounts.clear();
        self.order.clear();
    }
}

impl Accounts {
    /// The users of `cluster`. With `watch` what is read is kept, and the feed of `_users` followed until the cluster
    /// is stopped.
    pub(super) fn start(cluster: Cluster, watch: bool) -> Self {
        let inner = Inner { cluster, known: Mutex::default(), freshness: Freshness::default() };
        let accounts = Self { inner: Arc::new(inner) };
        if watch {
            let cluster = &accounts.inner.cluster;
            cluster.spawn(follow(cluster.clone(), DbUid::USERS, accounts.clone()));
        }
        accounts
    }

    /// The user of that name, if there is one who has a password.
    pub(super) async fn find(&self, name: &str) -> Result<Option<Arc<Account>>, Refusal> {
        let Ok(id) = DocId::parse(&format!("{ID_PREFIX}{name}")) else { return Ok(None) };
        let (fresh, now) = (self.inner.freshness.is_fresh(), Instant::now());
        let changes = {
            let known = self.known();
            if let Some(account) = known.get(&id, now).filter(|_| fresh) {
                return Ok(account.clone());
            }
            known.changes
        };
        let account = self.read(&id, name).await?;
        if fresh {
            self.known().keep(changes, id, account.clone(), now);
        }
        Ok(account)
    }

    /// Forgets a user, whose document was written here: the feed may take a moment.
    pub(super) fn forget(&self) {
        self.known().drop_all();
    }

    async fn read(&self, id: &DocId, name: &str) -> Result<Option<Arc<Account>>, Refusal> {
        let query = Query::Doc { db: DbUid::USERS, id: id.clone(), revs: Revs::Winner, tree: false };
        let (answer, _) = self.inner.cluster.read(CATALOG_SHARD, Consistency::Linearizable, query).await?;
        let Answer::Doc(doc) = answer else {
            return Err(Refusal::BadBatch("the answer does not fit the question".to_owned()));
        };
        let winner = doc.and_then(|doc| doc.found.into_iter().next()).filter(|winner| !winner.deleted);
        Ok(winner.and_then(|winner| Account::of(name, &winner.json)).map(Arc::new))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Accounts {
    fn begin(&self) {
        self.known().drop_all();
    }

    fn changed(&self, changes: &[Change]) {
        let mut known = self.known();
        known.changes += 1;
        for change in changes {
            if known.accounts.remove(&change.id).is_some() {
                known.order.retain(|id| id != &change.id);
            }
        }
    }

    fn freshness(&self) -> &Freshness {
        &self.inner.freshness
    }
}

impl Account {
    /// Reads a user's document; `None` if nobody can log in by it.
    fn of(name: &str, json: &[u8]) -> Option<Self> {
        let document: Map<String, Value> = serde_json::from_slice(json).ok()?;
        let is = |field, wanted| document.get(field).and_then(Value::as_str) == Some(wanted);
        if !is("name", name) || !is("type", "user") {
            return None;
        }
        let password = Password::of(&document).ok()??;
        let roles = document.get("roles").and_then(Value::as_array)?.iter().filter_map(Value::as_str);
        // A document that came in before it was checked may hold anything.
        let roles = roles.filter(|role| !role.starts_with('_')).map(str::to_owned).collect();
        let stamp = password.stamp();
        Some(Self { name: name.into(), roles, password, stamp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_a_user_only_under_its_own_name_and_with_a_password() {
        let hash = common::secret::PasswordHash::hash("x");
        let json = format!(
            r#"{{"type":"user","name":"a","roles":["r","_admin"],"password_scheme":"argon2id","derived_key":"{}"}}"#,
            hash.as_str()
        );
        let account = Account::of("a", json.as_bytes()).expect("a user");
        assert_eq!(&*account.roles, ["r".to_owned()], "no server admin comes from _users");
        assert!(Account::of("b", json.as_bytes()).is_none());
        assert!(Account::of("a", json.replace("\"user\"", "\"robot\"").as_bytes()).is_none());
        assert!(Account::of("a", br#"{"type":"user","name":"a","roles":[]}"#).is_none());
        assert!(Account::of("a", b"[]").is_none());
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let id = |n: usize| DocId::parse(&format!("u{n}")).expect("valid");
        let mut known = Known::default();
        let now = Instant::now();
        known.keep(0, id(0), None, now);
        known.drop_all();
        known.keep(0, id(1), None, now);
        assert!(known.accounts.is_empty());
        for n in 0..=KEPT_MAX {
            known.keep(1, id(n), None, now);
        }
        assert_eq!((known.accounts.len(), known.order.len()), (KEPT_MAX, KEPT_MAX));
        assert!(!known.accounts.contains_key(&id(0)), "the oldest is forgotten");
    }

    #[test]
    fn what_was_read_long_ago_is_read_again() {
        let id = DocId::parse("u").expect("valid");
        let mut known = Known::default();
        let read_at = Instant::now();
        known.keep(0, id.clone(), None, read_at);
        assert!(known.get(&id, read_at + FRESH_FOR / 2).is_some());
        assert!(known.get(&id, read_at + FRESH_FOR).is_none());
        known.keep(0, id.clone(), None, read_at + FRESH_FOR);
        assert!(known.get(&id, read_at + FRESH_FOR).is_some());
    }
}
