//! Indexes of views on every replica: kept up to date where nobody asks, taken away when no view needs them.

use std::sync::Arc;
use std::time::Duration;

use common::command::{Command, Op, Outcome};
use common::ids::{DbUid, RequestId, Seq, ShardId};
use common::query::Consistency;
use common::refusal::Refusal;
use common::view::{Design, Group, Rows, ViewPage, ViewReply, ViewRequest};
use router::shard::transport::Transport;
use serde_json::{Value, json};

use crate::cluster::{Ask, TestCluster};

/// Longest wait for replicas that work on their own.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

async fn ok(cluster: &TestCluster, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answered = cluster.ask(&Ask::new(method, path, &body)).await;
    let status = answered.response.status();
    assert!(status.is_success(), "{method} {path}: {status} {}", answered.body);
    serde_json::from_str(&answered.body).unwrap_or(Value::Null)
}

async fn filled(cluster: &TestCluster, docs: u64) {
    ok(cluster, "PUT", "/db", &Value::Null).await;
    let docs: Vec<Value> = (0..docs).map(|n| json!({"_id": format!("doc-{n:04}"), "n": n})).collect();
    ok(cluster, "POST", "/db/_bulk_docs", &json!({ "docs": docs })).await;
}

fn design(times: u64) -> Value {
    json!({"views": {"v": {"map": format!("function (doc) {{ emit(doc.n * {times}, null) }}")}}})
}

fn group(design: &Value) -> Group {
    Design::parse(design.to_string().as_bytes()).expect("a design document").group
}

async fn rows(cluster: &TestCluster) -> usize {
    let answer = ok(cluster, "GET", "/db/_design/d/_view/v", &Value::Null).await;
    answer["rows"].as_array().expect("rows").len()
}

/// How far the index of a replica is, and how many rows it has, as it is now; `None` if it cannot tell yet.
async fn index(node: &dyn Transport, db: DbUid, shard: ShardId, group: &Group) -> Option<(Seq, u64)> {
    let rows = Rows {
        spans: Vec::new(),
        descending: false,
        after: None,
        limit: 1,
        docs: false,
        conflicts: false,
        count_before: false,
        reducing: None,
    };
    let request = ViewRequest {
        db,
        group: group.clone(),
        map: 0,
        consistency: Consistency::Eventual,
        last_resort: true,
        update: false,
        wait_ms: 0,
        rows,
    };
    let viewed = match node.view(shard, &request).await {
        // It has not heard of its primary often enough to know how old it is.
        Err(Refusal::TooFarBehind { .. }) => return None,
        viewed => viewed.expect("a page"),
    };
    let ViewReply::Page(ViewPage { seq, total, .. }) = viewed.reply else { panic!("no page: {:?}", viewed.reply) };
    Some((seq, total))
}

