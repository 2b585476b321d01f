//! What holds for any run of edits on clusters that replicate with each other now and then.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::command::{Address, Body};
use crate::ids::{DbUid, DocId, Slot};

#[derive(Debug, Clone)]
enum Step {
    /// On a cluster, an edit of one of its leaves (or of none), with one of a few bodies.
    Edit { cluster: usize, leaf: Option<prop::sample::Index>, kind: EditKind, body: u8 },
    /// From a cluster to another, one of its revisions.
    Replicate { from: usize, to: usize, rev: prop::sample::Index },
}

fn steps() -> impl Strategy<Value = Step> {
    let leaf = prop::option::of(any::<prop::sample::Index>());
    let kind = prop_oneof![8 => Just(EditKind::Update), 1 => Just(EditKind::Tombstone), 1 => Just(EditKind::Delete)];
    let edit = (0..3usize, leaf, kind, 0..4u8).prop_map(|(cluster, leaf, kind, body)| Step::Edit {
        cluster,
        leaf,
        kind,
        body,
    });
    let copy = (0..3usize, 0..3usize, any::<prop::sample::Index>()).prop_map(|(from, to, rev)| Step::Replicate {
        from,
        to,
        rev,
    });
    prop_oneof![2 => edit, 1 => copy]
}

#[derive(Default)]
struct World {
    clusters: [Option<RevTree>; 3],
    requests: u128,
}

fn address() -> Address {
    Address { db: DbUid::USERS, slot: Slot(0), id: DocId::parse("d").expect("valid") }
}

fn body(n: u8) -> Body {
    Body { json: Bytes::from_static(b"{}"), digest: [n; 16] }
}

impl World {
    fn request(&mut self) -> Asker {
        self.requests += 1;
        Asker { request: RequestId(uuid::Uuid::from_u128(self.requests)), retry: false }
    }

    fn edit(&mut self, cluster: usize, edit: &Edit) -> Decision {
        let request = self.request();
        let decision = decide(self.clusters[cluster].as_ref(), request, edit);
        if let Decision::Write { tree, rev, .. } = &decision {
            self.clusters[cluster] = Some(tree.clone());
            // The same request again finds what it did.
            let again = decide(self.clusters[cluster].as_ref(), Asker { retry: true, ..request }, edit);
            assert_eq!(again, Decision::Repeat { rev: rev.clone() });
        }
        decision
    }

    fn replicate(&mut self, from: usize, to: usize, rev: &Rev) {
        let (request, again) = (self.request(), self.request());
        let source = self.clusters[from].as_ref().expect("the source has it");
        let node = source.get(rev).expect("the source has it");
        let graft =
            Graft { doc: address(), path: source.path(rev), deleted: node.deleted, body: body(0), revs_limit: 1000 };
        let decision = decide_graft(self.clusters[to].as_ref(), request, &graft);
        if let Decision::Write { tree, .. } = decision {
            self.clusters[to] = Some(tree);
        }
        let target = self.clusters[to].as_ref().expect("a graft is never refused");
        assert!(target.get(rev).is_some_and(|node| node.stored));
        assert!(matches!(decide_graft(Some(target), again, &graft), Decision::Repeat { .. }));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Edit { cluster, leaf, kind, body: text } => {
                let before = self.clusters[cluster].clone();
                let leaves = before.as_ref().map(RevTree::leaves).unwrap_or_default();
                let leaf = leaf.filter(|_| !leaves.is_empty()).map(|leaf| leaf.get(&leaves).rev.clone());
                let edit = Edit { doc: address(), parent: leaf, kind, body: body(text), revs_limit: 1000 };
                if let Decision::Write { rev, .. } = self.edit(cluster, &edit) {
                    let tree = self.clusters[cluster].as_ref().expect("just written");
                    assert!(tree.is_leaf(&rev) && tree.get(&rev).is_some_and(|node| node.deleted == kind.deletes()));
                    // Somebody else's equal edit of the same parent is another edit. (Of no parent at all it is one
                    // too, unless the document is deleted: then it would go on from there.)
                    if edit.parent.is_some() && !tree.is_deleted() {
                        assert_eq!(self.edit(cluster, &edit), Decision::Conflict);
                    }
                }
            }
            Step::Replicate { from, to, rev } => {
                let Some(source) = &self.clusters[from] else { return };
                let stored: Vec<_> =
                    source.nodes().iter().filter(|node| node.stored).map(|node| node.rev.clone()).collect();
                self.replicate(from, to, rev.get(&stored));
            }
        }
    }

    /// Replicates everything everywhere.
    fn settle(&mut self) {
        for _ in 0..2 {
            for (from, to) in [(0, 1), (1, 2), (2, 0)] {
                let nodes = self.clusters[from].iter().flat_map(RevTree::nodes).filter(|node| node.stored);
                for rev in nodes.map(|node| node.rev.clone()).collect::<Vec<_>>() {
                    self.replicate(from, to, &rev);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn clusters_agree_once_they_have_replicated(steps in prop::collection::vec(steps(), 1..40)) {
        let mut world = World::default();
        for step in steps {
            world.step(step);
        }
        world.settle();
        let shape = |tree: &Option<RevTree>| {
            let tree = tree.clone().unwrap_or_default();
            let one = |node: &Node| (tree.path(&node.rev), node.deleted, node.stored);
            (tree.winner().map(|node| node.rev.clone()), tree.nodes().iter().map(one).collect::<Vec<_>>())
        };
        prop_assert_eq!(shape(&world.clusters[0]), shape(&world.clusters[1]));
        prop_assert_eq!(shape(&world.clusters[1]), shape(&world.clusters[2]));
    }

    #[test]
    fn revisions_differ_when_any_part_of_the_edit_does(
        parent in prop::option::of((1..5u64, "[a-z]{1,3}")), deleted: bool, digest: [u8; 16], other: [u8; 16],
    ) {
        let parent = parent.map(|(generation, hash)| Rev { generation, hash: RevHash::new(&hash) });
        let rev = new_rev(parent.as_ref(), deleted, &digest);
        prop_assert_eq!(&rev, &new_rev(parent.as_ref(), deleted, &digest));
        prop_assert_eq!(rev.generation, parent.as_ref().map_or(1, |parent| parent.generation + 1));
        prop_assert_ne!(&rev, &new_rev(parent.as_ref(), !deleted, &digest));
        prop_assert!(digest == other || rev != new_rev(parent.as_ref(), deleted, &other));
        prop_assert_ne!(&rev, &new_rev(Some(&rev), deleted, &digest));
    }
}
