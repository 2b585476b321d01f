//! What a router shows of its cluster to those who watch it: which shards it can serve, and numbers.

use common::ids::ShardId;
use common::metrics::{self, Sheet};

use super::Cluster;
use super::members::{Members, Place};
use crate::shard::batch::{Queue, Weight};

/// A shard that this router cannot serve now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// The catalog was not read yet.
    #[error("the catalog is not known yet")]
    Catalog,
    /// A shard has no primary, as far as this router knows.
    #[error("shard {0} has no primary")]
    NoPrimary(ShardId),
    /// A shard's primary does not answer, or says that it has lost its majority.
    #[error("the primary of shard {0} cannot be reached, or has lost its majority")]
    CutOff(ShardId),
}

impl Unready {
    /// The shard it is about: the catalog's is the first.
    pub fn shard(&self) -> ShardId {
        match self {
            Unready::Catalog => super::CATALOG_SHARD,
            Unready::NoPrimary(shard) | Unready::CutOff(shard) => *shard,
        }
    }
}

impl Cluster {
    /// Whether every shard has a primary that answered lately and has its majority; the first that has not.
    pub fn ready(&self) -> Result<(), Unready> {
        self.inner.members.shards().try_for_each(|place| self.serves(place))
    }

    fn serves(&self, place: &Place) -> Result<(), Unready> {
        let members: &Members = &self.inner.members;
        let primary = place.primary().ok_or(Unready::NoPrimary(place.shard))?;
        match members.is_cut_off(&primary, place.shard, self.inner.patience.quorum / 2) {
            true => Err(Unready::CutOff(place.shard)),
            false => Ok(()),
        }
    }

    /// Writes down what this router counts and sees, and what nodes of this process do.
    pub fn measure(&self, sheet: &mut Sheet) {
        let members = &self.inner.members;
        for place in members.shards() {
            let shard = place.shard.to_string();
            sheet.set(&metrics::SHARD_AVAILABLE, &[&shard], self.serves(place).is_ok());
            sheet.set(&metrics::PROMOTIONS, &[&shard], place.promotions.get());
        }
        for (node, member) in members.nodes() {
            sheet.set(&metrics::NODE_REACHABLE, &[node.as_str()], !members.is_suspect(node));
            member.transport.measure(sheet);
        }
        for (shard, queues) in &self.inner.queues {
            queue(sheet, *shard, "write", &queues.writes);
            queue(sheet, *shard, "chunk", &queues.chunks);
            queue(sheet, *shard, "read", &queues.linearizable);
            queue(sheet, *shard, "eventual_read", &queues.eventual);
        }
    }
}

fn queue<I: Weight + Send + 'static, O: Send + 'static>(
    sheet: &mut Sheet,
    shard: ShardId,
    kind: &str,
    queue: &Queue<I, O>,
) {
    let shard = shard.to_string();
    sheet.set(&metrics::BATCH_REQUESTS, &[&shard, kind], queue.batches());
    sheet.set(&metrics::QUEUE_BYTES, &[&shard, kind], queue.bytes() as u64);
}
