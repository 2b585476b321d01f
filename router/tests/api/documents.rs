//! What becomes of old revisions: compaction, stemming, purges, over several shards.

use serde_json::{Value, json};

use crate::cluster::{Ask, TestCluster};

async fn ask(cluster: &TestCluster, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answered = cluster.ask(&Ask::new(method, path, &body)).await;
    (answered.response.status().as_u16(), serde_json::from_str(&answered.body).unwrap_or(Value::Null))
}

async fn get(cluster: &TestCluster, path: &str) -> Value {
    let (status, answer) = ask(cluster, "GET", path, &Value::Null).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// Writes versions of a document, one on the other; their revisions, oldest first.
async fn versions(cluster: &TestCluster, path: &str, count: usize) -> Vec<String> {
    let mut revs: Vec<String> = Vec::new();
    for n in 0..count {
        let mut doc = json!({ "n": n });
        if let Some(rev) = revs.last() {
            doc["_rev"] = json!(rev);
        }
        let (status, answer) = ask(cluster, "PUT", path, &doc).await;
        assert_eq!(status, 201, "{answer}");
        revs.push(answer["rev"].as_str().expect("a revision").to_owned());
    }
    revs
}

/// Waits until what is asked for again and again is so.
async fn until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    while !is_so().await {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_bodies_are_readable_until_compaction_and_leaves_for_ever() {
    let cluster = TestCluster::start(3, 1).await;
    ask(&cluster, "PUT", "/db", &Value::Null).await;
    let mut all = Vec::new();
    for n in 0..20 {
        all.push(versions(&cluster, &format!("/db/d{n}"), 3).await);
    }
    let conflict = json!({"new_edits": false, "docs": [{"_id": "d0", "_rev": "3-0", "lost": true}]});
    ask(&cluster, "POST", "/db/_bulk_docs", &conflict).await;
    let old = format!("/db/d7?rev={}", all[7][0]);
    assert_eq!(get(&cluster, &old).await["n"], 0);
    let feed = get(&cluster, "/db/_changes?style=all_docs").await;

    let (status, answer) = ask(&cluster, "POST", "/db/_compact", &json!({})).await;
    assert_eq!((status, answer), (202, json!({"ok": true})));
    until(async || get(&cluster, "/db").await["compact_running"] == false).await;
    for (n, revs) in all.iter().enumerate() {
        for rev in &revs[..2] {
            let (status, answer) = ask(&cluster, "GET", &format!("/db/d{n}?rev={rev}"), &Value::Null).await;
            assert_eq!((status, &answer["reason"]), (404, &json!("missing")));
        }
        let doc = get(&cluster, &format!("/db/d{n}?revs_info=true&revs=true&rev={}", revs[2])).await;
        let statuses: Vec<&str> =
            doc["_revs_info"].as_array().expect("infos").iter().filter_map(|info| info["status"].as_str()).collect();
        assert_eq!((&doc["n"], statuses), (&json!(2), vec!["available", "missing", "missing"]));
        assert_eq!(doc["_revisions"]["ids"].as_array().map(Vec::len), Some(3), "the tree stays whole");
    }
    assert_eq!(get(&cluster, "/db/d0?rev=3-0").await["lost"], true);
    assert_eq!(get(&cluster, "/db/_changes?style=all_docs").await, feed, "nothing that a feed shows has changed");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revs_limit_bounds_the_tree_and_the_bodies() {
    let cluster = TestCluster::start(1, 1).await;
    ask(&cluster, "PUT", "/db", &Value::Null).await;
    assert_eq!(ask(&cluster, "PUT", "/db/_revs_limit", &json!(3)).await.0, 200);
    let revs = versions(&cluster, "/db/d", 6).await;
    let doc = get(&cluster, "/db/d?revs=true").await;
    let kept: Vec<String> =
        revs.iter().rev().take(3).map(|rev| rev.split_once('-').expect("N-hash").1.into()).collect();
    assert_eq!(doc["_revisions"], json!({"start": 6, "ids": kept}));
    assert_eq!(ask(&cluster, "GET", &format!("/db/d?rev={}", revs[2]), &Value::Null).await.0, 404);
    assert_eq!(get(&cluster, &format!("/db/d?rev={}", revs[3])).await["n"], 3);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_effect_once_under_its_key() {
    let cluster = TestCluster::start(3, 1).await;
    ask(&cluster, "PUT", "/db", &Value::Null).await;
    let rev = versions(&cluster, "/db/a", 1).await.remove(0);
    versions(&cluster, "/db/b", 2).await;
    let mut purge = Ask::new("POST", "/db/_purge", &json!({"a": [rev], "b": ["9-x"]}).to_string());
    purge.headers.push(("idempotency-key".to_owned(), "once".to_owned()));
    let first = cluster.ask(&purge).await.body;
    assert_eq!(serde_json::from_str::<Value>(&first).expect("JSON")["purged"], json!({"a": [rev], "b": []}));
    assert_eq!(versions(&cluster, "/db/a", 1).await, [rev], "the same edit gives the same revision again");
    assert_eq!(cluster.ask(&purge).await.body, first);
    assert_eq!(get(&cluster, "/db/a").await["n"], 0, "what came later is still there");
    let info = get(&cluster, "/db").await;
    assert!(info["purge_seq"].as_str().expect("a token").starts_with("2-"), "{info}");
    assert_eq!(info["doc_count"], 2);
    cluster.end().await;
}
