//! Which shard owns which document: a hash onto 1,024 slots, and a map from slots to shards.

mod hash;
mod map;

pub use hash::{SLOTS, slot_of};
pub use map::ShardMap;
