//! The shard map: who owns each slot.

use serde::{Deserialize, Serialize};

use super::SLOTS;
use crate::ids::{ShardId, Slot};

/// Who owns each slot, at one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMap {
    /// Grows by one with each change.
    pub version: u64,
    /// The owner of each slot; always [`SLOTS`] long.
    owners: Vec<ShardId>,
}

impl ShardMap {
    /// The first map of a cluster: contiguous ranges of (nearly) equal size, in the order of `shards`.
    ///
    /// # Panics
    /// If `shards` is empty; the configuration is checked before.
    pub fn even(shards: &[ShardId]) -> Self {
        assert!(!shards.is_empty(), "a cluster has shards");
        let owner = |slot: usize| shards[slot * shards.len() / usize::from(SLOTS)];
        Self { version: 1, owners: (0..usize::from(SLOTS)).map(owner).collect() }
    }

    /// The owner of `slot`.
    pub fn shard_of(&self, slot: Slot) -> ShardId {
        self.owners[usize::from(slot.0)]
    }

    /// The slots `shard` owns, sorted.
    pub fn slots_of(&self, shard: ShardId) -> Vec<Slot> {
        (0..SLOTS).map(Slot).filter(|slot| self.shard_of(*slot) == shard).collect()
    }

    /// All shards that own a slot, sorted, each once.
    pub fn shards(&self) -> Vec<ShardId> {
        let mut shards = self.owners.clone();
        shards.sort_unstable();
        shards.dedup();
        shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_map_gives_each_shard_a_fair_contiguous_share() {
        let shards = [ShardId(0), ShardId(1), ShardId(2)];
        let map = ShardMap::even(&shards);
        let sizes: Vec<usize> = shards.iter().map(|shard| map.slots_of(*shard).len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), usize::from(SLOTS));
        assert!(sizes.iter().all(|size| (341..=342).contains(size)));
        assert_eq!(map.shards(), shards);
        assert!(map.slots_of(ShardId(1)).is_sorted());
    }
}
