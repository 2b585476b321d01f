//! Which shard owns which document: a hash onto 1,024 slots, and a map from slots to shards.

mod hash;
mod map;

pub use hash::{SLOTS, slot_of, slot_of_partition};
pub use map::ShardMap;
