//! Queries by selector over several shards.

use serde_json::{Value, json};

use crate::cluster::{Ask, TestCluster};

async fn ask(cluster: &TestCluster, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answered = cluster.ask(&Ask::new(method, path, &body)).await;
    (answered.response.status().as_u16(), serde_json::from_str(&answered.body).unwrap_or(Value::Null))
}

async fn find(cluster: &TestCluster, body: &Value) -> Value {
    let (status, answer) = ask(cluster, "POST", "/db/_find", body).await;
    assert_eq!(status, 200, "{body}: {answer}");
    answer
}

async fn write(cluster: &TestCluster, docs: Vec<Value>) {
    for docs in docs.chunks(500) {
        let (status, answer) = ask(cluster, "POST", "/db/_bulk_docs", &json!({ "docs": docs })).await;
        assert_eq!(status, 201, "{answer}");
    }
}

fn ids(answer: &Value) -> Vec<String> {
    let docs = answer["docs"].as_array().expect("documents");
    docs.iter().map(|doc| doc["_id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_query_over_all_shards_are_in_order_and_whole() {
    let cluster = TestCluster::start(3, 1).await;
    ask(&cluster, "PUT", "/db", &Value::Null).await;
    let mut docs: Vec<Value> =
        (0..100).map(|n| json!({"_id": format!("d{n:03}"), "n": n, "even": n % 2 == 0})).collect();
    docs.push(json!({"_id": "_design/d", "even": true}));
    docs.push(json!({"_id": "dead", "even": true, "_deleted": true}));
    write(&cluster, docs).await;
    let even: Vec<String> = (0..100).step_by(2).map(|n| format!("d{n:03}")).collect();
    for (sort, wanted) in [("asc", even.clone()), ("desc", even.iter().rev().cloned().collect())] {
        let mut body = json!({
            "selector": {"even": true, "_id": {"$gt": null}}, "fields": ["_id"], "limit": 7, "sort": [{"_id": sort}],
        });
        let mut seen = Vec::new();
        loop {
            let answer = find(&cluster, &body).await;
            let page = ids(&answer);
            if page.is_empty() {
                assert_eq!(answer["bookmark"], body["bookmark"], "the end says where it is");
                break;
            }
            seen.extend(page);
            body["bookmark"] = answer["bookmark"].clone();
        }
        assert_eq!(seen, wanted, "{sort}");
    }
    let answer = find(&cluster, &json!({"selector": {"even": true}, "skip": 45, "fields": ["n"]})).await;
    assert_eq!(answer["docs"], json!([{"n": 90}, {"n": 92}, {"n": 94}, {"n": 96}, {"n": 98}]));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_looks_through_everything_in_many_steps() {
    let cluster = TestCluster::start(3, 1).await;
    ask(&cluster, "PUT", "/db", &Value::Null).await;
    write(&cluster, (0..4_000).map(|n| json!({"_id": format!("d{n}"), "n": n})).collect()).await;
    let stats = |answer: &Value| {
        let stats = &answer["execution_stats"];
        assert!(stats["execution_time_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{stats}");
        ["total_keys_examined", "total_docs_examined", "total_quorum_docs_examined", "results_returned"]
            .map(|name| stats[name].as_u64().expect("a number"))
    };
    let body = |selector: Value| json!({"selector": selector, "execution_stats": true, "limit": 5_000});
    let answer = find(&cluster, &body(json!({"n": 3_999}))).await;
    assert_eq!(ids(&answer), ["d3999"]);
    assert_eq!(stats(&answer), [4_000, 4_000, 0, 1]);
    let mut quorum = body(json!({"n": -1}));
    quorum["r"] = json!(3);
    let answer = find(&cluster, &quorum).await;
    assert_eq!((ids(&answer), &answer["bookmark"]), (Vec::new(), &json!("nil")));
    assert_eq!(stats(&answer), [4_000, 0, 4_000, 0]);
    let answer = find(&cluster, &body(json!({"_id": {"$gte": "d3990", "$lt": "d3999"}}))).await;
    assert_eq!(stats(&answer), [9, 9, 0, 9]);
    let answer = find(&cluster, &body(json!({}))).await;
    assert_eq!(ids(&answer).len(), 4_000);
    let answer = find(&cluster, &body(json!({"$or": []}))).await;
    assert_eq!(stats(&answer), [0, 0, 0, 0]);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_one_partition_asks_its_shard_alone() {
    let cluster = TestCluster::start(3, 1).await;
    ask(&cluster, "PUT", "/db?partitioned=true", &Value::Null).await;
    let docs = (0..40).flat_map(|n| ["a", "b", "ab"].map(|name| json!({"_id": format!("{name}:{n:02}"), "n": n})));
    write(&cluster, docs.collect()).await;
    let body = json!({"selector": {"n": {"$lt": 3}}, "partition": "a", "execution_stats": true});
    let answer = find(&cluster, &body).await;
    assert_eq!(ids(&answer), ["a:00", "a:01", "a:02"]);
    assert_eq!(answer["execution_stats"]["total_keys_examined"], 40);
    cluster.end().await;
}

/// Waits until an index is used.
async fn until_made(cluster: &TestCluster, query: &Value, name: &str) {
    let mut explained = Value::Null;
    for _ in 0..3_000 {
        let (status, answer) = ask(cluster, "POST", "/db/_explain", query).await;
        assert_eq!(status, 200, "{answer}");
        if answer["index"]["name"] == name {
            return;
        }
        explained = answer;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{name} is not used: {explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_made_of_what_is_there_and_kept_by_every_write() {
    let cluster = TestCluster::start(3, 1).await;
    ask(&cluster, "PUT", "/db", &Value::Null).await;
    write(&cluster, (0..3_000).map(|n| json!({"_id": format!("d{n}"), "n": 2_999 - n, "t": n % 7})).collect()).await;
    let index = json!({"index": {"fields": ["n"]}, "ddoc": "by", "name": "n"});
    let (status, answer) = ask(&cluster, "POST", "/db/_index", &index).await;
    assert_eq!((status, &answer["result"]), (200, &json!("created")), "{answer}");
    let mut query = json!({
        "selector": {"n": {"$gt": 1_499}, "t": {"$lt": 5}}, "sort": ["n"], "fields": ["n"],
        "limit": 100, "execution_stats": true,
    });
    until_made(&cluster, &query, "n").await;
    let mut seen = Vec::new();
    loop {
        let answer = find(&cluster, &query).await;
        assert!(answer["warning"].is_null(), "{answer}");
        let page = answer["docs"].as_array().expect("documents").clone();
        if page.is_empty() {
            break;
        }
        assert!(answer["execution_stats"]["total_keys_examined"].as_u64() <= Some(450), "{answer}");
        seen.extend(page.into_iter().map(|doc| doc["n"].as_u64().expect("a number")));
        query["bookmark"] = answer["bookmark"].clone();
    }
    let wanted: Vec<u64> = (1_500..3_000).filter(|n| (2_999 - n) % 7 < 5).collect();
    assert_eq!(seen, wanted);
    for n in 0..30 {
        let path = format!("/db/x{n}");
        let (_, written) = ask(&cluster, "PUT", &path, &json!({"n": -1 - n, "t": 0})).await;
        let least = json!({"selector": {"n": {"$lt": 0}}, "sort": ["n"], "limit": 1});
        assert_eq!(ids(&find(&cluster, &least).await), [format!("x{n}")], "what was acknowledged is found");
        if n % 2 == 0 {
            let rev = written["rev"].as_str().expect("a revision");
            ask(&cluster, "DELETE", &format!("{path}?rev={rev}"), &Value::Null).await;
            assert_ne!(ids(&find(&cluster, &least).await), [format!("x{n}")], "what was deleted is not");
        }
    }
    let (status, _) = ask(&cluster, "DELETE", "/db/_index/by/json/n", &Value::Null).await;
    assert_eq!(status, 200);
    let (status, answer) = ask(&cluster, "POST", "/db/_find", &json!({"selector": {"n": 1}, "sort": ["n"]})).await;
    assert_eq!((status, &answer["error"]), (400, &json!("no_usable_index")));
    assert_eq!(ids(&find(&cluster, &json!({"selector": {"n": 2_999}})).await), ["d0"]);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_came_as_a_document_is_one_and_changes_with_it() {
    let cluster = TestCluster::start(3, 1).await;
    ask(&cluster, "PUT", "/db", &Value::Null).await;
    write(&cluster, (0..50).map(|n| json!({"_id": format!("d{n:02}"), "a": n % 5, "b": [n]})).collect()).await;
    let ddoc = |field: &str| {
        json!({"_id": "_design/q", "language": "query", "views": {
            "i": {"map": {"fields": {field: "asc"}}, "options": {}},
        }})
    };
    write(&cluster, vec![ddoc("a")]).await;
    let query = |field: &str| json!({"selector": {field: {"$gte": 0}}, "sort": [field], "limit": 50});
    until_made(&cluster, &query("a"), "i").await;
    let by_a = ids(&find(&cluster, &query("a")).await);
    let mut wanted: Vec<(usize, String)> = (0..50).map(|n| (n % 5, format!("d{n:02}"))).collect();
    wanted.sort();
    assert_eq!(by_a, wanted.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
    let (_, old) = ask(&cluster, "GET", "/db/_design/q", &Value::Null).await;
    let mut changed = ddoc("b");
    changed["_rev"] = old["_rev"].clone();
    write(&cluster, vec![changed]).await;
    until_made(&cluster, &query("b"), "i").await;
    assert_eq!(ids(&find(&cluster, &query("b")).await), (0..50).map(|n| format!("d{n:02}")).collect::<Vec<_>>());
    let (status, _) = ask(&cluster, "POST", "/db/_find", &query("a")).await;
    assert_eq!(status, 400);
    cluster.end().await;
}
