//! Partitions: each on one shard, and asked for alone.

use serde_json::{Value, json};

use crate::cluster::{Ask, TestCluster};

async fn ok(cluster: &TestCluster, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answered = cluster.ask(&Ask::new(method, path, &body)).await;
    assert!(answered.response.status().is_success(), "{method} {path}: {}", answered.body);
    serde_json::from_str(&answered.body).unwrap_or(Value::Null)
}

fn ids(answer: &Value) -> Vec<&str> {
    let rows = answer["rows"].as_array().or(answer["docs"].as_array()).expect("rows");
    rows.iter().filter_map(|row| row["id"].as_str().or(row["_id"].as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_counted_listed_and_queried_by_itself() {
    let cluster = TestCluster::start(3, 1).await;
    ok(&cluster, "PUT", "/db?partitioned=true", &Value::Null).await;
    // More than a page of the largest, and neighbours whose names begin alike.
    let mut docs: Vec<Value> = (0..1_500).map(|n| json!({"_id": format!("a:{n:04}"), "n": n})).collect();
    docs.extend(["a!:x", "a0:x", "aa:x", "b:x", "A:x"].map(|id| json!({"_id": id, "n": 7})));
    for docs in docs.chunks(500) {
        ok(&cluster, "POST", "/db/_bulk_docs", &json!({ "docs": docs })).await;
    }
    let winner = ok(&cluster, "GET", "/db/a:0003", &Value::Null).await;
    let rev = winner["_rev"].as_str().expect("a revision");
    ok(&cluster, "DELETE", &format!("/db/a:0003?rev={rev}"), &Value::Null).await;
    let info = ok(&cluster, "GET", "/db/_partition/a", &Value::Null).await;
    assert_eq!((info["doc_count"].as_u64(), info["doc_del_count"].as_u64()), (Some(1_499), Some(1)), "{info}");
    assert_eq!(info["sizes"]["external"].as_u64(), Some(10 * 7 + 90 * 8 + 900 * 9 + 500 * 10 - 7), "{info}");
    for neighbour in ["a!", "a0", "aa", "b", "A"] {
        let info = ok(&cluster, "GET", &format!("/db/_partition/{neighbour}"), &Value::Null).await;
        assert_eq!(info["doc_count"], 1, "{info}");
    }
    let listed = ok(&cluster, "GET", "/db/_partition/a/_all_docs", &Value::Null).await;
    let wanted: Vec<String> = (0..1_500).filter(|n| *n != 3).map(|n| format!("a:{n:04}")).collect();
    assert_eq!(ids(&listed), wanted);
    let path = "/db/_partition/a/_all_docs?descending=true&skip=1&limit=2&start_key=%22zzz%22";
    assert_eq!(ids(&ok(&cluster, "GET", path, &Value::Null).await), ["a:1498", "a:1497"]);
    let query = json!({"selector": {"n": 7}, "execution_stats": true});
    let found = ok(&cluster, "POST", "/db/_partition/a/_find", &query).await;
    assert_eq!(ids(&found), ["a:0007"]);
    assert_eq!(found["execution_stats"]["total_keys_examined"], 1_499, "no other partition was looked at");
    cluster.end().await;
}
