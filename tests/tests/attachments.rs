//! Attachments on a cluster of real processes: whole or not there, on every replica, and in nobody's way.

use std::time::Duration;

use common::ids::ShardId;
use harness::Result;
use harness::client::{Client, Failure, Reply};
use harness::cluster::{Cluster, PATIENCE};
use harness::layout::Layout;
use harness::scenario::{kills, scenario};
use http::Method;
use serde_json::json;
use tokio::time::Instant;

const DB: &str = "facts";

fn ensure(fact: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if fact { Ok(()) } else { Err(otherwise().into()) }
}

/// Bytes that differ from each other and from those of another seed.
fn bytes_of(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

async fn upload(client: &Client, path: &str, bytes: Vec<u8>) -> Result<Reply, Failure> {
    let kind = [("content-type", "application/octet-stream")];
    client.send(Method::PUT, path, &kind, bytes.into()).await
}

/// The replicas of all shards have the same documents and the same bytes of attachments.
async fn replicas_are_equal(cluster: &mut Cluster, shards: u32) -> Result<()> {
    let nodes: Vec<_> = cluster.layout().node_names().iter().map(|name| cluster.node(name)).collect();
    let db = nodes[0].db_uid(DB).await?;
    for shard in (0..shards).map(ShardId) {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut contents = Vec::new();
            for node in &nodes {
                contents.push(node.content(shard, db).await);
            }
            let first = contents[0].as_ref().ok();
            if first.is_some() && contents.iter().all(|content| content.as_ref().ok() == first) {
                break;
            }
            ensure(Instant::now() < until, || format!("shard {shard}: {contents:?}"))?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_through_the_kill_of_the_primary_is_whole_or_has_no_effect() {
    scenario(Layout::three(3).routers(2), async |cluster| {
        let (one, other) = (cluster.router(1), cluster.router(2));
        one.create_db(DB).await?;
        for round in 0..kills(4) {
            let seed = u32::try_from(round)?;
            let (doc, bytes) = (format!("/{DB}/d{round}"), bytes_of(seed, (8 << 20) + round));
            let rev = one.put(&doc, "{}").await?.expect(201)?;
            let (shard, rev) = (rev.shard().ok_or("no shard")?, rev.field("rev"));
            let primary = cluster.primary_of(shard).await?;
            let path = format!("{doc}/file.bin?rev={rev}");
            let uploading = upload(&one, &path, bytes.clone());
            let killing = async {
                tokio::time::sleep(Duration::from_millis(60 * (1 + round as u64 % 4))).await;
                cluster.kill(&primary);
            };
            let (reply, ()) = futures::join!(uploading, killing);
            cluster.restart(&primary)?;
            cluster.wait_healthy().await?;
            let answer = reply.map_or(0, |reply| reply.status.as_u16());
            println!("kill {round}: shard {shard}, primary {primary}, the upload answered {answer}");
            let read = other.get(&format!("{doc}/file.bin")).await?;
            match (answer, read.status.as_u16()) {
                (_, 200) => ensure(read.body == bytes, || format!("round {round}: other bytes came back"))?,
                (201, status) => {
                    return Err(format!("round {round}: acknowledged, and reading answers {status}").into());
                }
                (_, 404) => {}
                (_, status) => return Err(format!("round {round}: reading answers {status}: {}", read.text()).into()),
            }
        }
        replicas_are_equal(cluster, 3).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_an_empty_folder_gets_the_attachments_too() {
    scenario(Layout::three(1), async |cluster| {
        let client = cluster.router(1);
        client.create_db(DB).await?;
        for n in 0..4u32 {
            let path = format!("/{DB}/d{n}/file.bin");
            upload(&client, &path, bytes_of(n, 700_000 + n as usize)).await?.expect(201)?;
        }
        let primary = cluster.primary_of(0).await?;
        let names = cluster.layout().node_names();
        let wiped = names.iter().find(|name| **name != primary).ok_or("one node alone")?.clone();
        cluster.kill(&wiped);
        cluster.wipe(&wiped)?;
        cluster.restart(&wiped)?;
        cluster.wait_healthy().await?;
        replicas_are_equal(cluster, 1).await?;
        cluster.kill(&primary);
        cluster
            .wait_until(PATIENCE, |states| {
                let primary = harness::replica::primary_of(ShardId(0), states);
                if primary.is_some() { Ok(()) } else { Err("no primary".to_owned()) }
            })
            .await?;
        for n in 0..4u32 {
            let read = client.get(&format!("/{DB}/d{n}/file.bin")).await?.expect(200)?;
            ensure(read.body == bytes_of(n, 700_000 + n as usize), || format!("file {n} is another"))?;
        }
        Ok(())
    })
    .await;
}

/// Writes one small document after the other until told to stop; how long each took, in milliseconds, sorted.
async fn small_writes(client: &Client, name: &str, for_: Duration) -> Result<Vec<f64>> {
    let (until, mut took, mut rev) = (Instant::now() + for_, Vec::new(), None::<String>);
    while Instant::now() < until {
        let body = rev.map_or_else(|| json!({"n": 0}), |rev| json!({"_rev": rev, "n": took.len()}));
        let began = Instant::now();
        let reply = client.put(&format!("/{DB}/{name}"), body.to_string()).await?.expect(201)?;
        took.push(began.elapsed().as_secs_f64() * 1_000.0);
        rev = Some(reply.field("rev"));
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}

fn told(took: &[f64]) -> String {
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    format!("{} writes, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", took.len(), at(0.5), at(0.99), at(1.0))
}

#[tokio::test(flavor = "multi_thread")]
async fn small_writes_go_on_beside_a_large_upload() {
    scenario(Layout::three(1).routers(1), async |cluster| {
        let client = cluster.router(1);
        client.create_db(DB).await?;
        let alone = small_writes(&client, "alone", Duration::from_secs(3)).await?;
        let bytes = bytes_of(1, 64 << 20);
        let patient = client.clone().patience(Duration::from_secs(300));
        let began = Instant::now();
        let uploading = async {
            let reply = upload(&patient, &format!("/{DB}/large/file.bin"), bytes.clone()).await?.expect(201)?;
            Ok::<_, harness::Error>((reply, began.elapsed()))
        };
        let (uploaded, beside) = futures::join!(uploading, small_writes(&client, "beside", Duration::from_secs(3)));
        let ((_, took), beside) = (uploaded?, beside?);
        println!("alone: {}", told(&alone));
        println!("beside an upload of 64 MiB, which took {:.1} s: {}", took.as_secs_f64(), told(&beside));
        let read = patient.get(&format!("/{DB}/large/file.bin")).await?.expect(200)?;
        ensure(read.body == bytes, || "other bytes came back".to_owned())
    })
    .await;
}
