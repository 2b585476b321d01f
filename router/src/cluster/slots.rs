//! The shard map in the catalog, and the shards' knowledge of the slots they own.
//!
//! A shard owns nothing until it is told. It is told only what the catalog's map says, never what a router's own
//! configuration suggests: two routers with different files would otherwise give one slot to two shards.

use std::collections::BTreeMap;

use common::command::{Command, Op, Outcome};
use common::ids::{DbUid, DocId, RequestId, ShardId};
use common::placement::ShardMap;
use common::query::Consistency;
use common::refusal::Refusal;
use uuid::Uuid;

use super::Cluster;
use super::system::{SystemDb, decode, mismatched};

/// Which version of the map each shard was seen to go by.
pub(super) type Settled = BTreeMap<ShardId, u64>;

/// Rounds of telling a shard its slots before a write gives up. One is enough unless maps change meanwhile.
const ROUNDS_MAX: u32 = 3;

impl Cluster {
    /// Makes sure that the catalog has a map, goes by it, and tells every shard its slots.
    pub async fn settle(&self) -> Result<(), Refusal> {
        for shard in self.map().shards() {
            self.settle_shard(shard).await?;
        }
        Ok(())
    }

    /// Writes commands; where the shard does not own a slot yet, tells it its slots and writes those again.
    pub(super) async fn write_owned(
        &self,
        shard: ShardId,
        commands: Vec<Command>,
        mut outcomes: Vec<Outcome>,
    ) -> Result<Vec<Outcome>, Refusal> {
        let foreign = |outcome: &Outcome| matches!(outcome, Outcome::NotOwner { .. });
        for _ in 0..ROUNDS_MAX {
            let again: Vec<usize> = (0..outcomes.len()).filter(|at| foreign(&outcomes[*at])).collect();
            if again.is_empty() {
                break;
            }
            self.settle_shard(shard).await?;
            let batch = again.iter().map(|at| commands[*at].clone()).collect();
            for (at, outcome) in again.into_iter().zip(self.queues(shard)?.writes.many(batch).await?) {
                outcomes[at] = outcome;
            }
        }
        // One that may have been done or not leaves the whole open: there is no telling which of them it was.
        match outcomes.contains(&Outcome::Forgotten) {
            true => Err(Refusal::UnknownOutcome { shard }),
            false => Ok(outcomes),
        }
    }

    async fn settle_shard(&self, shard: ShardId) -> Result<(), Refusal> {
        let mut settled = self.inner.settled.lock().await;
        if settled.get(&shard) == Some(&self.map().version) {
            return Ok(());
        }
        let map = self.stored_map().await?;
        let op = Op::AdoptSlots { version: map.version, slots: map.slots_of(shard) };
        let command = Command { request: RequestId(Uuid::new_v4()), retry: false, op };
        match self.queues(shard)?.writes.one(command).await? {
            Outcome::Done => {
                settled.insert(shard, map.version);
                Ok(())
            }
            Outcome::NotOwner { version } => {
                let reason = format!("it goes by shard map {version}, the catalog has {}", map.version);
                Err(Refusal::OutOfService { shard, reason })
            }
            _ => Err(mismatched()),
        }
    }

    /// The catalog's map, made from the configured shards if there is none yet; this router goes by it from now on.
    async fn stored_map(&self) -> Result<ShardMap, Refusal> {
        let system = SystemDb { cluster: self, db: DbUid::SHARDS };
        let id = DocId::parse("map").expect("a valid id");
        loop {
            let map = match system.get(&id, Consistency::Linearizable).await? {
                Some(stored) => decode::<ShardMap>(&id, &stored.json)?,
                None => {
                    let map = ShardMap::clone(&self.map());
                    if system.put(&id, None, &map).await?.is_none() {
                        // Another router was first; its map holds.
                        continue;
                    }
                    map
                }
            };
            self.adopt_map(map.clone());
            return Ok(map);
        }
    }
}
