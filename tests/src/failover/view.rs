//! The cluster as a router's `/v1/_replication/state` tells it: what an operator sees. Pure.

use std::collections::BTreeSet;

use common::ids::Term;
use common::state::Role;
use serde::Deserialize;

/// A replica with more entries to go than this has not caught up.
const BEHIND: u64 = 1_000;

/// All of it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct View {
    /// The configured nodes.
    pub(super) nodes: Vec<Node>,
    /// A row for each replica that is known.
    pub(super) replicas: Vec<Replica>,
}

/// A node.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Node {
    /// Its name.
    pub(super) node: String,
    /// Whether it answers the router.
    pub(super) reachable: bool,
}

/// A replica.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Replica {
    /// Its shard.
    pub(super) shard: u32,
    /// Its node.
    pub(super) node: String,
    /// What it is.
    pub(super) role: Role,
    /// Its term.
    pub(super) term: Term,
    /// Whom it follows.
    pub(super) primary: Option<String>,
    /// How far it is behind, in log entries.
    pub(super) lag_entries: u64,
    /// `ok`, or what is wrong.
    pub(super) health: String,
    /// What is wrong, in words.
    pub(super) reason: Option<String>,
}

impl View {
    /// The shards, sorted.
    pub(super) fn shards(&self) -> BTreeSet<u32> {
        self.replicas.iter().map(|replica| replica.shard).collect()
    }

    fn of(&self, shard: u32) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(move |replica| replica.shard == shard)
    }

    /// The node that leads a shard: of two that claim it, the one of the newer term. A node that does not answer
    /// leads nothing.
    pub(super) fn primary_of(&self, shard: u32) -> Option<&str> {
        let claims = self.of(shard).filter(|replica| replica.role == Role::Primary && replica.health != "unreachable");
        claims.max_by_key(|replica| replica.term).map(|replica| replica.node.as_str())
    }

    /// The shards that a node leads.
    pub(super) fn led_by(&self, node: &str) -> Vec<u32> {
        self.shards().into_iter().filter(|shard| self.primary_of(*shard) == Some(node)).collect()
    }

    /// The nodes with a replica of a shard that do not lead it.
    pub(super) fn followers_of(&self, shard: u32) -> Vec<&str> {
        let primary = self.primary_of(shard);
        self.of(shard).map(|replica| replica.node.as_str()).filter(|node| Some(*node) != primary).collect()
    }

    /// What keeps the cluster from being whole: every node answers, every shard has one primary that all its other
    /// replicas follow and have nearly caught up with.
    pub(super) fn illness(&self) -> Option<String> {
        if let Some(gone) = self.nodes.iter().find(|node| !node.reachable) {
            return Some(format!("{} does not answer", gone.node));
        }
        if self.nodes.is_empty() || self.replicas.is_empty() {
            return Some("no replica is known".to_owned());
        }
        self.shards().into_iter().find_map(|shard| self.shard_illness(shard))
    }

    fn shard_illness(&self, shard: u32) -> Option<String> {
        let Some(primary) = self.primary_of(shard) else { return Some(format!("shard {shard} has no primary")) };
        self.of(shard).find_map(|replica| {
            let ill = match () {
                () if replica.health != "ok" => {
                    format!("{}: {}", replica.health, replica.reason.as_deref().unwrap_or("no reason given"))
                }
                () if !matches!(replica.role, Role::Primary | Role::Replica) => format!("{:?}", replica.role),
                () if replica.role == Role::Primary && replica.node != primary => "also claims to lead".to_owned(),
                () if replica.primary.as_deref() != Some(primary) => format!("does not follow {primary}"),
                () if replica.lag_entries > BEHIND => format!("{} entries behind", replica.lag_entries),
                () => return None,
            };
            Some(format!("shard {shard} on {}: {ill}", replica.node))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(shard: u32, node: &str, role: &str, term: u64, primary: &str) -> serde_json::Value {
        serde_json::json!({
            "shard": shard, "node": node, "role": role, "term": term, "primary": primary, "lag_entries": 0,
            "health": "ok", "reason": null, "engine": "fjall",
        })
    }

    fn view() -> View {
        let nodes: Vec<_> = ["n1", "n2", "n3"].map(|n| serde_json::json!({"node": n, "reachable": true})).to_vec();
        let replicas = vec![
            replica(0, "n1", "primary", 2, "n1"),
            replica(0, "n2", "replica", 2, "n1"),
            replica(0, "n3", "replica", 2, "n1"),
            replica(1, "n2", "primary", 1, "n2"),
            replica(1, "n3", "replica", 1, "n2"),
        ];
        let text = serde_json::json!({"cluster": "c", "nodes": nodes, "replicas": replicas}).to_string();
        serde_json::from_str(&text).expect("a state")
    }

    #[test]
    fn who_leads_and_who_follows() {
        let view = view();
        assert_eq!(view.illness(), None);
        assert_eq!((view.primary_of(0), view.primary_of(7)), (Some("n1"), None));
        assert_eq!(view.followers_of(0), ["n2", "n3"]);
        assert_eq!(view.led_by("n2"), [1]);
    }

    #[test]
    fn of_two_that_claim_a_shard_the_newer_term_counts_and_the_cluster_is_not_whole() {
        let mut view = view();
        view.replicas[1].role = Role::Primary;
        view.replicas[1].term = Term(3);
        assert_eq!(view.primary_of(0), Some("n2"));
        assert_eq!(view.illness().as_deref(), Some("shard 0 on n1: also claims to lead"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut View);
        let cases: [(Change, &str); 5] = [
            (|v| v.nodes[1].reachable = false, "n2 does not answer"),
            (|v| v.replicas[0].health = "unreachable".to_owned(), "shard 0 has no primary"),
            (|v| v.replicas[2].role = Role::Learner, "shard 0 on n3: Learner"),
            (|v| v.replicas[4].lag_entries = 5_000, "shard 1 on n3: 5000 entries behind"),
            (|v| v.replicas.clear(), "no replica is known"),
        ];
        for (change, ill) in cases {
            let mut view = view();
            change(&mut view);
            assert_eq!(view.illness().as_deref(), Some(ill));
        }
    }
}
