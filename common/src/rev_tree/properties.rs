//! What holds for every tree, against models too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::rev::RevHash;

/// A history: each revision with its parent and whether it is a deletion.
type History = BTreeMap<Rev, (Option<Rev>, bool)>;

fn request() -> RequestId {
    RequestId(uuid::Uuid::from_u128(1))
}

/// Histories of up to 24 revisions with several roots (some above generation 1), hashes of both forms.
fn histories() -> impl Strategy<Value = History> {
    prop::collection::vec((any::<prop::sample::Index>(), 0..8u8, any::<bool>(), any::<bool>()), 1..24).prop_map(
        |seeds| {
            let mut revs: Vec<Rev> = Vec::new();
            let mut history = History::new();
            for (n, (parent, root, deleted, digest)) in seeds.into_iter().enumerate() {
                let parent = (root > 0 && n > 0).then(|| parent.get(&revs).clone());
                let generation = parent.as_ref().map_or(u64::from(digest) + 1, |parent| parent.generation + 1);
                // Spread, so that the order of arrival is not the order of hashes.
                let spread = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let bytes: [u8; 16] = std::array::from_fn(|at| spread.to_le_bytes()[at % 8]);
                let hash = if digest { RevHash::Digest(bytes) } else { RevHash::new(&format!("{spread:x}")) };
                let rev = Rev { generation, hash };
                revs.push(rev.clone());
                history.insert(rev, (parent, deleted));
            }
            history
        },
    )
}

fn path(history: &History, rev: &Rev) -> Vec<Rev> {
    std::iter::successors(Some(rev.clone()), |rev| history[rev].0.clone()).collect()
}

fn leaves(history: &History) -> Vec<Rev> {
    let parents: BTreeSet<_> = history.values().filter_map(|(parent, _)| parent.as_ref()).collect();
    let mut leaves: Vec<_> = history.keys().filter(|rev| !parents.contains(rev)).cloned().collect();
    leaves.sort_by_key(|rev| (history[rev].1, std::cmp::Reverse(rev.clone())));
    leaves
}

/// All revisions of a history, in the order of `revs`; each path cut after `lengths` (two at least: the link).
fn grafted(history: &History, revs: &[Rev], lengths: &[usize]) -> RevTree {
    let mut tree = RevTree::default();
    for (rev, length) in revs.iter().zip(lengths.iter().cycle()) {
        let mut path = path(history, rev);
        path.truncate(*length);
        tree.graft(&path, history[rev].1, request());
    }
    tree
}

/// A history, its revisions in two orders, and lengths to cut paths to.
fn deliveries() -> impl Strategy<Value = (History, Vec<Rev>, Vec<Rev>, Vec<usize>)> {
    (histories(), prop::collection::vec(2..30usize, 1..5)).prop_flat_map(|(history, lengths)| {
        let revs: Vec<Rev> = history.keys().cloned().collect();
        let (one, other) = (Just(revs.clone()).prop_shuffle(), Just(revs).prop_shuffle());
        (Just(history), one, other, Just(lengths))
    })
}

fn names(nodes: Vec<&Node>) -> Vec<Rev> {
    nodes.into_iter().map(|node| node.rev.clone()).collect()
}

