//! How a tree grows and shrinks: an edit extends it, replication grafts paths, stemming forgets old ancestors.

use super::{Node, RevTree};
use crate::ids::RequestId;
use crate::rev::Rev;

impl RevTree {
    /// Adds an edited revision with its body under `parent` (`None`, or a parent that is not there: as a root).
    /// A revision that is there already is left alone, and so is one whose generation is not above its parent's.
    pub fn extend(&mut self, parent: Option<&Rev>, rev: Rev, deleted: bool, request: RequestId) {
        let above = parent.is_none_or(|parent| parent.generation < rev.generation);
        if !above || self.position(&rev).is_some() {
            return;
        }
        let node = Node { rev: rev.clone(), parent: None, deleted, stored: true };
        self.requests.remember(request, rev.clone());
        self.insert(vec![node]);
        if let Some(parent) = parent {
            self.link(&rev, parent);
        }
    }

    /// Adds a revision made elsewhere with its body, and whatever is new of the ancestors in `path` (newest first):
    /// it joins the tree at the newest ancestor known here, or becomes a root of its own. A root that the path knows
    /// the parent of is joined to it, so branches that were stemmed at different heights grow together again.
    /// `false` if nothing was new.
    ///
    /// A path whose generations do not fall by one is cut off there.
    pub fn graft(&mut self, path: &[Rev], deleted: bool, request: RequestId) -> bool {
        let path = self.consistent(path);
        let Some(tip) = path.first() else { return false };
        let unknown = path.iter().rev().filter(|rev| self.position(rev).is_none());
        let fresh: Vec<_> = unknown.map(|rev| Node::named(rev.clone())).collect();
        let mut changed = !fresh.is_empty();
        self.insert(fresh);
        for pair in path.windows(2) {
            changed |= self.link(&pair[0], &pair[1]);
        }
        let at = self.position(tip).expect("inserted above if it was not there");
        let node = &mut self.nodes[at];
        if !node.stored {
            (node.stored, node.deleted) = (true, deleted);
            self.requests.remember(request, tip.clone());
            changed = true;
        }
        changed
    }

    /// Forgets every revision that is `limit` or more steps away from all leaves that descend from it, and returns
    /// the forgotten ones, so that their bodies can go too. A leaf is never forgotten, also when `limit` is 0.
    pub fn stem(&mut self, limit: u32) -> Vec<Rev> {
        // The shortest way down to a leaf. Children stand behind their parents: one pass backwards knows all.
        let mut height: Vec<Option<u32>> = vec![None; self.nodes.len()];
        for at in (0..self.nodes.len()).rev() {
            let own = *height[at].get_or_insert(0);
            if let Some(parent) = self.nodes[at].parent_at() {
                let way = own.saturating_add(1);
                height[parent] = Some(height[parent].map_or(way, |known| known.min(way)));
            }
        }
        self.keep(|at| height[at].is_some_and(|height| height < limit.max(1)))
    }

    /// Forgets the leaves among `revs`, and those of their ancestors that no other leaf descends from; revisions that
    /// are no leaves are passed over. Returns the forgotten leaves in the order asked, and all that was forgotten.
    pub fn purge(&mut self, revs: &[Rev]) -> (Vec<Rev>, Vec<Rev>) {
        let mut purged: Vec<Rev> = Vec::new();
        let mut needed = self.leaf_marks();
        for rev in revs {
            if let Some(at) = self.position(rev).filter(|at| needed[*at]) {
                needed[at] = false;
                purged.push(rev.clone());
            }
        }
        if purged.is_empty() {
            return (purged, Vec::new());
        }
        // Children stand behind their parents, so one pass backwards reaches all ancestors of what stays.
        for at in (0..self.nodes.len()).rev() {
            if let Some(parent) = self.nodes[at].parent_at().filter(|_| needed[at]) {
                needed[parent] = true;
            }
        }
        let dropped = self.keep(|at| needed[at]);
        (purged, dropped)
    }

    /// Forgets all nodes but those to be kept, and returns the forgotten revisions. A child of one becomes a root.
    fn keep(&mut self, kept: impl Fn(usize) -> bool) -> Vec<Rev> {
        if (0..self.nodes.len()).all(&kept) {
            return Vec::new();
        }
        let mut moved: Vec<Option<u32>> = Vec::with_capacity(self.nodes.len());
        let mut count = 0;
        for at in 0..self.nodes.len() {
            moved.push(kept(at).then_some(count));
            count += u32::from(kept(at));
        }
        let mut dropped = Vec::new();
        let nodes = std::mem::take(&mut self.nodes);
        for (mut node, place) in nodes.into_iter().zip(&moved) {
            if place.is_some() {
                node.parent = node.parent_at().and_then(|parent| moved[parent]);
                self.nodes.push(node);
            } else {
                dropped.push(node.rev);
            }
        }
        dropped
    }

    /// As much of the path as holds together: generations fall by one, and it does not contradict a parent known here.
    fn consistent<'p>(&self, path: &'p [Rev]) -> &'p [Rev] {
        let follows = |pair: &[Rev]| {
            pair[0].generation.checked_sub(1) == Some(pair[1].generation)
                && self.parent(&pair[0]).is_none_or(|parent| parent.rev == pair[1])
        };
        let cut = path.windows(2).position(|pair| !follows(pair));
        cut.map_or(path, |at| &path[..=at])
    }

    /// Merges nodes without parents, sorted and not there yet, into the tree.
    fn insert(&mut self, fresh: Vec<Node>) {
        let Some(first) = fresh.first() else { return };
        if self.nodes.last().is_none_or(|last| last.rev < first.rev) {
            self.nodes.extend(fresh); // nearly always: positions stay as they are
            return;
        }
        let mut moved = Vec::with_capacity(self.nodes.len());
        let mut merged = Vec::with_capacity(self.nodes.len() + fresh.len());
        let mut fresh = fresh.into_iter().peekable();
        for node in std::mem::take(&mut self.nodes) {
            while let Some(new) = fresh.next_if(|new| new.rev < node.rev) {
                merged.push(new);
            }
            moved.push(position(merged.len()));
            merged.push(Node { parent: node.parent_at().map(|parent| moved[parent]), ..node });
        }
        merged.extend(fresh);
        self.nodes = merged;
    }

    /// Makes `parent` the parent of `child` if both are there and the child has none yet; says whether it did.
    fn link(&mut self, child: &Rev, parent: &Rev) -> bool {
        let (Some(at), Some(parent)) = (self.position(child), self.position(parent)) else { return false };
        let orphan = self.nodes[at].parent.is_none();
        if orphan {
            self.nodes[at].parent = Some(position(parent));
        }
        orphan
    }
}

impl Node {
    /// A revision known only by name.
    fn named(rev: Rev) -> Self {
        Self { rev, parent: None, deleted: false, stored: false }
    }
}

pub(super) fn position(at: usize) -> u32 {
    // A node takes some 20 bytes in the log and in the record: trees this large do not fit any record.
    u32::try_from(at).expect("a tree has fewer than 2^32 nodes")
}
