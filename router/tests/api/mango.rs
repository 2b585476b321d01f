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
