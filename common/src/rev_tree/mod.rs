//! The revision tree of one document: branches, the deterministic winner, stemming.
//!
//! Promises: the same revisions give the same tree and the same winner, in whatever order they arrive. (Histories that
//! contradict each other, one revision under two parents, are the exception: the parent that came first stays.)
//! Leaves bodies to the store and the rules of editing to [`crate::edit`].
//!
//! Must stay true: nodes are sorted by revision without repetition, and a child's generation is higher than its
//! parent's; so a parent stands before its children, one pass forwards visits ancestors first, one pass backwards
//! descendants first. Every operation is linear in the number of nodes, give or take a logarithm.

mod merge;
#[cfg(test)]
mod properties;
mod requests;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ids::RequestId;
use crate::rev::Rev;
pub use requests::REQUESTS_MAX;
use requests::Requests;

/// The tree of a document's revisions. Nodes are sorted by revision, so a parent stands before its children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevTree {
    nodes: Vec<Node>,
    requests: Requests,
}

/// One revision in the tree. Its parent: [`RevTree::parent`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The revision.
    pub rev: Rev,
    /// Position of its parent, unless it is a root (or its ancestors were stemmed away). A position and not a revision:
    /// two bytes instead of twenty in each of a thousand stored nodes, and no search on the way up.
    parent: Option<u32>,
    /// Whether it is a deletion.
    pub deleted: bool,
    /// Whether its body is kept.
    pub stored: bool,
}

impl RevTree {
    /// The revision that stands for the document: not deleted before deleted, then the highest revision.
    pub fn winner(&self) -> Option<&Node> {
        // The last node is always a leaf, and nearly always alive.
        match self.nodes.last() {
            Some(last) if last.deleted => self.leaves().into_iter().next(),
            last => last,
        }
    }

    /// All leaves, the winner first: live before deleted, then highest revision first.
    pub fn leaves(&self) -> Vec<&Node> {
        self.leaves_where(|_| true)
    }

    /// The leaves that descend from a revision (itself, if it is one), in the order of [`Self::leaves`]; none if it is
    /// not in the tree.
    pub fn leaves_from(&self, rev: &Rev) -> Vec<&Node> {
        let Some(from) = self.position(rev) else { return Vec::new() };
        let mut reached = vec![false; self.nodes.len()];
        reached[from] = true;
        for (at, node) in self.nodes.iter().enumerate().skip(from + 1) {
            reached[at] = node.parent_at().is_some_and(|parent| reached[parent]);
        }
        self.leaves_where(|at| reached[at])
    }

    /// The live leaves that lost against the winner, highest first (`_conflicts`).
    pub fn conflicts(&self) -> Vec<Rev> {
        self.losers(false)
    }

    /// The deleted leaves that are not the winner, highest first (`_deleted_conflicts`).
    pub fn deleted_conflicts(&self) -> Vec<Rev> {
        self.losers(true)
    }

    /// The node of a revision, leaf or not.
    pub fn get(&self, rev: &Rev) -> Option<&Node> {
        self.position(rev).map(|at| &self.nodes[at])
    }

    /// The parent of a revision, as far as it is known.
    pub fn parent(&self, rev: &Rev) -> Option<&Node> {
        self.get(rev)?.parent_at().map(|at| &self.nodes[at])
    }

    /// A revision and its known ancestors, newest first; empty if it is not in the tree.
    pub fn path(&self, rev: &Rev) -> Vec<Rev> {
        let start = self.get(rev);
        std::iter::successors(start, |node| node.parent_at().map(|at| &self.nodes[at]))
            .map(|node| node.rev.clone())
            .collect()
    }

    /// The revision that a request wrote here, if it is one of the last [`REQUESTS_MAX`]. The revision need not be in the
    /// tree any more.
    pub fn written_by(&self, request: RequestId) -> Option<&Rev> {
        self.requests.find(request)
    }

    /// Whether a request that [`Self::written_by`] does not know may have written here nevertheless.
    pub fn may_have_forgotten(&self) -> bool {
        self.requests.may_have_forgotten()
    }

    /// Whether a revision is there and has no children.
    pub fn is_leaf(&self, rev: &Rev) -> bool {
        let Some(at) = self.position(rev) else { return false };
        !self.nodes[at + 1..].iter().any(|node| node.parent_at() == Some(at))
    }

    /// Every node, lowest revision first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Whether the document is deleted: its winner is a deletion.
    pub fn is_deleted(&self) -> bool {
        self.winner().is_some_and(|winner| winner.deleted)
    }

    /// Whether there is no revision at all.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Notes whether the body of a revision is kept. A revision that is not in the tree is ignored.
    pub fn set_stored(&mut self, rev: &Rev, stored: bool) {
        if let Some(at) = self.position(rev) {
            self.nodes[at].stored = stored;
        }
    }

    /// The revisions with a body that others descend from, lowest first: compaction drops their bodies.
    pub fn superseded(&self) -> Vec<Rev> {
        let leaves = self.leaf_marks();
        let old = self.nodes.iter().zip(leaves).filter(|(node, is_leaf)| node.stored && !is_leaf);
        old.map(|(node, _)| node.rev.clone()).collect()
    }

    fn position(&self, rev: &Rev) -> Option<usize> {
        self.nodes.binary_search_by(|node| node.rev.cmp(rev)).ok()
    }

    fn losers(&self, deleted: bool) -> Vec<Rev> {
        let leaves = self.leaves().into_iter().skip(1);
        leaves.filter(|leaf| leaf.deleted == deleted).map(|leaf| leaf.rev.clone()).collect()
    }

    /// For each node, whether it has no children.
    fn leaf_marks(&self) -> Vec<bool> {
        let mut is_leaf = vec![true; self.nodes.len()];
        for parent in self.nodes.iter().filter_map(Node::parent_at) {
            is_leaf[parent] = false;
        }
        is_leaf
    }

    fn leaves_where(&self, wanted: impl Fn(usize) -> bool) -> Vec<&Node> {
        let is_leaf = self.leaf_marks();
        let highest_first = (0..self.nodes.len()).rev().filter(|&at| is_leaf[at] && wanted(at));
        let mut leaves: Vec<_> = highest_first.map(|at| &self.nodes[at]).collect();
        leaves.sort_by_key(|leaf| leaf.deleted); // stable: the order within each half stays
        leaves
    }
}

impl Node {
    fn parent_at(&self) -> Option<usize> {
        self.parent.map(|at| at as usize)
    }
}

impl Serialize for RevTree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.nodes, self.requests.stored(&self.nodes)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RevTree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (nodes, stored) = <(Vec<Node>, Vec<requests::Stored>)>::deserialize(deserializer)?;
        // What the other functions index by must hold, whatever the bytes came from.
        let sorted = nodes.is_sorted_by(|a, b| a.rev < b.rev);
        let linked = |node: &Node| match node.parent_at() {
            Some(at) => nodes.get(at).is_some_and(|parent| parent.rev.generation < node.rev.generation),
            None => true,
        };
        let requests = Requests::read(stored, &nodes).filter(|_| sorted && nodes.iter().all(linked));
        match requests {
            Some(requests) => Ok(Self { nodes, requests }),
            None => Err(de::Error::custom("not a revision tree: out of order, or linked to what is not there")),
        }
    }
}
