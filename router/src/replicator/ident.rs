//! The id of a replication: the same on every router, for ever, as long as the same is wanted. Pure.
//!
//! Two that copy other documents, or between other ends, must not share checkpoints, so everything that decides what
//! is copied counts; how fast, how often or with which password does not.

use std::fmt;

use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::spec::{End, Filter, Spec};
use crate::auth::Acting;

/// The id: `base`, under which checkpoints are kept, and what CouchDB puts behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    /// 32 hexadecimal digits.
    pub base: String,
    /// `+continuous`, `+create_target`.
    pub options: String,
}

impl Id {
    /// The id of a replication of the cluster `cluster`, wanted by `owner`.
    pub(crate) fn of(cluster: Uuid, spec: &Spec, owner: &Acting) -> Self {
        let filter = match &spec.filter {
            Filter::None => json!(null),
            Filter::DocIds(ids) => json!({ "doc_ids": ids }),
            Filter::Selector(selector) => json!({ "selector": selector }),
            Filter::Function(name) => json!({ "filter": name, "query_params": spec.query_params }),
        };
        let parts = json!([
            cluster.as_simple().to_string(),
            end(&spec.source, owner),
            end(&spec.target, owner),
            filter,
            spec.winning_revs_only,
            spec.since_seq,
        ]);
        let digest = Sha256::digest(parts.to_string());
        let base = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let mut options = String::new();
        if spec.continuous {
            options.push_str("+continuous");
        }
        if spec.create_target {
            options.push_str("+create_target");
        }
        Self { base, options }
    }
}

fn end(end: &End, owner: &Acting) -> serde_json::Value {
    match end {
        // What may be read and written there depends on who asks.
        End::Local(db) => json!({ "db": db.as_str(), "owner": owner.name() }),
        End::Remote { url, user, .. } => json!({ "url": url.to_string(), "user": user }),
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.base, self.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(more: &str) -> Id {
        let json = format!(r#"{{"source":"http://jan:tea@h/a","target":"b"{more}}}"#);
        let spec = Spec::parse(json.as_bytes()).expect("a replication");
        Id::of(Uuid::from_u128(7), &spec, &Acting::Owner(Some("jan".into())))
    }

    #[test]
    fn what_decides_what_is_copied_decides_the_id() {
        let plain = id("");
        // For ever: a router of another version must find the checkpoints.
        assert_eq!(plain.to_string(), "ccc4fd9d4b2c654210f59f76a07a1be9");
        for same in [r#","checkpoint_interval":9"#, r#","worker_batch_size":2"#, r#","continuous":true"#] {
            assert_eq!(id(same).base, plain.base, "{same}");
        }
        assert_eq!(id(r#","continuous":true,"create_target":true"#).options, "+continuous+create_target");
        let others = [
            r#","doc_ids":["a"]"#,
            r#","selector":{}"#,
            r#","filter":"d/f""#,
            r#","filter":"d/f","query_params":{"a":1}"#,
            r#","winning_revs_only":true"#,
            r#","since_seq":"5-x""#,
        ];
        let mut seen = std::collections::BTreeSet::from([plain.base]);
        for other in others {
            assert!(seen.insert(id(other).base), "{other}");
        }
    }
}
