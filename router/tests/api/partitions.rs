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

/// What is in a feed: ids in order.
fn changed(answer: &Value) -> Vec<&str> {
    answer["results"].as_array().expect("rows").iter().filter_map(|row| row["id"].as_str()).collect()
}

fn token(answer: &Value) -> &str {
    answer["last_seq"].as_str().expect("a token")
}

/// A database with documents `{partition}:{number}`, a partition after the other in turn.
async fn interleaved(cluster: &TestCluster, partitions: &[&str], each: usize) {
    ok(cluster, "PUT", "/db?partitioned=true", &Value::Null).await;
    let docs: Vec<Value> = (0..each)
        .flat_map(|n| partitions.iter().map(move |name| json!({"_id": format!("{name}:{n:04}"), "n": n})))
        .collect();
    for docs in docs.chunks(500) {
        ok(cluster, "POST", "/db/_bulk_docs", &json!({ "docs": docs })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_has_a_feed_of_its_own() {
    let cluster = TestCluster::start(3, 1).await;
    interleaved(&cluster, &["a", "a!", "b"], 1_200).await;
    ok(&cluster, "PUT", "/db/_design/a:x", &json!({})).await;
    let wanted: Vec<String> = (0..1_200).map(|n| format!("a:{n:04}")).collect();
    let feed = "/db/_partition/a/_changes";
    let whole = ok(&cluster, "GET", feed, &Value::Null).await;
    assert_eq!(changed(&whole), wanted);
    assert_eq!(whole["pending"], 0);
    let (mut since, mut seen) = ("0".to_owned(), Vec::new());
    while seen.len() < 1_200 {
        let page = ok(&cluster, "GET", &format!("{feed}?limit=500&since={since}"), &Value::Null).await;
        seen.extend(changed(&page).into_iter().map(str::to_owned));
        since = token(&page).to_owned();
        assert_eq!(page["pending"].as_u64(), Some(1_200 - seen.len() as u64));
    }
    assert_eq!(seen, wanted);
    let backwards =
        ok(&cluster, "GET", &format!("{feed}?descending=true&include_docs=true&limit=2"), &Value::Null).await;
    assert_eq!(changed(&backwards), ["a:1199", "a:1198"]);
    assert_eq!(backwards["results"][0]["doc"]["n"], 1_199);
    let few = ok(&cluster, "POST", &format!("{feed}?filter=_doc_ids"), &json!({"doc_ids": ["a:0003", "b:0003"]})).await;
    assert_eq!(changed(&few), ["a:0003"]);
    let selector = json!({"selector": {"n": {"$gte": 1_198}}});
    let matching = ok(&cluster, "POST", &format!("{feed}?filter=_selector"), &selector).await;
    assert_eq!(changed(&matching), ["a:1198", "a:1199"]);
    let rev = ok(&cluster, "GET", "/db/a:0003", &Value::Null).await["_rev"].as_str().expect("a revision").to_owned();
    ok(&cluster, "DELETE", &format!("/db/a:0003?rev={rev}"), &Value::Null).await;
    let news = ok(&cluster, "GET", &format!("{feed}?since={since}"), &Value::Null).await;
    assert_eq!((changed(&news), &news["results"][0]["deleted"]), (vec!["a:0003"], &Value::from(true)));
    let sparse = ok(&cluster, "GET", &format!("{feed}?seq_interval=2&limit=4"), &Value::Null).await;
    let seqs = sparse["results"].as_array().expect("rows").iter().map(|row| row["seq"].is_null());
    assert_eq!(seqs.collect::<Vec<_>>(), [false, true, false, true]);
    for (path, status) in [
        ("/db/_partition/nobody/_changes", 200),
        ("/db/_partition/_a/_changes", 400),
        ("/db/_partition/a/_changes?partition=b", 400),
        ("/none/_partition/a/_changes", 404),
    ] {
        assert_eq!(cluster.ask(&Ask::new("GET", path, "")).await.response.status(), status, "{path}");
    }
    let put = cluster.ask(&Ask::new("PUT", feed, "{}")).await;
    assert_eq!(put.response.status(), 405);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_in_one_feed_is_understood_by_another_or_refused() {
    let cluster = TestCluster::start(3, 1).await;
    interleaved(&cluster, &["a", "b", "c"], 10).await;
    let of_db = ok(&cluster, "GET", "/db/_changes", &Value::Null).await;
    let of_a = ok(&cluster, "GET", "/db/_partition/a/_changes?limit=4", &Value::Null).await;
    let feed = |of: &str, since: &str| match of {
        "" => Ask::new("GET", &format!("/db/_changes?since={since}"), ""),
        of => Ask::new("GET", &format!("/db/_partition/{of}/_changes?since={since}"), ""),
    };
    // Who has seen all of the database has seen all of a partition.
    for of in ["a", "b"] {
        let rest = cluster.ask(&feed(of, token(&of_db))).await;
        assert!(rest.body.starts_with("{\"results\":[\n\n],"), "{}", rest.body);
    }
    for of in ["", "b"] {
        let refused = cluster.ask(&feed(of, token(&of_a))).await;
        assert_eq!(refused.response.status(), 400, "{of}: {}", refused.body);
        assert!(refused.body.contains("of the feed of another partition"), "{}", refused.body);
    }
    // Another router goes on from there, also from a browser's header.
    let other = cluster.router(|_| {}, std::sync::Arc::new(|| 1_700_000_000_000));
    let mut resumed = feed("a", "0");
    resumed.headers.push(("last-event-id".to_owned(), format!("\"{}\"", token(&of_a))));
    for ask in [feed("a", token(&of_a)), resumed] {
        let answered = other.ask(&ask).await;
        let rest: Value = serde_json::from_str(&answered.body).expect("JSON");
        assert_eq!(changed(&rest), ["a:0004", "a:0005", "a:0006", "a:0007", "a:0008", "a:0009"]);
    }
    // A database made again has another feed.
    let stale = token(&of_a).to_owned();
    ok(&cluster, "DELETE", "/db", &Value::Null).await;
    interleaved(&cluster, &["a"], 3).await;
    let answered = cluster.ask(&feed("a", &stale)).await;
    let anew: Value = serde_json::from_str(&answered.body).expect("JSON");
    assert_eq!(changed(&anew), ["a:0000", "a:0001", "a:0002"]);
    other.end().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitions_feed_waits_for_its_own_changes() {
    let cluster = TestCluster::start(3, 1).await;
    interleaved(&cluster, &["a", "b"], 3).await;
    let writing = async {
        for n in 0..20 {
            ok(&cluster, "PUT", &format!("/db/b:new{n}"), &json!({})).await;
        }
        ok(&cluster, "PUT", "/db/a:new", &json!({})).await;
    };
    let start = ok(&cluster, "GET", "/db/_partition/a/_changes?since=now", &Value::Null).await;
    let poll = format!("/db/_partition/a/_changes?feed=longpoll&timeout=600000&heartbeat=50&since={}", token(&start));
    let (polled, ()) = tokio::join!(ok(&cluster, "GET", &poll, &Value::Null), writing);
    assert_eq!(changed(&polled), ["a:new"]);
    for (feed, rows) in [("continuous", "\n{\"seq\""), ("eventsource", "\nid: \"")] {
        let path = format!("/db/_partition/a/_changes?feed={feed}&timeout=1");
        let answered = cluster.ask(&Ask::new("GET", &path, "")).await;
        assert_eq!(answered.body.matches(rows).count() + usize::from(feed == "continuous"), 4, "{}", answered.body);
        assert!(!answered.body.contains("\"b:"), "{}", answered.body);
    }
    cluster.end().await;
}

/// Status and body of `_bulk_docs` with `atomic`.
async fn together(cluster: &TestCluster, key: Option<&str>, docs: Value) -> (u16, Value) {
    let mut ask = Ask::new("POST", "/db/_bulk_docs", &json!({ "docs": docs, "atomic": true }).to_string());
    ask.headers.extend(key.map(|key| ("idempotency-key".to_owned(), key.to_owned())));
    let answered = cluster.ask(&ask).await;
    (answered.response.status().as_u16(), serde_json::from_str(&answered.body).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_is_written_as_a_whole_or_not_at_all() {
    let cluster = TestCluster::start(3, 3).await;
    interleaved(&cluster, &["p"], 2).await;
    let index = json!({"index": {"fields": ["n"]}, "name": "by-n"});
    ok(&cluster, "POST", "/db/_index", &index).await;
    let count = async || {
        let info = ok(&cluster, "GET", "/db/_partition/p", &Value::Null).await;
        let found = ok(&cluster, "POST", "/db/_find", &json!({"selector": {"n": 9}, "limit": 100})).await;
        let feed = ok(&cluster, "GET", "/db/_partition/p/_changes", &Value::Null).await;
        (info["doc_count"].as_u64().expect("a number"), ids(&found).len(), changed(&feed).len())
    };
    let refused =
        together(&cluster, None, json!([{"_id": "p:x", "n": 9}, {"_id": "p:0000", "n": 9}, {"_id": "p:y"}])).await;
    let another =
        |id| json!({"id": id, "error": "not_written", "reason": "Another document of the batch could not be written."});
    let conflict = json!({"id": "p:0000", "error": "conflict", "reason": "Document update conflict."});
    assert_eq!(refused, (409, json!([another("p:x"), conflict, another("p:y")])));
    assert_eq!(count().await, (2, 0, 2));
    let batch = || json!([{"_id": "p:x", "n": 9}, {"_id": "p:y", "n": 9}, {"_id": "p:z", "n": 9, "_deleted": true}]);
    let (status, first) = together(&cluster, Some("k"), batch()).await;
    assert_eq!((status, first[0]["ok"].as_bool(), first[2]["id"].as_str()), (201, Some(true), Some("p:z")));
    assert_eq!(count().await, (4, 2, 5));
    // Repeated under its key it is answered as before, whatever was written since; without it, it is another batch.
    let rev = first[0]["rev"].as_str().expect("a revision");
    ok(&cluster, "PUT", &format!("/db/p:x?rev={rev}"), &json!({"n": 9})).await;
    assert_eq!(together(&cluster, Some("k"), batch()).await, (201, first.clone()));
    assert_eq!(together(&cluster, None, batch()).await.0, 409);
    assert_eq!(count().await, (4, 2, 5));
    let twice = together(&cluster, None, json!([{"_id": "p:t"}, {"_id": "p:t"}])).await;
    assert_eq!((twice.0, &twice.1[0]["error"], &twice.1[1]["error"]), (409, &json!("not_written"), &json!("conflict")));
    for (docs, status) in [
        (json!([]), 201),
        (json!([{"_id": "p:1"}, {"_id": "q:1"}]), 400),
        (json!([{"_id": "p:1"}, {"_id": "_design/d"}]), 400),
        (json!([{"_id": "_local/d"}]), 400),
        (json!([{"n": 1}]), 400),
        (json!([{"_id": "plain"}]), 400),
        (json!((0..1_001).map(|n| json!({"_id": format!("p:{n}")})).collect::<Vec<_>>()), 413),
        (json!([{"_id": "p:1", "x": "y".repeat(5 << 20)}]), 413),
    ] {
        let (got, body) = together(&cluster, None, docs).await;
        assert_eq!(got, status, "{body}");
    }
    let grafts = json!({"docs": [{"_id": "p:g", "_rev": "1-x"}], "atomic": true, "new_edits": false});
    let grafted = cluster.ask(&Ask::new("POST", "/db/_bulk_docs", &grafts.to_string())).await;
    assert_eq!(grafted.response.status(), 400, "{}", grafted.body);
    assert_eq!(count().await, (4, 2, 5));
    cluster.end().await;
}
