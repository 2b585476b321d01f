//! The cluster as a router shows it to its admins. Pure.
//!
//! Fields that routers of an earlier version do not send are empty, so that a newer program can look at an older
//! cluster while it is upgraded.

use common::ids::{NodeId, ShardId};
use common::state::Role;
use serde::{Deserialize, Serialize};

/// The answer of `GET /v1/_replication/state`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Overview {
    pub(super) nodes: Vec<Node>,
    #[serde(default)]
    shards: Vec<Shard>,
    replicas: Vec<Replica>,
}

/// One node.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Node {
    pub(super) node: NodeId,
    #[serde(default)]
    pub(super) draining: bool,
}

/// One shard, and the nodes that the router's cluster file places it on.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Shard {
    pub(super) shard: ShardId,
    pub(super) replicas: Vec<NodeId>,
}

/// A voter or learner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) node: NodeId,
    pub(super) incarnation: String,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Replica {
    pub(super) node: NodeId,
    pub(super) shard: ShardId,
    /// `None` if its node has not answered since the router started.
    pub(super) role: Option<Role>,
    pub(super) term: u64,
    pub(super) last_index: u64,
    pub(super) applied: u64,
    pub(super) lag_entries: u64,
    pub(super) lag_ms: u64,
    /// On the primary: since a majority last answered it.
    pub(super) heard_ms: Option<u64>,
    pub(super) health: String,
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) draining: bool,
    #[serde(default)]
    pub(super) log_bytes: u64,
    #[serde(default)]
    pub(super) engine_bytes: u64,
    #[serde(default)]
    pub(super) disk_free_bytes: u64,
    #[serde(default)]
    pub(super) log_written_bytes: u64,
    #[serde(default)]
    pub(super) snapshot_received_bytes: u64,
    #[serde(default)]
    pub(super) incarnation: String,
    #[serde(default)]
    pub(super) voters: Vec<Member>,
    #[serde(default)]
    pub(super) learners: Vec<Member>,
}

/// What the router says of a replica whose node does not answer.
pub(super) const UNREACHABLE: &str = "unreachable";
/// A primary that no majority has answered for so long is none. Signs of life go out far more often, and a longer
/// silence than any pause of a busy machine would hide that a shard is out of service.
const LONELY_MS: u64 = 3_000;

impl Replica {
    /// A replica that nothing is known of but where it should be.
    fn unknown(shard: ShardId, node: NodeId) -> Self {
        Self {
            node,
            shard,
            role: None,
            term: 0,
            last_index: 0,
            applied: 0,
            lag_entries: 0,
            lag_ms: 0,
            heard_ms: None,
            health: UNREACHABLE.to_owned(),
            reason: None,
            draining: false,
            log_bytes: 0,
            engine_bytes: 0,
            disk_free_bytes: 0,
            log_written_bytes: 0,
            snapshot_received_bytes: 0,
            incarnation: String::new(),
            voters: Vec::new(),
            learners: Vec::new(),
        }
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.role.is_some() && self.health != UNREACHABLE
    }

    /// Whether it takes itself for the primary and hears no majority: nobody can write there.
    fn is_lonely(&self) -> bool {
        self.role == Some(Role::Primary) && self.heard_ms.is_some_and(|ms| ms > LONELY_MS)
    }

    /// Its health in words: with the reason, and whether its node is drained.
    pub(super) fn words(&self) -> String {
        let reason = self.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        let draining = if self.draining { ", draining" } else { "" };
        let lonely = if self.is_lonely() { ", leads without a majority" } else { "" };
        format!("{}{reason}{lonely}{draining}", self.health)
    }
}

