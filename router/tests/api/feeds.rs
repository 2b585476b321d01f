//! What `_changes` can be asked for, over several shards: each option with a place to go on from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::{Ask, TestCluster};

/// Documents, every tenth with a conflict.
const DOCS: usize = 300;

async fn ok(cluster: &TestCluster, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answered = cluster.ask(&Ask::new(method, path, &body)).await;
    assert!(answered.response.status().is_success(), "{method} {path}: {}", answered.body);
    serde_json::from_str(&answered.body).unwrap_or(Value::Null)
}

async fn get(cluster: &TestCluster, query: &str) -> Value {
    ok(cluster, "GET", &format!("/db/_changes?{query}"), &Value::Null).await
}

async fn filled() -> TestCluster {
    let cluster = TestCluster::start(3, 1).await;
    ok(&cluster, "PUT", "/db", &Value::Null).await;
    let doc = |n: usize, rev: &str| json!({"_id": format!("doc-{n:04}"), "_rev": rev, "n": n});
    let conflicts = (0..DOCS).step_by(10).map(|n| doc(n, "1-b"));
    let docs: Vec<Value> = (0..DOCS).map(|n| doc(n, "1-a")).chain(conflicts).collect();
    ok(&cluster, "POST", "/db/_bulk_docs", &json!({"docs": docs, "new_edits": false})).await;
    for n in 0..4 {
        ok(&cluster, "PUT", &format!("/db/_design/d{n}"), &json!({})).await;
    }
    cluster
}

fn rows(answer: &Value) -> &Vec<Value> {
    answer["results"].as_array().expect("rows")
}

fn ids(answer: &Value) -> Vec<String> {
    rows(answer).iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
}

fn token(answer: &Value) -> String {
    answer["last_seq"].as_str().expect("a token").to_owned()
}

