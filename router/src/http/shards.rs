//! Where a database lives: its ranges of hashes and the nodes that have them.

use common::ids::{DbName, DocId, NodeId, ShardId, Slot};
use common::placement::{SLOTS, ShardMap};
use http::StatusCode;

use super::call::Call;
use super::{Answer, render};
use crate::cluster::CATALOG_SHARD;

/// `GET /{db}/_shards`: the ranges of hashes, and the nodes that have each.
pub(super) async fn all(call: &Call, db: DbName) -> Answer {
    let db = call.app.ops.db(&db).await?;
    let cluster = &call.app.ops.cluster;
    let ranges: Vec<(String, Vec<&NodeId>)> = if db.uid.is_system() {
        vec![(range(0, SLOTS - 1), nodes(call, CATALOG_SHARD))]
    } else {
        let runs = runs(&cluster.map());
        runs.into_iter().map(|(first, last, shard)| (range(first, last), nodes(call, shard))).collect()
    };
    let mut text = b"{\"shards\":{".to_vec();
    for (at, (range, nodes)) in ranges.iter().enumerate() {
        text.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
        text.extend_from_slice(range.as_bytes());
        text.extend_from_slice(b"\":");
        render::array(&mut text, nodes, |out, node| render::string(out, node.as_str()));
    }
    text.extend_from_slice(b"}}");
    Ok(render::json(StatusCode::OK, text))
}

/// `GET /{db}/_shards/{doc}`: where a document lives, or would.
pub(super) async fn of(call: &Call, db: DbName, id: DocId) -> Answer {
    let db = call.app.ops.db(&db).await?;
    if db.partitioned {
        id.partition()?;
    }
    let (shard, address) = call.app.ops.cluster.locate(db.uid, db.partitioned, &id);
    let whole = (0, SLOTS - 1, CATALOG_SHARD);
    let runs = if db.uid.is_system() { vec![whole] } else { runs(&call.app.ops.cluster.map()) };
    let run = runs.into_iter().find(|(first, last, _)| (*first..=*last).contains(&address.slot.0)).unwrap_or(whole);
    let mut text = format!("{{\"range\":\"{}\",\"nodes\":", range(run.0, run.1)).into_bytes();
    render::array(&mut text, nodes(call, shard), |out, node| render::string(out, node.as_str()));
    text.push(b'}');
    Ok(render::json(StatusCode::OK, text))
}

/// `POST /{db}/_sync_shards`: replicas agree with each write already.
pub(super) async fn sync(call: &Call, db: DbName) -> Answer {
    call.app.ops.db(&db).await?;
    Ok(render::ok(StatusCode::ACCEPTED))
}

/// Neighbouring slots of one shard: the first, the last, and whose they are.
fn runs(map: &ShardMap) -> Vec<(u16, u16, ShardId)> {
    let mut runs: Vec<(u16, u16, ShardId)> = Vec::new();
    for slot in 0..SLOTS {
        let shard = map.shard_of(Slot(slot));
        match runs.last_mut() {
            Some((_, last, owner)) if *owner == shard => *last = slot,
            _ => runs.push((slot, slot, shard)),
        }
    }
    runs
}

/// Slots as CouchDB shows a range of hashes, which have 32 bits.
fn range(first: u16, last: u16) -> String {
    const HASHES: u32 = (1 << 31) / (SLOTS as u32 / 2);
    let end = u32::from(last) * HASHES + (HASHES - 1);
    format!("{:08x}-{end:08x}", u32::from(first) * HASHES)
}

fn nodes(call: &Call, shard: ShardId) -> Vec<&NodeId> {
    let entry = call.app.config.shard.iter().find(|entry| entry.id == shard);
    entry.map(|entry| entry.replicas.iter().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_shown_as_ranges_of_hashes() {
        let map = ShardMap::even(&[ShardId(0), ShardId(1)]);
        let shown: Vec<String> = runs(&map).into_iter().map(|(first, last, _)| range(first, last)).collect();
        assert_eq!(shown, ["00000000-7fffffff", "80000000-ffffffff"]);
        assert_eq!(range(0, SLOTS - 1), "00000000-ffffffff");
    }
}