proptest! {
    #[test]
    fn any_order_of_arrival_gives_the_same_tree((history, one, other, lengths) in deliveries()) {
        let tree = grafted(&history, &one, &lengths);
        prop_assert_eq!(&tree.nodes, &grafted(&history, &other, &lengths).nodes);
        for rev in history.keys() {
            prop_assert_eq!(tree.path(rev), path(&history, rev));
            prop_assert_eq!(tree.get(rev).map(|node| (node.deleted, node.stored)), Some((history[rev].1, true)));
        }
    }

    #[test]
    fn edits_one_after_the_other_give_the_tree_that_grafts_give((history, one, _, lengths) in deliveries()) {
        let mut tree = RevTree::default();
        for (rev, (parent, deleted)) in &history {
            tree.extend(parent.as_ref(), rev.clone(), *deleted, request());
        }
        prop_assert_eq!(&tree.nodes, &grafted(&history, &one, &lengths).nodes);
    }

    #[test]
    fn some_leaves_with_their_whole_paths_give_the_same_tree_in_any_order(
        (history, one, other, _) in deliveries(), some in any::<u32>(),
    ) {
        let wanted: Vec<_> = leaves(&history).into_iter().enumerate().filter(|(n, _)| some >> n & 1 == 1).collect();
        let wanted: BTreeSet<_> = wanted.into_iter().map(|(_, rev)| rev).collect();
        let only = |revs: Vec<Rev>| revs.into_iter().filter(|rev| wanted.contains(rev)).collect::<Vec<_>>();
        let tree = grafted(&history, &only(one), &[usize::MAX]);
        prop_assert_eq!(&tree.nodes, &grafted(&history, &only(other), &[usize::MAX]).nodes);
        prop_assert_eq!(names(tree.leaves()).into_iter().collect::<BTreeSet<_>>(), wanted);
    }

    #[test]
    fn winner_and_leaves_are_those_of_the_definition((history, one, _, lengths) in deliveries()) {
        let tree = grafted(&history, &one, &lengths);
        let wanted = leaves(&history);
        prop_assert_eq!(tree.winner().map(|node| &node.rev), wanted.first());
        prop_assert_eq!(tree.is_deleted(), history[&wanted[0]].1);
        prop_assert_eq!(names(tree.leaves()), wanted.clone());
        for rev in history.keys() {
            let below: Vec<_> = wanted.iter().filter(|leaf| path(&history, leaf).contains(rev)).cloned().collect();
            prop_assert_eq!(tree.is_leaf(rev), below == [rev.clone()]);
            prop_assert_eq!(names(tree.leaves_from(rev)), below);
        }
        let (deleted, live): (Vec<_>, Vec<_>) = wanted[1..].iter().cloned().partition(|rev| history[rev].1);
        prop_assert_eq!((tree.conflicts(), tree.deleted_conflicts()), (live, deleted));
    }

    #[test]
    fn stemming_keeps_the_newest_of_each_path((history, one, _, lengths) in deliveries(), limit in 0..12u32) {
        let whole = grafted(&history, &one, &lengths);
        let mut tree = whole.clone();
        let dropped = tree.stem(limit);
        let kept = |leaf: &Rev| path(&history, leaf).into_iter().take(limit.max(1) as usize).collect::<Vec<_>>();
        let wanted: BTreeSet<_> = leaves(&history).iter().flat_map(kept).collect();
        prop_assert_eq!(tree.nodes().iter().map(|node| node.rev.clone()).collect::<BTreeSet<_>>(), wanted.clone());
        let forgotten: BTreeSet<_> = history.keys().filter(|rev| !wanted.contains(rev)).cloned().collect();
        prop_assert_eq!(dropped.into_iter().collect::<BTreeSet<_>>(), forgotten);
        prop_assert_eq!(names(tree.leaves()), names(whole.leaves()));
        for rev in &wanted {
            let full = path(&history, rev);
            prop_assert_eq!(tree.path(rev), full.iter().take_while(|rev| wanted.contains(rev)).cloned().collect::<Vec<_>>());
        }
        prop_assert!(tree.clone().stem(limit).is_empty(), "stemming again changes nothing");
        // What was forgotten grows back when the whole paths come again.
        for leaf in leaves(&history) {
            tree.graft(&path(&history, &leaf), history[&leaf].1, request());
        }
        for leaf in leaves(&history) {
            prop_assert_eq!(tree.path(&leaf), path(&history, &leaf));
        }
    }

    #[test]
    fn purging_leaves_keeps_the_paths_of_the_others((history, one, _, lengths) in deliveries(), some in any::<u32>()) {
        let whole = grafted(&history, &one, &lengths);
        let all = leaves(&history);
        // Every other revision is asked for too, and passed over if it is no leaf.
        let asked: Vec<Rev> = history.keys().enumerate().filter(|(n, _)| some >> n & 1 == 1).map(|(_, rev)| rev.clone()).collect();
        let (gone, stay): (Vec<Rev>, Vec<Rev>) = all.into_iter().partition(|leaf| asked.contains(leaf));
        let mut tree = whole.clone();
        let (purged, dropped) = tree.purge(&asked);
        prop_assert_eq!(purged.iter().cloned().collect::<BTreeSet<_>>(), gone.into_iter().collect::<BTreeSet<_>>());
        prop_assert!(purged.is_sorted_by_key(|rev| asked.iter().position(|asked| asked == rev)));
        let wanted: BTreeSet<Rev> = stay.iter().flat_map(|leaf| path(&history, leaf)).collect();
        prop_assert_eq!(tree.nodes().iter().map(|node| node.rev.clone()).collect::<BTreeSet<_>>(), wanted.clone());
        let forgotten: BTreeSet<Rev> = history.keys().filter(|rev| !wanted.contains(rev)).cloned().collect();
        prop_assert_eq!(dropped.into_iter().collect::<BTreeSet<_>>(), forgotten);
        prop_assert_eq!(names(tree.leaves()), stay);
        for rev in &wanted {
            prop_assert_eq!(tree.path(rev), path(&history, rev));
        }
    }

    #[test]
    fn only_revisions_that_others_descend_from_are_superseded((history, one, _, lengths) in deliveries()) {
        let mut tree = grafted(&history, &one, &lengths);
        let leaves: BTreeSet<Rev> = leaves(&history).into_iter().collect();
        let wanted: Vec<Rev> = history.keys().filter(|rev| !leaves.contains(rev)).cloned().collect();
        prop_assert_eq!(tree.superseded(), wanted.clone());
        for rev in &wanted {
            tree.set_stored(rev, false);
        }
        prop_assert!(tree.superseded().is_empty());
    }

    #[test]
    fn serialisation_round_trips((history, one, _, lengths) in deliveries()) {
        let tree = grafted(&history, &one, &lengths);
        let bytes = postcard::to_stdvec(&tree).expect("a value");
        prop_assert_eq!(postcard::from_bytes::<RevTree>(&bytes), Ok(tree.clone()));
        let text = serde_json::to_string(&tree).expect("a value");
        prop_assert_eq!(serde_json::from_str::<RevTree>(&text).expect("its own text"), tree);
    }

    #[test]
    fn damaged_bytes_give_an_error_or_a_sound_tree((history, one, _, lengths) in deliveries(), at: usize, to: u8) {
        let mut bytes = postcard::to_stdvec(&grafted(&history, &one, &lengths)).expect("a value");
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(mut tree) = postcard::from_bytes::<RevTree>(&bytes) {
            let revs: Vec<_> = tree.nodes().iter().map(|node| node.rev.clone()).collect();
            for rev in &revs {
                prop_assert!(!tree.path(rev).is_empty() && !tree.leaves_from(rev).is_empty());
            }
            prop_assert_eq!(tree.winner(), tree.leaves().first().copied());
            tree.stem(2);
        }
    }
}