/// The number in front of a token.
fn number(seq: &Value) -> u64 {
    seq.as_str().and_then(|seq| seq.split_once('-')).expect("a token").0.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_leaves_and_conflicts_are_shown_where_they_are_asked_for() {
    let cluster = filled().await;
    let plain = get(&cluster, "include_docs=true").await;
    assert!(rows(&plain).iter().all(|row| row["changes"].as_array().is_some_and(|leaves| leaves.len() == 1)));
    assert!(rows(&plain).iter().all(|row| row["doc"]["_conflicts"].is_null()));
    let all = get(&cluster, "style=all_docs&include_docs=true&conflicts=true").await;
    let (mut conflicted, mut whole) = (0, 0);
    for row in rows(&all) {
        let leaves: Vec<&str> =
            row["changes"].as_array().expect("leaves").iter().filter_map(|leaf| leaf["rev"].as_str()).collect();
        match row["doc"]["n"].as_u64() {
            Some(n) if n % 10 == 0 => {
                assert_eq!((leaves, &row["doc"]["_conflicts"]), (vec!["1-b", "1-a"], &json!(["1-a"])), "{row}");
                conflicted += 1;
            }
            _ => {
                assert_eq!((leaves.len(), &row["doc"]["_conflicts"]), (1, &Value::Null), "{row}");
                whole += 1;
            }
        }
    }
    assert_eq!((conflicted, whole), (DOCS / 10, DOCS - DOCS / 10 + 4));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_either_direction_is_a_place_to_go_on_from() {
    let cluster = filled().await;
    let forwards = get(&cluster, "").await;
    let everything: BTreeSet<String> = ids(&forwards).into_iter().collect();
    assert_eq!(everything.len(), DOCS + 4);
    let numbers: Vec<u64> = rows(&forwards).iter().map(|row| number(&row["seq"])).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert_eq!(rows(&forwards).last().expect("a row")["seq"], forwards["last_seq"]);
    let backwards = get(&cluster, "descending=true").await;
    assert_eq!(ids(&backwards).into_iter().collect::<BTreeSet<_>>(), everything);
    for at in [0, 1, 17, 150, DOCS + 3] {
        let since = rows(&forwards)[at]["seq"].as_str().expect("a token");
        let rest = get(&cluster, &format!("since={since}")).await;
        let wanted: BTreeSet<String> = ids(&forwards)[at + 1..].iter().cloned().collect();
        assert_eq!(ids(&rest).into_iter().collect::<BTreeSet<_>>(), wanted, "behind row {at}");
        assert_eq!(rest["last_seq"], forwards["last_seq"]);
        // Newest first, what is behind a row is what was shown before it.
        let since = rows(&backwards)[at]["seq"].as_str().expect("a token");
        let newer = get(&cluster, &format!("since={since}")).await;
        let wanted: BTreeSet<String> = ids(&backwards)[..at].iter().cloned().collect();
        assert_eq!(ids(&newer).into_iter().collect::<BTreeSet<_>>(), wanted, "before row {at}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_with_few_seqs_come_to_the_whole() {
    let cluster = filled().await;
    let (mut since, mut seen) = ("0".to_owned(), Vec::new());
    loop {
        let batch = get(&cluster, &format!("limit=50&seq_interval=50&style=all_docs&since={since}")).await;
        let seqs: Vec<bool> = rows(&batch).iter().map(|row| row["seq"].is_string()).collect();
        assert!(seqs.iter().enumerate().all(|(at, shown)| *shown == (at == 0)), "{seqs:?}");
        seen.extend(ids(&batch));
        since = token(&batch);
        if rows(&batch).len() < 50 {
            break;
        }
    }
    assert_eq!(seen.len(), DOCS + 4);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), ids(&get(&cluster, "").await).into_iter().collect());
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_shows_its_own_in_every_kind_of_feed_and_all_of_it() {
    let cluster = filled().await;
    let named = ["doc-0003", "doc-0100", "doc-0299", "none"];
    let of_ids = json!({ "doc_ids": named });
    let selector = json!({"selector": {"n": {"$gte": 290}}});
    let wanted = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<String>>();
    let high: BTreeSet<String> = (290..DOCS).map(|n| format!("doc-{n:04}")).collect();
    let cases = [
        ("_doc_ids", &of_ids, wanted(&named[..3])),
        ("_selector", &selector, high),
        ("_design", &Value::Null, wanted(&["_design/d0", "_design/d1", "_design/d2", "_design/d3"])),
    ];
    for (filter, body, wanted) in cases {
        let method = if body.is_null() { "GET" } else { "POST" };
        let end = token(&get(&cluster, "").await);
        for kind in ["normal", "longpoll", "continuous", "eventsource"] {
            for order in ["", "&descending=true"] {
                let path = format!("/db/_changes?filter={filter}&feed={kind}&timeout=1{order}");
                let text = if body.is_null() { String::new() } else { body.to_string() };
                let answered = cluster.ask(&Ask::new(method, &path, &text)).await;
                let mut seen = BTreeMap::new();
                for line in answered.body.lines() {
                    let line = line.strip_prefix("data: ").unwrap_or(line).trim_end_matches(',');
                    let row: Value = serde_json::from_str(line).unwrap_or(Value::Null);
                    if let Some(id) = row["id"].as_str() {
                        *seen.entry(id.to_owned()).or_insert(0) += 1;
                    }
                }
                assert!(seen.values().all(|times| *times == 1), "{path}: {seen:?}");
                assert_eq!(seen.into_keys().collect::<BTreeSet<_>>(), wanted, "{path}");
                if order.is_empty() && kind != "eventsource" {
                    // What was passed over lies behind the place it ends at.
                    assert!(answered.body.contains(&format!("\"last_seq\":\"{end}\"")), "{path}: {}", answered.body);
                }
            }
        }
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_source_goes_on_behind_its_last_event_on_whichever_router() {
    let cluster = filled().await;
    let other = cluster.router(|_| {}, Arc::new(|| 1_700_000_000_000));
    let whole = get(&cluster, "").await;
    for at in [0, 100, DOCS + 3] {
        let last = rows(&whole)[at]["seq"].as_str().expect("a token");
        let mut asked = Ask::new("GET", "/db/_changes?feed=eventsource&timeout=1&since=0", "");
        // As the server wrote it behind `id: `, and as a plain token.
        for id in [format!("\"{last}\""), last.to_owned()] {
            asked.headers = vec![("last-event-id".to_owned(), id)];
            let events: Vec<String> = other.ask(&asked).await.body.lines().map(str::to_owned).collect();
            let data: Vec<&str> = events.iter().filter_map(|line| line.strip_prefix("data: ")).collect();
            let row = |text: &&str| serde_json::from_str::<Value>(text).expect("a row");
            let seen: BTreeSet<String> =
                data.iter().map(|text| row(text)["id"].as_str().expect("an id").to_owned()).collect();
            assert_eq!(seen, ids(&whole)[at + 1..].iter().cloned().collect(), "behind event {at}");
            let marks: Vec<&str> = events.iter().filter_map(|line| line.strip_prefix("id: ")).collect();
            let seqs: Vec<String> = data.iter().map(|text| row(text)["seq"].to_string()).collect();
            assert_eq!(marks, seqs, "each event has its place");
        }
    }
    other.end().await;
    cluster.end().await;
}
