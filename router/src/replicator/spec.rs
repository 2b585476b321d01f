//! What somebody wants replicated, read from a document of `_replicator` or the body of `_replicate`. Pure.
//!
//! Members that are CouchDB's and make no difference here are accepted; what would change what is copied and is not
//! understood is refused.

mod end;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) use end::End;

/// Changes read at once, as CouchDB's default.
const BATCH: usize = 500;
/// More would be held in memory at once for little.
const BATCH_MAX: usize = 1_000;
/// Batches under way at once.
const WORKERS: usize = 4;
const WORKERS_MAX: usize = 16;

/// Tries of a request after the first, unless a replication says otherwise: some fifteen seconds, which a failover does not
/// take.
const RETRIES: u32 = 7;
/// Longest wait for an answer, its body included, unless a replication says otherwise.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Requests to one end at once that bring documents over, as CouchDB's default.
const CONNECTIONS: usize = 20;
const CONNECTIONS_MAX: usize = 100;
/// With the longest pauses more would keep a replication from being shown as failing for minutes.
const RETRIES_MAX: u32 = 100;

/// How the ends are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// Requests to one end at once that bring documents over (`http_connections`); feed and checkpoints come on top.
    pub connections: usize,
    /// Longest wait for an answer, its body included (`connection_timeout`).
    pub timeout: Duration,
    /// How often a request is repeated that was not answered for good (`retries_per_request`).
    pub retries: u32,
}

impl Default for Asking {
    fn default() -> Self {
        Self { connections: CONNECTIONS, timeout: TIMEOUT, retries: RETRIES }
    }
}

/// A replication.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Where documents come from.
    pub source: End,
    /// Where they go.
    pub target: End,
    /// Whether to make the target.
    pub create_target: bool,
    /// Options of making it.
    pub create_target_params: Vec<(String, String)>,
    /// Whether to go on with what comes.
    pub continuous: bool,
    /// Which documents.
    pub filter: Filter,
    /// Options for the filter.
    pub query_params: Vec<(String, String)>,
    /// Where to begin when there is no checkpoint.
    pub since_seq: Option<Value>,
    /// How often to note how far it is; the server's setting if left out.
    pub checkpoint_interval: Option<Duration>,
    /// Whether to note it at all.
    pub use_checkpoints: bool,
    /// Changes read at once.
    pub batch: usize,
    /// Batches under way at once.
    pub workers: usize,
    /// How the ends are asked.
    pub asking: Asking,
    /// Whether conflicts stay behind.
    pub winning_revs_only: bool,
    /// In whose name to ask databases of this cluster, instead of the owner's.
    pub user_ctx: Option<UserCtx>,
}

/// Which documents to replicate.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// All of them.
    None,
    /// Those with these ids.
    DocIds(Vec<String>),
    /// Those that a selector matches; its JSON text.
    Selector(String),
    /// Those that a function of the source lets through: `design/name`.
    Function(String),
}

/// A name and roles.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct UserCtx {
    /// The name.
    #[serde(default)]
    pub name: Option<String>,
    /// The roles.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// The members of the object, each as its text.
struct Members(BTreeMap<String, Box<RawValue>>);

impl Members {
    fn read<T: DeserializeOwned>(&self, name: &str, shape: &str) -> Result<Option<T>, String> {
        match self.0.get(name).filter(|raw| raw.get() != "null") {
            None => Ok(None),
            Some(raw) => serde_json::from_str(raw.get()).map(Some).map_err(|_| format!("`{name}` must be {shape}")),
        }
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        Ok(self.read(name, "a boolean")?.unwrap_or(default))
    }

    /// CouchDB takes numbers as text as well.
    fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let wrong = || format!("`{name}` must be a positive integer");
        match self.read::<Value>(name, "a number")? {
            None => Ok(None),
            Some(Value::Number(number)) => number.as_u64().filter(|number| *number > 0).map(Some).ok_or_else(wrong),
            Some(Value::String(text)) => text.parse().ok().filter(|number| *number > 0).map(Some).ok_or_else(wrong),
            Some(_) => Err(wrong()),
        }
    }

    /// An object of options, each as text.
    fn options(&self, name: &str) -> Result<Vec<(String, String)>, String> {
        let options: BTreeMap<String, Value> = self.read(name, "an object")?.unwrap_or_default();
        let text = |value: Value| if let Value::String(text) = value { text } else { value.to_string() };
        Ok(options.into_iter().map(|(name, value)| (name, text(value))).collect())
    }

    fn end(&self, name: &str) -> Result<End, String> {
        let raw = self.0.get(name).ok_or_else(|| format!("Missing `{name}` field"))?;
        End::parse(raw.get()).map_err(|why| format!("`{name}`: {why}"))
    }

    fn filter(&self) -> Result<Filter, String> {
        let ids = self.read::<Vec<String>>("doc_ids", "an array of strings")?;
        let selector = self.0.get("selector").filter(|raw| raw.get() != "null");
        let function = self.read::<String>("filter", "a string")?;
        match (ids, selector, function) {
            (None, None, None) => Ok(Filter::None),
            (Some(mut ids), None, None) => {
                ids.sort_unstable();
                ids.dedup();
                Ok(Filter::DocIds(ids))
            }
            (None, Some(selector), None) if selector.get().starts_with('{') => {
                Ok(Filter::Selector(selector.get().to_owned()))
            }
            (None, Some(_), None) => Err("`selector` must be an object".to_owned()),
            (None, None, Some(name)) => Ok(Filter::Function(name)),
            _ => Err("`doc_ids`,`filter`,`selector` are mutually exclusive options".to_owned()),
        }
    }
}

