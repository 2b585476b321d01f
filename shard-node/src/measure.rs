//! What a node shows of its replicas: numbers taken when somebody asks.

use common::ids::NodeId;
use common::metrics::{self, Sheet};
use common::state::{Peer, ReplicaState, Role};

use crate::process;
use crate::raft::counts::Transfers;
use crate::replica::Replica;

/// All roles, so that each replica has a row for each and an alert sees the 0 of the one it lost.
const ROLES: [(Role, &str); 6] = [
    (Role::Primary, "primary"),
    (Role::Replica, "replica"),
    (Role::Learner, "learner"),
    (Role::Candidate, "candidate"),
    (Role::Empty, "empty"),
    (Role::Damaged, "damaged"),
];

/// Writes down what holds for the node as a whole. `data` is the folder for all nodes of the process.
pub(crate) fn node(sheet: &mut Sheet, node: &NodeId, data: &std::path::Path) {
    if let Some((free, size)) = process::disk(data) {
        sheet.set(&metrics::DISK_FREE, &[node.as_str()], free);
        sheet.set(&metrics::DISK_SIZE, &[node.as_str()], size);
    }
}

/// Writes down what a replica says of itself; also of one that could not be opened.
pub(crate) fn state(sheet: &mut Sheet, state: &ReplicaState) {
    let shard = state.shard.to_string();
    let of = [state.node.as_str(), &shard];
    for (role, name) in ROLES {
        sheet.set(&metrics::REPLICA_ROLE, &[of[0], of[1], name], state.role == role);
    }
    sheet.set(&metrics::REPLICA_HEALTHY, &of, state.healthy);
    sheet.set(&metrics::REPLICA_TERM, &of, state.term.0);
    sheet.set(&metrics::REPLICA_LAST_INDEX, &of, state.last.index.0);
    sheet.set(&metrics::REPLICA_COMMITTED_INDEX, &of, state.committed.0);
    sheet.set(&metrics::REPLICA_APPLIED_INDEX, &of, state.applied.0);
    sheet.set(&metrics::REPLICA_LAG_ENTRIES, &of, state.committed.0.saturating_sub(state.applied.0));
    sheet.set(&metrics::REPLICA_LAG, &of, seconds(state.lag_ms));
    if let Some(heard_ms) = state.heard_ms {
        sheet.set(&metrics::REPLICA_HEARD, &of, seconds(heard_ms));
    }
}

/// Writes down what a replica counts and how large it is.
pub(crate) fn replica(sheet: &mut Sheet, replica: &Replica) {
    let said = replica.state();
    state(sheet, &said);
    let shard = said.shard.to_string();
    let of = [said.node.as_str(), &shard];
    let group = replica.group();
    if said.role == Role::Primary {
        let others = said.voters.iter().chain(&said.learners).filter(|peer| peer.raft_id != said.raft_id);
        for Peer { node, raft_id } in others {
            let (matched, last) = group.matched(*raft_id);
            // Nothing is known of a peer that has not answered yet: then it may miss everything.
            let missing = last.saturating_sub(matched.unwrap_or(0));
            sheet.set(&metrics::PEER_MISSING, &[of[0], of[1], node.as_str()], missing);
        }
    }
    let counts = group.counts();
    sheet.set(&metrics::ELECTIONS_STOOD, &of, counts.stood.get());
    sheet.set(&metrics::ELECTIONS_WON, &of, counts.won.get());
    sheet.set(&metrics::WRITE_QUEUE_BYTES, &of, replica.queue_bytes() as u64);
    sheet.set(&metrics::ENTRY_COMMANDS, &of, &counts.entry_commands);
    sheet.set(&metrics::READ_ROUND, &of, &counts.read_round);
    sheet.set(&metrics::VIEW_DOCUMENTS, &of, replica.mapped());
    sheet.set(&metrics::FEED_WAITERS, &of, replica.feed_waiters() as u64);
    sheet.set(&metrics::DAMAGED_FOLDERS, &of, replica.damaged_folders() as u64);
    transfers(sheet, of, "sent", &counts.sent);
    transfers(sheet, of, "received", &counts.received);
    let wal = group.wal();
    let stats = wal.stats();
    sheet.set(&metrics::LOG_SYNC, &of, wal.sync_times());
    sheet.set(&metrics::LOG_WRITTEN, &of, stats.bytes_written);
    sheet.set(&metrics::LOG_SEGMENTS, &of, stats.segments);
    sheet.set(&metrics::LOG_BYTES, &of, wal.first_index().map_or(0, |first| wal.tail_bytes_since(first)));
    let engine = group.engine();
    sheet.set(&metrics::ENGINE_BYTES, &[of[0], of[1], engine.name()], engine.size_bytes());
}

fn transfers(sheet: &mut Sheet, [node, shard]: [&str; 2], direction: &str, transfers: &Transfers) {
    let of = [node, shard, direction];
    sheet.set(&metrics::SNAPSHOTS_UNDER_WAY, &of, transfers.under_way.get());
    sheet.set(&metrics::SNAPSHOT_BYTES, &of, transfers.bytes.get());
    sheet.set(&metrics::SNAPSHOTS, &of, transfers.done.get());
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}
