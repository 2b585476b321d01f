//! Openraft's own suite over our log and state machine.

use std::path::Path;
use std::sync::Arc;

use common::config::EngineKind;
use common::ids::{ClusterId, NodeId, RaftId, ShardId};
use futures::FutureExt;
use openraft::EntryPayload;
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::raft::log_store::LogStore;
use crate::raft::shared::Shared;
use crate::raft::snapshot::Builder;
use crate::raft::state_machine::StateMachine;
use crate::raft::types::{Entry, LogId, StorageError, TypeConfig, Vote, log_id};
use crate::raft::wire::Scope;
use crate::storage;
use crate::wal::{self, Wal};

/// Behind every entry.
const LAST: Option<LogId> =
    Some(LogId { leader_id: openraft::CommittedLeaderId { term: u64::MAX, node_id: 0 }, index: u64::MAX });

struct Stores(EngineKind);

fn open(dir: &Path, kind: EngineKind) -> (LogStore, StateMachine, Arc<Shared>) {
    let node = NodeId::parse("n1").expect("valid");
    let (cluster, shard) = (ClusterId::of("suite"), ShardId(0));
    let owner = wal::Identity { cluster, node, shard, replica: RaftId(1) };
    let options = wal::Options { segment_bytes: 1 << 16, cache_bytes: 1 << 16 };
    let wal = Wal::open(&dir.join("wal"), &owner, options).expect("a log");
    let engine = storage::open(kind, &dir.join("engine"), 1 << 20).expect("an engine");
    let shared = Shared::new();
    // The suite purges without snapshots.
    shared.set_durable(LAST);
    let builder = Builder {
        engine: engine.clone(),
        shared: shared.clone(),
        scope: Scope { cluster, shard, replica: 1 },
        dir: dir.to_owned(),
    };
    let machine = StateMachine::new(engine, shared.clone(), builder, Arc::new(|_| {})).expect("a state machine");
    (LogStore::new(wal, shared.clone(), 1), machine, shared)
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (log, machine, shared) = open(dir.path(), self.0);
        // The suite folds in entries that are in no log.
        shared.set_synced(LAST);
        Ok((dir, log, machine))
    }
}

#[test]
fn openrafts_suite_passes_over_memory() {
    Suite::test_all(Stores(EngineKind::Memory)).expect("all of it");
}

#[test]
fn openrafts_suite_passes_over_fjall() {
    Suite::test_all(Stores(EngineKind::Fjall)).expect("all of it");
}

#[tokio::test]
async fn a_replica_that_led_before_a_restart_has_to_be_elected_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut log, _machine, _shared) = open(dir.path(), EngineKind::Memory);
    let (own, other) = (Vote::new_committed(7, 1), Vote::new_committed(8, 2));
    log.save_vote(&own).await.expect("saved");
    assert_eq!(log.read_vote().await.expect("read"), Some(Vote::new(7, 1)), "its own lead is over");
    log.save_vote(&other).await.expect("saved");
    assert_eq!(log.read_vote().await.expect("read"), Some(other), "another's is not for it to judge");
}

#[tokio::test]
async fn what_is_not_on_disk_is_not_folded_in() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (_log, mut machine, shared) = open(dir.path(), EngineKind::Memory);
    let id = |index| log_id(wal::LogId { term: 1, leader: 1, index });
    let blank = |index| Entry { log_id: id(index), payload: EntryPayload::Blank };
    {
        let mut folding = Box::pin(machine.apply([blank(1)]));
        assert!(folding.as_mut().now_or_never().is_none(), "nothing says that it is on disk");
        shared.set_synced(Some(id(1)));
        folding.await.expect("it is now");
    }
    assert_eq!(shared.applied().log_id, Some(id(1)));

    let error = wal::Error::Closed;
    let mut folding = Box::pin(machine.apply([blank(2)]));
    assert!(folding.as_mut().now_or_never().is_none());
    shared.set_unsynced(error);
    folding.await.expect_err("it never will be");
    assert_eq!(shared.applied().log_id, Some(id(1)));
}