/// Waits until something holds of an index on every replica of every shard.
async fn everywhere(cluster: &TestCluster, group: &Group, shards: u32, holds: impl Fn(&[(Seq, u64)]) -> bool) {
    let (db, nodes) = (cluster.uid("db").await, cluster.transports());
    let all = async || {
        let mut all = Vec::new();
        for shard in (0..shards).map(ShardId) {
            let looks = nodes.iter().map(|node: &Arc<dyn Transport>| index(node.as_ref(), db, shard, group));
            all.push(futures::future::join_all(looks).await.into_iter().collect::<Option<Vec<_>>>());
        }
        all
    };
    let wait = async {
        while !all().await.iter().all(|replicas| replicas.as_ref().is_some_and(|replicas| holds(replicas))) {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!("after {PATIENCE:?} the replicas of the shards have {:?}", all().await);
    }
}

fn made(replicas: &[(Seq, u64)]) -> bool {
    replicas.iter().all(|replica| replica.0 > Seq(0) && replica.1 == replicas[0].1)
}

fn none(replicas: &[(Seq, u64)]) -> bool {
    replicas.iter().all(|replica| *replica == (Seq(0), 0))
}

/// Documents that replicas have put to map functions, all together.
async fn mapped(cluster: &TestCluster) -> u64 {
    let text = cluster.ask(&Ask::new("GET", "/_metrics", "")).await.body;
    let lines = text.lines().filter(|line| line.starts_with("quorate_view_documents_total{"));
    lines.map(|line| line.rsplit(' ').next().expect("a number").parse::<u64>().expect("a number")).sum()
}

/// Who leads each of two shards.
async fn primaries(cluster: &TestCluster) -> [Option<Value>; 2] {
    let state = ok(cluster, "GET", "/v1/_replication/state", &Value::Null).await;
    let replicas = state["replicas"].as_array().expect("replicas");
    [0, 1].map(|shard| {
        let mut leads = replicas.iter().filter(|row| row["shard"] == shard && row["role"] == "primary");
        leads.next().map(|row| row["node"].clone())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_the_first_query_finds_the_index_made() {
    let cluster = TestCluster::start(2, 3).await;
    filled(&cluster, 300).await;
    let design = design(1);
    ok(&cluster, "PUT", "/db/_design/d", &design).await;
    assert_eq!(rows(&cluster).await, 300);
    everywhere(&cluster, &group(&design), 2, made).await;
    let before = mapped(&cluster).await;
    assert_eq!(before, 900, "each replica has seen each document once");
    let led = primaries(&cluster).await;
    for shard in 0..2 {
        ok(&cluster, "POST", "/v1/_replication/promote", &json!({ "shard": shard })).await;
    }
    while primaries(&cluster).await.iter().zip(&led).any(|(now, before)| now.is_none() || now == before) {
        tokio::time::sleep(LOOK).await;
    }
    assert_eq!(rows(&cluster).await, 300);
    assert_eq!(mapped(&cluster).await, before, "nothing was left to be mapped");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_asked_on_is_kept_up_with_the_documents_everywhere() {
    let cluster = TestCluster::start(1, 3).await;
    filled(&cluster, 10).await;
    let design = design(1);
    ok(&cluster, "PUT", "/db/_design/d", &design).await;
    assert_eq!(rows(&cluster).await, 10);
    everywhere(&cluster, &group(&design), 1, made).await;
    for n in 0..5 {
        ok(&cluster, "PUT", &format!("/db/more-{n}"), &json!({ "n": n })).await;
    }
    assert_eq!(rows(&cluster).await, 15);
    everywhere(&cluster, &group(&design), 1, |replicas| made(replicas) && replicas[0].1 == 15).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleanup_takes_away_what_no_view_needs_on_every_replica() {
    let cluster = TestCluster::start(2, 3).await;
    filled(&cluster, 100).await;
    let (old, new) = (design(1), design(2));
    let written = ok(&cluster, "PUT", "/db/_design/d", &old).await;
    assert_eq!(rows(&cluster).await, 100);
    everywhere(&cluster, &group(&old), 2, made).await;
    ok(&cluster, "POST", "/db/_view_cleanup", &Value::Null).await;
    everywhere(&cluster, &group(&old), 2, made).await;

    let mut body = new.clone();
    body["_rev"] = written["rev"].clone();
    let written = ok(&cluster, "PUT", "/db/_design/d", &body).await;
    assert_eq!(rows(&cluster).await, 100);
    everywhere(&cluster, &group(&new), 2, made).await;
    everywhere(&cluster, &group(&old), 2, made).await;
    ok(&cluster, "POST", "/db/_view_cleanup", &Value::Null).await;
    everywhere(&cluster, &group(&old), 2, none).await;
    everywhere(&cluster, &group(&new), 2, made).await;
    assert_eq!(rows(&cluster).await, 100);

    let rev = written["rev"].as_str().expect("a revision");
    ok(&cluster, "DELETE", &format!("/db/_design/d?rev={rev}"), &Value::Null).await;
    ok(&cluster, "POST", "/db/_view_cleanup", &Value::Null).await;
    everywhere(&cluster, &group(&new), 2, none).await;
    // What went is made again for who asks for it again.
    ok(&cluster, "PUT", "/db/_design/d", &old).await;
    assert_eq!(rows(&cluster).await, 100);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_under_way_loses_no_row_to_a_cleanup() {
    let cluster = TestCluster::start(1, 3).await;
    filled(&cluster, 200).await;
    ok(&cluster, "PUT", "/db/_design/d", &design(1)).await;
    let db = cluster.uid("db").await;
    for round in 0..20 {
        let op = Op::KeepViews { db, signatures: Vec::new() };
        let command = Command { request: RequestId::from_key("cleanup", &round.to_string()), retry: false, op };
        let cleanup = async { cluster.write(ShardId(0), command).await };
        let (one, outcome, other) = futures::join!(rows(&cluster), cleanup, rows(&cluster));
        assert_eq!((one, outcome, other), (200, Outcome::Done, 200), "round {round}");
    }
    cluster.end().await;
}
