//! Counting majorities, of one set of voters or of two while the membership changes. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// Sets of voters; a quorum needs a majority of each.
pub(crate) type Configs = [BTreeSet<u64>];

/// Whether `granted` has a majority of every set. Without any voter there is none.
pub(crate) fn is_quorum(configs: &Configs, granted: &BTreeSet<u64>) -> bool {
    !configs.is_empty() && configs.iter().all(|voters| voters.intersection(granted).count() > voters.len() / 2)
}

/// How many more voters a majority of every set takes at least; all there may be needed while the membership changes.
pub(crate) fn missing(configs: &Configs, granted: &BTreeSet<u64>) -> usize {
    let of_one = |voters: &BTreeSet<u64>| (voters.len() / 2 + 1).saturating_sub(voters.intersection(granted).count());
    configs.iter().map(of_one).sum()
}

/// The latest point in time at or after which a majority of every set was heard, given when each was heard last.
pub(crate) fn heard_by_quorum<T: Ord + Copy>(configs: &Configs, heard: &BTreeMap<u64, T>) -> Option<T> {
    let of_one = |voters: &BTreeSet<u64>| {
        let mut times: Vec<T> = voters.iter().filter_map(|voter| heard.get(voter).copied()).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        times.get(voters.len() / 2).copied()
    };
    configs.iter().map(of_one).try_fold(None, |oldest: Option<T>, time| {
        let time = time?;
        Some(Some(oldest.map_or(time, |oldest| oldest.min(time))))
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(sets: &[&[u64]]) -> Vec<BTreeSet<u64>> {
        sets.iter().map(|set| set.iter().copied().collect()).collect()
    }

    #[test]
    fn a_majority_of_every_set_is_needed() {
        let joint = sets(&[&[1, 2, 3], &[1, 2, 4]]);
        let granted = |ids: &[u64]| is_quorum(&joint, &ids.iter().copied().collect());
        assert!(granted(&[1, 2]));
        assert!(granted(&[1, 3, 4]));
        assert!(!granted(&[1, 3]));
        assert!(!is_quorum(&[], &BTreeSet::from([1])));
        assert!(is_quorum(&sets(&[&[1]]), &BTreeSet::from([1])));
        assert!(!is_quorum(&sets(&[&[1, 2]]), &BTreeSet::from([1])));
    }

    #[test]
    fn a_majority_of_every_set_may_be_missing() {
        let missing =
            |configs: &[&[u64]], granted: &[u64]| super::missing(&sets(configs), &granted.iter().copied().collect());
        assert_eq!(missing(&[&[1, 2, 3]], &[1]), 1);
        assert_eq!(missing(&[&[1, 2, 3]], &[1, 3]), 0);
        assert_eq!(missing(&[&[1]], &[1]), 0);
        assert_eq!(missing(&[&[1, 2, 3, 4, 5], &[1, 2, 6]], &[1]), 3);
    }

    #[test]
    fn the_quorum_is_as_old_as_the_slowest_of_the_fastest_majority() {
        let heard = BTreeMap::from([(1, 100), (2, 70), (3, 90), (4, 10)]);
        assert_eq!(heard_by_quorum(&sets(&[&[1, 2, 3]]), &heard), Some(90));
        assert_eq!(heard_by_quorum(&sets(&[&[1, 2, 3], &[1, 2, 4]]), &heard), Some(70));
        assert_eq!(heard_by_quorum(&sets(&[&[1, 5, 6]]), &heard), None);
        assert_eq!(heard_by_quorum(&[], &heard), None);
    }
}
