//! What the API promises over several shards: order, paging, tokens, limits, and no half answers.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use crate::cluster::{Answered, Ask, TestCluster};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

async fn get(cluster: &TestCluster, path: &str) -> Answered {
    cluster.ask(&Ask::new("GET", path, "")).await
}

async fn ok(cluster: &TestCluster, method: &str, path: &str, body: &str) -> Value {
    let answered = cluster.ask(&Ask::new(method, path, body)).await;
    assert!(answered.response.status().is_success(), "{method} {path}: {}", answered.body);
    serde_json::from_str(&answered.body).unwrap_or(Value::Null)
}

/// A database `db` with documents `d0000` … in batches.
async fn filled(cluster: &TestCluster, count: usize) {
    ok(cluster, "PUT", "/db", "").await;
    let ids: Vec<String> = (0..count).map(|n| format!("d{n:04}")).collect();
    for batch in ids.chunks(500) {
        let mut docs = String::new();
        for id in batch {
            write!(docs, "{{\"_id\":\"{id}\",\"n\":1}},").expect("a string takes it");
        }
        let body = format!("{{\"docs\":[{}]}}", docs.trim_end_matches(','));
        let rows = ok(cluster, "POST", "/db/_bulk_docs", &body).await;
        let rows = rows.as_array().expect("rows").clone();
        let written: Vec<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
        assert_eq!(written, batch, "rows come in the order of the documents");
        assert!(rows.iter().all(|row| row["ok"] == true));
    }
}