impl Overview {
    /// The shards, sorted.
    pub(super) fn shards(&self) -> Vec<ShardId> {
        let placed = self.shards.iter().map(|placed| placed.shard);
        let mut shards: Vec<ShardId> = placed.chain(self.replicas.iter().map(|replica| replica.shard)).collect();
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    /// The nodes that the cluster file places a shard on.
    pub(super) fn placed(&self, shard: ShardId) -> &[NodeId] {
        self.shards.iter().find(|placed| placed.shard == shard).map_or(&[], |placed| &placed.replicas)
    }

    /// A row a replica, by shard and node: those that the nodes told of, and those that should be there besides.
    pub(super) fn rows(&self) -> Vec<Replica> {
        let known = |shard, node: &NodeId| self.replica(shard, node).is_some();
        let placed = self.shards.iter().flat_map(|placed| placed.replicas.iter().map(|node| (placed.shard, node)));
        let unknown = placed.filter(|(shard, node)| !known(*shard, node));
        let unknown = unknown.map(|(shard, node)| Replica::unknown(shard, node.clone()));
        let mut rows: Vec<Replica> = self.replicas.iter().cloned().chain(unknown).collect();
        rows.sort_by(|a, b| (a.shard, &a.node).cmp(&(b.shard, &b.node)));
        rows
    }

    /// What is known of one replica.
    pub(super) fn replica(&self, shard: ShardId, node: &NodeId) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.shard == shard && replica.node == *node)
    }

    /// The replica that leads a shard: of two that say so, the one of the later term.
    pub(super) fn primary(&self, shard: ShardId) -> Option<&Replica> {
        let leads = |replica: &&Replica| replica.role == Some(Role::Primary) && replica.is_reachable();
        let leads = |replica: &&Replica| leads(replica) && !replica.is_lonely();
        self.replicas.iter().filter(|replica| replica.shard == shard).filter(leads).max_by_key(|replica| replica.term)
    }

    /// The shards that a node leads.
    pub(super) fn led_by(&self, node: &NodeId) -> Vec<ShardId> {
        let leads = |shard: &ShardId| self.primary(*shard).is_some_and(|primary| primary.node == *node);
        self.shards().into_iter().filter(leads).collect()
    }

    /// The shards without a primary.
    pub(super) fn orphans(&self) -> Vec<ShardId> {
        self.shards().into_iter().filter(|shard| self.primary(*shard).is_none()).collect()
    }

    /// Why the replicas of a shard on other nodes than `node` do not lead it, in words.
    pub(super) fn others_in_words(&self, shard: ShardId, node: Option<&NodeId>) -> String {
        let rows = self.rows();
        let others = rows.iter().filter(|row| row.shard == shard && Some(&row.node) != node);
        let words = others.map(|row| format!("{} is {}", row.node, row.words()));
        words.collect::<Vec<_>>().join("; ")
    }

    /// An error unless there is a node of this name.
    pub(super) fn require(&self, node: &NodeId) -> Result<(), super::error::Error> {
        if self.nodes.iter().any(|known| known.node == *node) {
            return Ok(());
        }
        let names: Vec<&str> = self.nodes.iter().map(|known| known.node.as_str()).collect();
        Err(super::error::Error::Usage(format!("there is no node {node}; the nodes are {}", names.join(", "))))
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    pub(in crate::admin) fn node(name: &str) -> NodeId {
        NodeId::parse(name).expect("valid")
    }

    /// A healthy replica in term 3 whose log ends at entry 90, in its first life.
    pub(in crate::admin) fn replica(shard: u32, name: &str, role: Role) -> Replica {
        Replica {
            role: Some(role),
            term: 3,
            last_index: 90,
            applied: 90,
            health: "ok".to_owned(),
            incarnation: format!("{name}-1"),
            ..Replica::unknown(ShardId(shard), node(name))
        }
    }

    /// A cluster whose file places all shards on n1, n2 and n3.
    pub(in crate::admin) fn overview(replicas: Vec<Replica>) -> Overview {
        let names = ["n1", "n2", "n3"].map(node);
        let mut shards: Vec<ShardId> = replicas.iter().map(|replica| replica.shard).collect();
        shards.dedup();
        Overview {
            nodes: names.iter().map(|name| Node { node: name.clone(), draining: false }).collect(),
            shards: shards.into_iter().map(|shard| Shard { shard, replicas: names.to_vec() }).collect(),
            replicas,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn a_replica_that_never_answered_has_a_row_and_a_primary_that_does_not_answer_is_none() {
        let mut gone = replica(0, "n1", Role::Primary);
        gone.health = UNREACHABLE.to_owned();
        let overview = overview(vec![gone, replica(0, "n3", Role::Replica)]);
        let rows: Vec<_> = overview.rows().into_iter().map(|row| (row.node.to_string(), row.role.is_some())).collect();
        let wanted = [("n1", true), ("n2", false), ("n3", true)];
        assert_eq!(rows, wanted.map(|(name, known)| (name.to_owned(), known)));
        assert_eq!(overview.orphans(), [ShardId(0)]);
    }

    #[test]
    fn a_primary_without_a_majority_is_none() {
        let mut primary = replica(0, "n1", Role::Primary);
        primary.heard_ms = Some(LONELY_MS);
        assert!(overview(vec![primary.clone()]).orphans().is_empty());
        primary.heard_ms = Some(LONELY_MS + 1);
        assert_eq!(primary.words(), "ok, leads without a majority");
        assert_eq!(overview(vec![primary]).orphans(), [ShardId(0)]);
    }

    #[test]
    fn of_two_that_lead_the_later_term_counts() {
        let mut slept = replica(0, "n1", Role::Primary);
        slept.term = 2;
        let overview = overview(vec![slept, replica(0, "n2", Role::Primary)]);
        assert_eq!(overview.primary(ShardId(0)).map(|primary| primary.node.as_str()), Some("n2"));
        assert_eq!((overview.led_by(&node("n1")), overview.led_by(&node("n2"))), (vec![], vec![ShardId(0)]));
    }

    #[test]
    fn the_answer_of_an_earlier_version_is_enough() {
        let text = r#"{"cluster":"c","nodes":[{"node":"n1","reachable":true}],"replicas":[{"shard":0,"node":"n1",
            "role":"primary","term":1,"primary":"n1","last_term":1,"last_index":3,"committed":3,"applied":3,
            "lag_entries":0,"lag_ms":0,"heard_ms":0,"health":"ok","reason":null,"engine":"fjall"}]}"#;
        let overview: Overview = serde_json::from_str(text).expect("readable");
        assert_eq!((overview.shards(), overview.rows().len(), overview.orphans().len()), (vec![ShardId(0)], 1, 0));
    }
}
