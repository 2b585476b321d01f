//! Openraft's own suite over our log and state machine.

use std::path::Path;
use std::sync::Arc;

use common::config::EngineKind;
use common::ids::{ClusterId, NodeId, RaftId, ShardId};
use futures::FutureExt;
use openraft::EntryPayload;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::raft::log_store::LogStore;
use crate::raft::shared::Shared;
use crate::raft::snapshot::Builder;
use crate::raft::state_machine::StateMachine;
use crate::raft::types::{Entry, LogId, Packed, StorageError, TypeConfig, Vote, log_id};
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

#[tokio::test]
async fn entries_of_an_earlier_term_than_what_was_synced_are_on_disk_when_they_are_taken() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut log, _machine, shared) = open(dir.path(), EngineKind::Memory);
    let id = |term, index| log_id(wal::LogId { term, leader: term, index });
    let entry = |term, index| Entry {
        log_id: id(term, index),
        payload: EntryPayload::Normal(Packed::join(0, std::iter::empty())),
    };
    // A primary of term 3 was deposed; the one of term 2 came back as that of term 4 and sends what it had.
    log.blocking_append([entry(3, 1), entry(3, 2)]).await.expect("taken");
    shared.wait_synced(id(3, 2)).await.expect("synced");
    log.truncate(id(3, 1)).await.expect("truncated");
    log.blocking_append([entry(2, 1)]).await.expect("taken");

    // As a power cut would leave it: nothing tells when this entry is synced, so taking it has to mean just that.
    let copy = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir(copy.path().join("wal")).expect("a folder");
    for file in std::fs::read_dir(dir.path().join("wal")).expect("a folder") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), copy.path().join("wal").join(file.file_name())).expect("copied");
    }
    let (mut found, _machine, _shared) = open(copy.path(), EngineKind::Memory);
    assert_eq!(found.get_log_state().await.expect("a state").last_log_id, Some(id(2, 1)));
    assert_eq!(shared.synced(), Some(id(3, 2)), "never goes back");
}