fn ids(answer: &Value) -> Vec<String> {
    let rows = answer["rows"].as_array().or(answer["results"].as_array()).expect("rows");
    rows.iter().filter_map(|row| Some(row["id"].as_str()?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_one_sorted_stream_over_all_shards_and_pages() {
    let cluster = TestCluster::start(3, 1).await;
    filled(&cluster, 3_500).await;
    let all: Vec<String> = (0..3_500).map(|n| format!("d{n:04}")).collect();
    let answer = ok(&cluster, "GET", "/db/_all_docs", "").await;
    assert_eq!((answer["total_rows"].as_u64(), answer["offset"].as_u64()), (Some(3_500), Some(0)));
    assert_eq!(ids(&answer), all);
    let answer = ok(&cluster, "GET", "/db/_all_docs?descending=true&skip=10&limit=1200&include_docs=true", "").await;
    let wanted: Vec<String> = all.iter().rev().skip(10).take(1_200).cloned().collect();
    assert_eq!(ids(&answer), wanted);
    assert_eq!(answer["rows"][0]["doc"]["n"], 1);
    let answer = ok(&cluster, "GET", "/db/_all_docs?start_key=%22d0100%22&end_key=%22d0102%22", "").await;
    assert_eq!((ids(&answer), answer["offset"].as_u64()), (all[100..=102].to_vec(), Some(100)));
    let keys: Vec<&String> = all.iter().rev().step_by(7).collect();
    let body = serde_json::json!({ "keys": keys }).to_string();
    let answer = ok(&cluster, "POST", "/db/_all_docs", &body).await;
    assert_eq!(ids(&answer).iter().collect::<Vec<_>>(), keys);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_lets_a_feed_wait_for_what_it_matches() {
    let cluster = TestCluster::start(3, 1).await;
    filled(&cluster, 2_500).await;
    let none = r#"{"selector":{"n":{"$gt":5}}}"#;
    let begun = ok(&cluster, "POST", "/db/_changes?filter=_selector", none).await;
    assert_eq!((ids(&begun), begun["pending"].as_u64()), (Vec::new(), Some(0)));
    let since = begun["last_seq"].as_str().expect("a token").to_owned();
    assert!(since.starts_with("2500-"), "what was passed over lies behind the token: {since}");
    let path = format!("/db/_changes?filter=_selector&feed=longpoll&timeout=600000&heartbeat=20&since={since}");
    let writing = async {
        for n in 0..60 {
            ok(&cluster, "PUT", &format!("/db/passed{n}"), r#"{"n":2}"#).await;
        }
        ok(&cluster, "PUT", "/db/found", r#"{"n":6}"#).await;
    };
    let (news, ()) = tokio::join!(ok(&cluster, "POST", &path, none), writing);
    assert_eq!(ids(&news), ["found"]);
    let since = news["last_seq"].as_str().expect("a token");
    let path = format!("/db/_changes?filter=_selector&feed=longpoll&timeout=1&since={since}");
    let rest = ok(&cluster, "POST", &path, none).await;
    assert_eq!(ids(&rest), Vec::<String>::new());
    assert!(rest["last_seq"].as_str().is_some_and(|seq| seq.starts_with("2561-")), "{rest}");
    let path = "/db/_changes?filter=_selector&include_docs=true&limit=3";
    let page = ok(&cluster, "POST", path, r#"{"selector":{"n":{"$in":[2,6]}}}"#).await;
    assert_eq!((ids(&page).len(), page["results"][2]["doc"]["n"].as_u64()), (3, Some(2)));
    let pending = page["pending"].as_u64().expect("a number");
    assert!((58..2_561).contains(&pending), "{pending}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_shows_every_document_once_and_resumes_anywhere() {
    let cluster = TestCluster::start(3, 1).await;
    filled(&cluster, 2_500).await;
    let answer = ok(&cluster, "GET", "/db/_changes", "").await;
    assert_eq!(answer["pending"], 0);
    let whole = ids(&answer);
    assert_eq!(whole.len(), 2_500);
    assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), 2_500);
    let (mut since, mut seen) = ("0".to_owned(), Vec::new());
    loop {
        let page = ok(&cluster, "GET", &format!("/db/_changes?limit=700&since={since}"), "").await;
        seen.extend(ids(&page));
        since = page["last_seq"].as_str().expect("a token").to_owned();
        let pending = page["pending"].as_u64().expect("a number");
        assert_eq!(pending as usize, 2_500 - seen.len());
        if pending == 0 {
            break;
        }
    }
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), whole.iter().cloned().collect());
    let mut backwards = ids(&ok(&cluster, "GET", "/db/_changes?descending=true", "").await);
    assert_eq!(backwards.len(), 2_500);
    backwards.sort();
    backwards.dedup();
    assert_eq!(backwards.len(), 2_500);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_database_that_was_made_again_starts_from_zero() {
    let cluster = TestCluster::start(3, 1).await;
    filled(&cluster, 30).await;
    let last = ok(&cluster, "GET", "/db/_changes", "").await["last_seq"].as_str().expect("a token").to_owned();
    let since = format!("/db/_changes?since={last}");
    assert_eq!(ids(&ok(&cluster, "GET", &since, "").await), [""; 0]);
    ok(&cluster, "DELETE", "/db", "").await;
    filled(&cluster, 40).await;
    for feed in ["normal", "longpoll", "continuous&timeout=0"] {
        let path = format!("{since}&feed={feed}");
        let answered = get(&cluster, &path).await;
        assert_eq!(answered.response.status(), 200, "{}", answered.body);
        let rows = answered.body.matches("\"changes\":").count();
        assert_eq!(rows, 40, "{feed}: {}", answered.body);
    }
    ok(&cluster, "PUT", "/other", "").await;
    ok(&cluster, "PUT", "/other/x", "{}").await;
    assert_eq!(ids(&ok(&cluster, "GET", &format!("/other/_changes?since={last}"), "").await), ["x"]);
    for since in ["0", "", "%220%22"] {
        assert_eq!(ids(&ok(&cluster, "GET", &format!("/other/_changes?since={since}"), "").await), ["x"]);
    }
    assert_eq!(ids(&ok(&cluster, "GET", "/other/_changes?since=now", "").await), [""; 0]);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_answers_with_the_next_change_and_a_filter_waits_for_its_own() {
    let cluster = TestCluster::start(3, 1).await;
    filled(&cluster, 10).await;
    let poll = async {
        let path = "/db/_changes?feed=longpoll&since=now&timeout=10000&filter=_doc_ids&doc_ids=[%22mine%22]";
        ok(&cluster, "GET", path, "").await
    };
    let write = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        ok(&cluster, "PUT", "/db/other", "{}").await;
        ok(&cluster, "PUT", "/db/mine", "{}").await;
    };
    let (polled, ()) = tokio::join!(poll, write);
    assert_eq!(ids(&polled), ["mine"]);
    cluster.end().await;
}

/// A request with its body packed.
fn gzipped(method: &str, path: &str, body: &str) -> Ask {
    let mut ask = Ask::new(method, path, "");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body.as_bytes()).expect("a vector takes it");
    ask.body = encoder.finish().expect("a vector takes it");
    ask.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    ask
}

#[tokio::test(flavor = "multi_thread")]
async fn gzipped_bodies_are_taken_as_plain_ones() {
    let cluster = TestCluster::start(3, 1).await;
    ok(&cluster, "PUT", "/db", "").await;
    for (ask, status) in [
        (gzipped("PUT", "/db/x", "{\"n\":12345678901234567890}"), 201),
        (gzipped("POST", "/db", "{\"_id\":\"y\"}"), 201),
        (gzipped("POST", "/db/_bulk_docs", "{\"docs\":[{\"_id\":\"a\"},{\"_id\":\"b\"}]}"), 201),
        (gzipped("POST", "/db/_all_docs", "{\"keys\":[\"a\"]}"), 200),
        (gzipped("PUT", "/db/_local/z", "{\"n\":1}"), 201),
    ] {
        let answered = cluster.ask(&ask).await;
        assert_eq!(answered.response.status(), status, "{} {}: {}", ask.method, ask.path, answered.body);
    }
    assert!(get(&cluster, "/db/x").await.body.contains("\"n\":12345678901234567890}"));
    assert_eq!(ok(&cluster, "GET", "/db", "").await["doc_count"], 4);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_not_understood_is_refused_and_nothing_is_stored() {
    let cluster = TestCluster::start(1, 1).await;
    ok(&cluster, "PUT", "/db", "").await;
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(9 << 20));
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(100), "]".repeat(100));
    let long_id = "i".repeat(513);
    let long_uri = format!("/db/x?{}", "y".repeat(17 << 10));
    let mut brotli = Ask::new("PUT", "/db/x", "{}");
    brotli.headers.push(("content-encoding".to_owned(), "br".to_owned()));
    let mut not_gzip = gzipped("PUT", "/db/x", "");
    not_gzip.body = b"{}".to_vec();
    for (ask, status, error) in [
        (Ask::new("PUT", "/db/x", &large), 413, "too_large"),
        (Ask::new("PUT", "/db/x", &deep), 400, "bad_request"),
        (Ask::new("PUT", &format!("/db/{long_id}"), "{}"), 400, "illegal_docid"),
        (Ask::new("PUT", &long_uri, "{}"), 414, "uri_too_long"),
        (brotli, 415, "bad_content_type"),
        (not_gzip, 400, "bad_request"),
        (gzipped("PUT", "/db/x", &large), 413, "too_large"),
        (gzipped("PUT", "/db/x", "{"), 400, "bad_request"),
        (Ask::new("PUT", "/db/x", "{\"a\":1,\"a\":2}"), 400, "bad_request"),
        (Ask::new("PUT", "/db/x", ""), 400, "bad_request"),
    ] {
        let answered = cluster.ask(&ask).await;
        let body: Value = serde_json::from_str(&answered.body).expect("JSON");
        assert_eq!((answered.response.status().as_u16(), &body["error"]), (status, &Value::from(error)), "{body}");
    }
    assert_eq!(ok(&cluster, "GET", "/db", "").await["doc_count"], 0);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_takes_effect_once() {
    let cluster = TestCluster::start(3, 1).await;
    ok(&cluster, "PUT", "/db", "").await;
    let mut bulk = Ask::new("POST", "/db/_bulk_docs", r#"{"docs":[{"_id":"a"},{"n":1},{"n":1}]}"#);
    bulk.headers.push(("idempotency-key".to_owned(), "k1".to_owned()));
    let first = cluster.ask(&bulk).await.body;
    assert_eq!(cluster.ask(&bulk).await.body, first);
    let mut put = Ask::new("PUT", "/db/b", r#"{"n":1}"#);
    put.headers.push(("idempotency-key".to_owned(), "k2".to_owned()));
    let first = cluster.ask(&put).await.body;
    assert_eq!(cluster.ask(&put).await.body, first);
    put.headers[0].1 = "k3".to_owned();
    assert_eq!(cluster.ask(&put).await.response.status(), 409);
    assert_eq!(ok(&cluster, "GET", "/db", "").await["doc_count"], 4);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_edits_of_one_parent_one_wins() {
    let cluster = TestCluster::start(3, 1).await;
    ok(&cluster, "PUT", "/db", "").await;
    let rev = ok(&cluster, "PUT", "/db/n", "{\"n\":0}").await["rev"].as_str().expect("a revision").to_owned();
    let edit = Ask::new("PUT", &format!("/db/n?rev={rev}"), "{\"n\":1}");
    let answers = futures::future::join_all((0..16).map(|_| cluster.ask(&edit))).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.response.status().as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 15, "{statuses:?}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_shows_its_replicas_log_and_metrics() {
    let cluster = TestCluster::start(2, 3).await;
    filled(&cluster, 20).await;
    let state = ok(&cluster, "GET", "/v1/_replication/state", "").await;
    let replicas = state["replicas"].as_array().expect("rows");
    assert_eq!(replicas.len(), 6);
    assert_eq!(replicas.iter().filter(|row| row["role"] == "primary").count(), 2);
    assert!(replicas.iter().all(|row| row["health"] == "ok"), "{state}");
    let moved = ok(&cluster, "POST", "/_replication/promote", r#"{"shard":1}"#).await;
    assert_eq!(moved["campaign"], "started");
    let stale = cluster.ask(&Ask::new("POST", "/v1/_replication/promote", r#"{"shard":1,"term":99999}"#)).await;
    assert_eq!(stale.response.status(), 409);
    let log = get(&cluster, "/_replication/wal?shard=0&from=1").await;
    assert!(log.body.lines().count() >= 1, "{}", log.body);
    let metrics = get(&cluster, "/_metrics").await.body;
    assert!(metrics.contains("quorate_http_requests_total{route=\"/{db}/_bulk_docs\""), "{metrics}");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_gives_away_what_it_leads_and_may_lead_again() {
    let cluster = TestCluster::start(2, 3).await;
    filled(&cluster, 20).await;
    let drain = |drain| format!(r#"{{"node":"e1","drain":{drain}}}"#);
    let answer = ok(&cluster, "POST", "/v1/_replication/drain", &drain(true)).await;
    assert_eq!((&answer["node"], &answer["draining"]), (&Value::from("e1"), &Value::from(true)));
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let state = ok(&cluster, "GET", "/v1/_replication/state", "").await;
        assert_eq!(state["nodes"][0]["draining"], true, "{state}");
        assert_eq!(state["shards"][1]["replicas"], serde_json::json!(["e1", "e2", "e3"]));
        let replicas = state["replicas"].as_array().expect("rows");
        let primaries: Vec<&Value> = replicas.iter().filter(|row| row["role"] == "primary").collect();
        if primaries.len() == 2 && primaries.iter().all(|row| row["node"] != "e1") {
            let voters = primaries[0]["voters"].as_array().expect("voters");
            assert!(voters.iter().any(|voter| voter["incarnation"] == primaries[0]["incarnation"]), "{state}");
            break;
        }
        assert!(tokio::time::Instant::now() < until, "e1 still leads: {state}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let refused = cluster.ask(&Ask::new("POST", "/v1/_replication/promote", r#"{"shard":0,"node":"e1"}"#)).await;
    assert_eq!(refused.response.status(), 409, "{}", refused.body);
    let answer = ok(&cluster, "POST", "/v1/_replication/drain", &drain(false)).await;
    assert_eq!(answer["draining"], false);
    assert_eq!(get(&cluster, "/db/d0001").await.response.status(), 200);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_its_body() {
    let cluster = TestCluster::start(1, 1).await;
    filled(&cluster, 3).await;
    for path in ["/", "/_up", "/db", "/db/d0001", "/db/_all_docs", "/db/_changes", "/db/none"] {
        let id = ("x-request-id".to_owned(), "the-same".to_owned());
        let ask = |method| Ask { headers: vec![id.clone()], ..Ask::new(method, path, "") };
        let (head, full) = (cluster.ask(&ask("HEAD")).await, cluster.ask(&ask("GET")).await);
        assert_eq!(head.response.status(), full.response.status(), "{path}");
        assert_eq!(head.response.headers(), full.response.headers(), "{path}");
        assert_eq!(head.body, "", "{path}");
    }
    let head = cluster.ask(&Ask::new("HEAD", "/db/d0001", "")).await;
    let length = head.response.headers().get("content-length").and_then(|length| length.to_str().ok());
    assert_eq!(length, Some(get(&cluster, "/db/d0001").await.body.len().to_string().as_str()));
    cluster.end().await;
}
