//! Three nodes in one process: what a replica set promises while nodes stop, are cut off, and come back.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use ::common::command::Outcome;
use ::common::config::{EngineKind, Quorum};
use ::common::query::Consistency;
use ::common::refusal::Refusal;
use ::common::state::{Campaign, Promote, ReplicaState, Role};
use common::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_empty_nodes_found_a_replica_set_and_take_writes() {
    let cluster = Cluster::start(EngineKind::Memory).await;
    let first = cluster.put("a", None, r#"{"v":1}"#).await;
    assert_eq!(cluster.put("a", None, r#"{"v":2}"#).await, Outcome::Conflict);
    cluster.put("a", Some(rev(&first)), r#"{"v":22}"#).await;
    let primary = cluster.primary().await;
    let read = cluster.get(&primary, "a", Consistency::Linearizable).await;
    assert_eq!(read.unwrap().unwrap(), r#"{"v":22}"#);
    cluster.agree().await;
    for node in cluster.nodes.keys() {
        // Until the next sign of life a follower cannot tell how old what it has is.
        let mut read = cluster.get(node, "a", Consistency::Eventual).await;
        while read == Err(Refusal::TooFarBehind { shard: SHARD }) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            read = cluster.get(node, "a", Consistency::Eventual).await;
        }
        assert_eq!(read.unwrap().unwrap(), r#"{"v":22}"#);
    }
    let other = cluster.nodes.keys().find(|node| **node != primary).unwrap();
    let refused = cluster.get(other, "a", Consistency::Linearizable).await;
    assert_eq!(refused, Err(Refusal::NotPrimary { shard: SHARD, primary: Some(primary) }));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_primary_takes_over_when_one_stops_and_nothing_is_lost() {
    let mut cluster = Cluster::start(EngineKind::Fjall).await;
    for n in 0..20 {
        cluster.put(&format!("d{n}"), None, "{}").await;
    }
    let old = cluster.primary().await;
    cluster.stop_node(&old).await;
    let stopped = tokio::time::Instant::now();
    let outcome = cluster.put("after", None, "{}").await;
    let silent = stopped.elapsed();
    assert!(matches!(outcome, Outcome::Written { .. }));
    assert!(silent < Duration::from_secs(3), "{silent:?}");
    let new = cluster.primary().await;
    assert_ne!(new, old);
    for n in 0..20 {
        assert!(cluster.get(&new, &format!("d{n}"), Consistency::Linearizable).await.unwrap().is_some());
    }
    cluster.start_node(&old).await;
    cluster.agree().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_refuses_quickly_and_a_majority_goes_on() {
    let cluster = Cluster::start(EngineKind::Memory).await;
    cluster.put("a", None, "{}").await;
    let old = cluster.primary().await;
    cluster.agree().await;
    cluster.cut(&old);
    let new = cluster.primary_but(Some(&old)).await;
    assert_ne!(new, old);
    let asked = tokio::time::Instant::now();
    let read = cluster.get(&old, "a", Consistency::Linearizable).await;
    assert!(matches!(read, Err(Refusal::NoQuorum { .. } | Refusal::NotPrimary { .. })), "{read:?}");
    let write = cluster.nodes[&old].write(SHARD, vec![put("b", None, "{}")]).await;
    assert!(matches!(write, Err(Refusal::NoQuorum { .. } | Refusal::NotPrimary { .. })), "{write:?}");
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert!(cluster.get(&old, "a", Consistency::Eventual).await.unwrap().is_some());
    let written = cluster.nodes[&new].write(SHARD, vec![put("b", None, "{}")]).await;
    assert!(written.is_ok(), "{written:?}");
    cluster.mend();
    cluster.agree().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_cut_off_does_not_raise_the_term() {
    let cluster = Cluster::start(EngineKind::Memory).await;
    cluster.put("a", None, "{}").await;
    let primary = cluster.primary().await;
    let other = cluster.nodes.keys().find(|node| **node != primary).unwrap().clone();
    let term = cluster.states()[0].term;
    cluster.cut(&other);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    cluster.mend();
    cluster.put("b", None, "{}").await;
    cluster.agree().await;
    assert!(cluster.states().iter().all(|state| state.term == term), "{:#?}", cluster.states());
    assert_eq!(cluster.primary().await, primary);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_takes_effect_once_even_over_a_failover() {
    let mut cluster = Cluster::start(EngineKind::Fjall).await;
    let command = put("a", None, "{}");
    let first = cluster.write(command.clone()).await;
    assert_eq!(cluster.write(command.clone()).await, first);
    let old = cluster.primary().await;
    cluster.stop_node(&old).await;
    assert_eq!(cluster.write(command).await, first);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_restarted_have_all_that_was_acknowledged() {
    let mut cluster = Cluster::start(EngineKind::Fjall).await;
    for n in 0..10 {
        cluster.put(&format!("d{n}"), None, "{}").await;
    }
    let names: Vec<_> = cluster.nodes.keys().cloned().collect();
    for id in &names {
        cluster.stop_node(id).await;
    }
    for id in &names {
        cluster.start_node(id).await;
    }
    let primary = cluster.primary().await;
    for n in 0..10 {
        assert!(cluster.get(&primary, &format!("d{n}"), Consistency::Linearizable).await.unwrap().is_some());
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_folder_is_swapped_in_under_a_new_incarnation() {
    let mut cluster = Cluster::start(EngineKind::Fjall).await;
    for n in 0..30 {
        cluster.put(&format!("d{n}"), None, "{}").await;
    }
    cluster.agree().await;
    let primary = cluster.primary().await;
    let lost = cluster.nodes.keys().find(|node| **node != primary).unwrap().clone();
    let before = cluster.states().iter().find(|state| state.node == lost).unwrap().raft_id;
    cluster.stop_node(&lost).await;
    std::fs::remove_dir_all(cluster.data().join(lost.as_str())).unwrap();
    cluster.start_node(&lost).await;
    eventually("the swap", || {
        let states = cluster.states();
        let own = states.iter().find(|state| state.node == lost)?;
        let voters = &states.iter().find(|state| state.role == Role::Primary)?.voters;
        let swapped = voters.iter().any(|peer| peer.raft_id == own.raft_id) && voters.len() == 3;
        (swapped && own.raft_id != before).then_some(())
    })
    .await;
    cluster.put("after", None, "{}").await;
    cluster.agree().await;
    assert!(cluster.get(&lost, "d3", Consistency::Eventual).await.unwrap().is_some());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_behind_the_purge_point_gets_a_snapshot_while_writes_go_on() {
    let mut config = config(3, EngineKind::Fjall);
    config.storage.log_keep_bytes = 64 << 10;
    config.storage.segment_bytes = 1 << 16;
    let mut cluster = Cluster::with(config).await;
    cluster.put("first", None, "{}").await;
    cluster.agree().await;
    let primary = cluster.primary().await;
    let behind = cluster.nodes.keys().find(|node| **node != primary).unwrap().clone();
    cluster.stop_node(&behind).await;
    let body = format!(r#"{{"v":"{}"}}"#, "x".repeat(8000));
    for n in 0..100 {
        cluster.put(&format!("d{n}"), None, &body).await;
    }
    eventually("a purge", || {
        let states = cluster.states();
        (states.iter().all(|state| state.first.0 > 20)).then_some(())
    })
    .await;
    cluster.start_node(&behind).await;
    for n in 100..120 {
        cluster.put(&format!("d{n}"), None, &body).await;
    }
    cluster.agree().await;
    for id in ["first", "d0", "d99", "d119"] {
        assert!(cluster.get(&behind, id, Consistency::Eventual).await.unwrap().is_some(), "{id}");
    }
    cluster.stop_node(&behind).await;
    cluster.start_node(&behind).await;
    cluster.agree().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_hand_over_moves_the_primary() {
    let cluster = Cluster::start(EngineKind::Memory).await;
    cluster.put("a", None, "{}").await;
    let old = cluster.primary().await;
    cluster.agree().await;
    cluster.nodes[&old].hand_over().await;
    assert_ne!(cluster.primary_but(Some(&old)).await, old);
    cluster.put("b", None, "{}").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_told_twice_to_hand_over_is_open_again_afterwards() {
    let cluster = Cluster::start(EngineKind::Memory).await;
    cluster.put("a", None, "{}").await;
    let old = cluster.primary().await;
    cluster.agree().await;
    // As when an admin promotes another replica while the node is being drained.
    let second = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cluster.nodes[&old].hand_over().await;
    };
    tokio::join!(cluster.nodes[&old].hand_over(), second);
    let state = cluster.states().into_iter().find(|state| state.node == old).unwrap();
    assert_eq!((state.reason, state.heir), (None, None));
    cluster.put("b", None, "{}").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_hands_over_when_a_replica_is_asked_to_lead() {
    let cluster = Cluster::start(EngineKind::Memory).await;
    cluster.put("a", None, "{}").await;
    let old = cluster.primary().await;
    cluster.agree().await;
    let state = cluster.states().into_iter().find(|state| state.node != old).unwrap();
    let promote = Promote { shard: SHARD, term: state.term, planned: true };
    let unplanned = Promote { planned: false, ..promote.clone() };
    let answer = cluster.nodes[&state.node].campaign(unplanned).await;
    assert_eq!(answer, Campaign::NotEligible, "it hears a primary");
    let answer = cluster.nodes[&state.node].campaign(promote.clone()).await;
    assert_eq!(answer, Campaign::Started);
    // The others notice the silence too and may be first, or take a second election; but the lead moves.
    assert_ne!(cluster.primary_but(Some(&old)).await, old);
    // Which the old primary may be the last to hear.
    let of_old = || cluster.states().into_iter().find(|state| state.node == old);
    eventually("its next term", || of_old().filter(|state| state.term > promote.term)).await;
    let again = cluster.nodes[&old].campaign(promote).await;
    assert!(matches!(again, Campaign::StaleTerm { .. }), "{again:?}");
    cluster.put("b", None, "{}").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_many_ask_at_once_stands_once_a_term() {
    let cluster = Cluster::start(EngineKind::Memory).await;
    cluster.put("a", None, "{}").await;
    cluster.agree().await;
    let primary = cluster.primary().await;
    let alone = cluster.nodes.keys().find(|node| **node != primary).unwrap().clone();
    let state = || cluster.states().into_iter().find(|state| state.node == alone).unwrap();
    // Cut off it gets no votes, so that a second candidacy would show as a second term.
    cluster.cut(&alone);
    eventually("silence", || state().heard_ms.filter(|ms| *ms > 600)).await;
    for _ in 0..2 {
        let term = state().term;
        let promote = Promote { shard: SHARD, term, planned: false };
        let asked = (0..20).map(|_| cluster.nodes[&alone].campaign(promote.clone()));
        let answers = futures::future::join_all(asked).await;
        let taken = |answer: &Campaign| matches!(answer, Campaign::Started | Campaign::StaleTerm { .. });
        assert!(answers.iter().all(taken), "{answers:?}");
        eventually("the next term", || (state().term > term).then_some(())).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(state().term.0, term.0 + 1);
    }
    cluster.mend();
    cluster.put("b", None, "{}").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_a_rotten_log_is_rebuilt_from_the_others() {
    let mut cluster = Cluster::start(EngineKind::Fjall).await;
    for n in 0..30 {
        cluster.put(&format!("d{n}"), None, "{}").await;
    }
    cluster.agree().await;
    let primary = cluster.primary().await;
    let rotten = cluster.nodes.keys().find(|node| **node != primary).unwrap().clone();
    let before = cluster.states().iter().find(|state| state.node == rotten).unwrap().raft_id;
    cluster.stop_node(&rotten).await;
    let folder = cluster.data().join(rotten.as_str());
    let log = folder.join("shard-0/wal");
    let segments = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let with_records = |path: &std::path::PathBuf| std::fs::read(path).unwrap().iter().filter(|b| **b != 0).count();
    let segment = segments.filter(|path| path.is_file()).max_by_key(with_records).unwrap();
    // In one of many groups, with others synced behind it: rotten, not torn.
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(2).position(|id| id == b"d3").unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(&segment, bytes).unwrap();
    cluster.start_node(&rotten).await;
    assert!(folder.join("damaged-shard-0-0").exists(), "kept aside");
    eventually("the swap", || {
        let states = cluster.states();
        let own = states.iter().find(|state| state.node == rotten)?;
        let voters = &states.iter().find(|state| state.role == Role::Primary)?.voters;
        let swapped = voters.iter().any(|peer| peer.raft_id == own.raft_id) && voters.len() == 3;
        (swapped && own.raft_id != before).then_some(())
    })
    .await;
    cluster.put("after", None, "{}").await;
    cluster.agree().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_damaged_replicas_never_found_an_empty_shard() {
    let mut cluster = Cluster::start(EngineKind::Fjall).await;
    cluster.put("a", None, "{}").await;
    cluster.agree().await;
    let names: Vec<_> = cluster.nodes.keys().cloned().collect();
    for id in &names {
        cluster.stop_node(id).await;
        std::fs::write(cluster.data().join(id.as_str()).join("shard-0/damaged"), "bit rot").unwrap();
    }
    for id in &names {
        cluster.start_node(id).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waits = |state: &ReplicaState| state.role == Role::Empty && !state.healthy;
    assert!(cluster.states().iter().all(waits), "{:#?}", cluster.states());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_write_quorum_of_all_a_missing_replica_leaves_the_outcome_unknown() {
    let mut config = config(3, EngineKind::Memory);
    config.replication.write_quorum = Quorum::All;
    config.limits.request_timeout_ms = 1_000;
    let cluster = Cluster::with(config).await;
    cluster.put("a", None, "{}").await;
    let primary = cluster.primary().await;
    let other = cluster.nodes.keys().find(|node| **node != primary).unwrap().clone();
    cluster.cut(&other);
    let answer = cluster.nodes[&primary].write(SHARD, vec![put("b", None, "{}")]).await;
    assert_eq!(answer, Err(Refusal::UnknownOutcome { shard: SHARD }));
    cluster.mend();
    cluster.put("c", None, "{}").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_of_one_replica_works_and_comes_back() {
    let mut cluster = Cluster::with(config(1, EngineKind::Fjall)).await;
    cluster.put("a", None, "{}").await;
    cluster.stop_node(&name(1)).await;
    cluster.start_node(&name(1)).await;
    let only = cluster.primary().await;
    assert!(cluster.get(&only, "a", Consistency::Linearizable).await.unwrap().is_some());
    cluster.put("b", None, "{}").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sled_is_rebuilt_on_all_nodes_after_a_power_cut_of_all() {
    let mut config = config(3, EngineKind::Sled);
    config.storage.log_keep_bytes = 16 << 10;
    config.storage.segment_bytes = 1 << 16;
    let mut cluster = Cluster::with(config).await;
    let body = format!(r#"{{"v":"{}"}}"#, "x".repeat(4000));
    for n in 0..40 {
        cluster.put(&format!("d{n}"), None, &body).await;
    }
    eventually("a purge", || cluster.states().iter().all(|state| state.first.0 > 5).then_some(())).await;
    cluster.put("last", None, &body).await;
    let names: Vec<_> = cluster.nodes.keys().cloned().collect();
    for id in &names {
        cluster.stop_node(id).await;
    }
    for id in &names {
        // As if the host had gone down: another boot id, and no clean mark.
        std::fs::write(cluster.data().join(id.as_str()).join("shard-0/engine.mark"), "running elsewhere\n").unwrap();
    }
    for id in &names {
        cluster.start_node(id).await;
    }
    let primary = cluster.primary().await;
    for id in ["d0", "d39", "last"] {
        assert!(cluster.get(&primary, id, Consistency::Linearizable).await.unwrap().is_some(), "{id}");
    }
    cluster.agree().await;
    let kept = |id| !cluster.data().join::<&str>(id).join("damaged-shard-0-0").exists();
    assert!(names.iter().all(|id| kept(id.as_str())), "rebuilt from its own snapshot and log");
    cluster.stop().await;
}
