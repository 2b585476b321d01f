//! Replications over the death of routers and primaries: another router goes on, no change is missed.

use std::time::Duration;

use common::config::Config;
use harness::Result;
use harness::cluster::Cluster;
use harness::layout::Layout;
use harness::scenario::scenario;
use harness::sync::{Stubborn, differences, documents};
use serde_json::json;

fn quick(config: &mut Config) {
    (config.replicator.takeover_ms, config.replicator.checkpoint_interval_ms) = (2_000, 200);
}

/// Writes `count` documents to `a` with names of their own.
async fn write(at: &Stubborn, round: &str, count: usize) -> Result<()> {
    let docs: Vec<_> = (0..count).map(|n| json!({ "_id": format!("{round}-{n:04}"), "n": n })).collect();
    at.post("/_bulk_docs", &json!({ "docs": docs })).await.map(drop)
}

/// Waits until `b` holds what `a` holds.
async fn equal(cluster: &Cluster) -> Result<()> {
    let [a, b] = ["a", "b"].map(|db| Stubborn::new(&cluster.routers(), db));
    for _ in 0..600 {
        let found = differences(("a", &documents(&a).await?), ("b", &documents(&b).await?));
        if found.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err("b never held what a holds".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_router_goes_on_when_the_one_that_replicates_is_killed() {
    scenario(Layout::three(3).routers(2).tuned(quick), async |cluster| {
        let router = cluster.router(1);
        for db in ["a", "b"] {
            router.create_db(db).await?;
        }
        let wish = json!({ "source": "a", "target": "b", "continuous": true });
        router.put("/_replicator/live", wish.to_string()).await?.expect(201)?;
        let a = Stubborn::new(&cluster.routers(), "a");
        write(&a, "first", 200).await?;
        equal(cluster).await?;
        // One of the two runs it; whichever it is, it dies once while there is something to do.
        for victim in ["r1", "r2"] {
            write(&a, &format!("before-{victim}"), 200).await?;
            cluster.kill(victim);
            write(&a, &format!("after-{victim}"), 200).await?;
            equal(cluster).await?;
            cluster.restart(victim)?;
            cluster.wait_healthy().await?;
        }
        let primary = cluster.primary_of(0).await?;
        cluster.kill(&primary);
        write(&a, "without-a-primary", 100).await?;
        equal(cluster).await?;
        cluster.restart(&primary)
    })
    .await;
}