impl Spec {
    /// Reads a replication; errors with what is wrong, in a sentence.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let members = serde_json::from_slice(json).map(Members).map_err(|_| "it must be a JSON object".to_owned())?;
        if members.read::<String>("proxy", "a string")?.is_some_and(|proxy| !proxy.is_empty()) {
            return Err("`proxy` is not supported".to_owned());
        }
        let usual = Asking::default();
        let connections = members.number("http_connections")?.and_then(|count| usize::try_from(count).ok());
        let retries = members.number("retries_per_request")?.and_then(|count| u32::try_from(count).ok());
        let asking = Asking {
            connections: connections.unwrap_or(usual.connections).min(CONNECTIONS_MAX),
            timeout: members.number("connection_timeout")?.map_or(usual.timeout, Duration::from_millis),
            retries: retries.unwrap_or(usual.retries).min(RETRIES_MAX),
        };
        let batch = members.number("worker_batch_size")?.and_then(|size| usize::try_from(size).ok());
        let workers = members.number("worker_processes")?.and_then(|count| usize::try_from(count).ok());
        Ok(Self {
            source: members.end("source")?,
            target: members.end("target")?,
            create_target: members.flag("create_target", false)?,
            create_target_params: members.options("create_target_params")?,
            continuous: members.flag("continuous", false)?,
            filter: members.filter()?,
            query_params: members.options("query_params")?,
            since_seq: members.read("since_seq", "a place in the feed")?,
            checkpoint_interval: members.number("checkpoint_interval")?.map(Duration::from_millis),
            use_checkpoints: members.flag("use_checkpoints", true)?,
            batch: batch.unwrap_or(BATCH).min(BATCH_MAX),
            workers: workers.unwrap_or(WORKERS).min(WORKERS_MAX),
            asking,
            winning_revs_only: members.flag("winning_revs_only", false)?,
            user_ctx: members.read("user_ctx", "an object of a name and roles")?,
        })
    }
}

/// The texts of a document's notes about its replication: its state, and the owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Notes {
    /// Who wrote it.
    #[serde(default)]
    pub owner: Option<String>,
    /// `completed` or `failed` when nothing more is to be done.
    #[serde(default, rename = "_replication_state")]
    pub state: Option<String>,
    /// Since when.
    #[serde(default, rename = "_replication_state_time")]
    pub time: Option<String>,
    /// Why it failed.
    #[serde(default, rename = "_replication_state_reason")]
    pub reason: Option<String>,
    /// What a finished one did.
    #[serde(default, rename = "_replication_stats")]
    pub stats: Option<Value>,
}

impl Notes {
    /// Reads a document's notes; what has another shape counts as nothing said.
    pub fn of(json: &[u8]) -> Self {
        serde_json::from_slice(json).unwrap_or_default()
    }

    /// Whether nothing more is to be done.
    pub fn is_over(&self) -> bool {
        matches!(self.state.as_deref(), Some("completed" | "failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> String {
        Spec::parse(json.as_bytes()).map_or_else(|why| why, |spec| format!("{:?}", spec.filter))
    }

    #[test]
    fn what_is_wrong_is_told() {
        let with = |more: &str| told(&format!(r#"{{"source":"a","target":"b"{more}}}"#));
        assert_eq!(told("[]"), "it must be a JSON object");
        assert_eq!(told(r#"{"target":"b"}"#), "Missing `source` field");
        assert_eq!(told(r#"{"source":"A","target":"b"}"#).split(": Name").next(), Some("`source`"));
        assert_eq!(with(""), "None");
        assert_eq!(with(r#","doc_ids":["b","a","b"]"#), r#"DocIds(["a", "b"])"#);
        assert_eq!(with(r#","doc_ids":[1]"#), "`doc_ids` must be an array of strings");
        assert_eq!(with(r#","selector":{"n":1.0}"#), r#"Selector("{\"n\":1.0}")"#);
        assert_eq!(with(r#","selector":[]"#), "`selector` must be an object");
        let both = "`doc_ids`,`filter`,`selector` are mutually exclusive options";
        assert_eq!(with(r#","selector":{},"filter":"d/f""#), both);
        assert_eq!(with(r#","continuous":"yes""#), "`continuous` must be a boolean");
        assert_eq!(with(r#","worker_batch_size":0"#), "`worker_batch_size` must be a positive integer");
        assert_eq!(with(r#","worker_batch_size":"20""#), "None");
        assert_eq!(with(r#","proxy":"http://p""#), "`proxy` is not supported");
    }

    #[test]
    fn how_the_ends_are_asked_is_taken_from_the_document() {
        let asking = |more: &str| {
            let json = format!(r#"{{"source":"a","target":"b"{more}}}"#);
            Spec::parse(json.as_bytes()).expect("valid").asking
        };
        assert_eq!(asking(""), Asking::default());
        let said = r#","http_connections":2,"connection_timeout":"1500","retries_per_request":1,"socket_options":"[]""#;
        assert_eq!(asking(said), Asking { connections: 2, timeout: Duration::from_millis(1_500), retries: 1 });
        assert_eq!(asking(r#","http_connections":1000000"#).connections, CONNECTIONS_MAX);
    }

    #[test]
    fn notes_of_another_shape_say_nothing() {
        assert!(Notes::of(br#"{"_replication_state":"completed"}"#).is_over());
        assert!(!Notes::of(br#"{"_replication_state":"triggered"}"#).is_over());
        assert!(!Notes::of(br#"{"_replication_state":1}"#).is_over());
    }
}
