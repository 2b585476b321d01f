//! Views: rows of all shards in one order, reduced and not, kept up with the documents.

use std::cmp::Ordering;

use common::mango::Value as Collated;
use common::mango::collate;
use serde_json::{Value, json};

use crate::cluster::{Ask, TestCluster};

async fn send(cluster: &TestCluster, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answered = cluster.ask(&Ask::new(method, path, &body)).await;
    let value = serde_json::from_str(&answered.body).unwrap_or(Value::Null);
    (answered.response.status().as_u16(), value)
}

async fn ok(cluster: &TestCluster, method: &str, path: &str, body: &Value) -> Value {
    let (status, value) = send(cluster, method, path, body).await;
    assert!((200..300).contains(&status), "{method} {path}: {status} {value}");
    value
}

async fn rows(cluster: &TestCluster, query: &str) -> Vec<Value> {
    let answer = ok(cluster, "GET", &format!("/db/_design/d/_view/{query}"), &Value::Null).await;
    answer["rows"].as_array().expect("rows").clone()
}

fn encoded(value: &Value) -> String {
    value.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn compare(a: &Value, b: &Value) -> Ordering {
    let (a, b) = (a.to_string(), b.to_string());
    let value = |text: &str| Collated::parse(text.as_bytes()).expect("JSON").into_owned();
    collate::compare(&value(&a), &value(&b))
}

/// Keys of every kind, some of them equal.
fn key(n: u64) -> Value {
    match n % 9 {
        0 => Value::Null,
        1 => json!(n.is_multiple_of(2)),
        2 => json!(n % 7),
        3 => json!((n % 5) as f64 + 0.5),
        4 => json!(["a", n % 3]),
        5 => json!(["a", n % 3, n]),
        6 => json!(format!("{}é", n % 4)),
        7 => json!({"a": n % 3}),
        _ => json!(["b", {"x": n % 2}]),
    }
}

const DDOC: &str = r#"{"views":{
    "rows":{"map":"function (doc) { if ('k' in doc) doc.k.forEach(function (k) { emit(k, doc.n) }) }","reduce":"_sum"},
    "plain":{"map":"function (doc) { if ('k' in doc) doc.k.forEach(function (k) { emit(k, doc.n) }) }"},
    "count":{"map":"function (doc) { emit([doc.n % 2, doc.n % 3], {_id: doc.link}) }","reduce":"_count"},
    "stats":{"map":"function (doc) { emit(doc.n % 2, doc.n) }","reduce":"_stats"},
    "mine":{"map":"function (doc) { emit(doc.n % 2, doc.n) }",
        "reduce":"function (keys, values, rereduce) { return Math.max.apply(null, values) }"},
    "wild":{"map":"function (doc) { if (doc.n === 3) for (;;) {} if (doc.n === 4) throw 'no'; emit(doc.n) }"}}}"#;

/// The rows that the first map should give, in order: key, id, value.
fn wanted(docs: &[Value]) -> Vec<(Value, String, Value)> {
    let mut rows: Vec<(Value, String, Value)> = Vec::new();
    for doc in docs {
        let id = doc["_id"].as_str().expect("an id").to_owned();
        rows.extend(doc["k"].as_array().expect("keys").iter().map(|key| (key.clone(), id.clone(), doc["n"].clone())));
    }
    rows.sort_by(|a, b| compare(&a.0, &b.0).then_with(|| a.1.cmp(&b.1)));
    rows
}

fn got(rows: &[Value]) -> Vec<(Value, String, Value)> {
    let row = |row: &Value| (row["key"].clone(), row["id"].as_str().expect("an id").to_owned(), row["value"].clone());
    rows.iter().map(row).collect()
}

async fn filled(cluster: &TestCluster, count: u64) -> Vec<Value> {
    ok(cluster, "PUT", "/db", &Value::Null).await;
    let doc = |n: u64| {
        let keys: Vec<Value> = (0..n % 4).map(|at| key(n * 5 + at)).collect();
        json!({"_id": format!("doc-{n:04}"), "n": n, "k": keys, "link": format!("doc-{:04}", (n + 1) % count)})
    };
    let docs: Vec<Value> = (0..count).map(doc).collect();
    for part in docs.chunks(500) {
        ok(cluster, "POST", "/db/_bulk_docs", &json!({ "docs": part })).await;
    }
    ok(cluster, "PUT", "/db/_design/d", &serde_json::from_str(DDOC).expect("JSON")).await;
    docs
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_all_shards_stand_in_one_order_whatever_is_asked() {
    let cluster = TestCluster::start(3, 1).await;
    let docs = filled(&cluster, 900).await;
    let all = wanted(&docs);
    assert_eq!(got(&rows(&cluster, "plain").await), all);
    assert_eq!(got(&rows(&cluster, "rows?reduce=false").await), all);
    let mut backwards = all.clone();
    backwards.reverse();
    // Rows of one document and key stand the other way round, too.
    assert_eq!(got(&rows(&cluster, "plain?descending=true").await), backwards);
    let answer = ok(&cluster, "GET", "/db/_design/d/_view/plain?skip=7&limit=5", &Value::Null).await;
    assert_eq!(got(answer["rows"].as_array().expect("rows")), all[7..12]);
    assert_eq!((answer["total_rows"].as_u64(), answer["offset"].as_u64()), (Some(all.len() as u64), Some(7)));
    for (low, high) in
        [(json!(1), json!(["a", 2])), (json!("1é"), json!({})), (json!(["a"]), json!(["a", {}])), (json!(5), json!(2))]
    {
        for inclusive in [true, false] {
            let between = |key: &Value| {
                let end = compare(key, &high);
                compare(key, &low).is_ge() && (end.is_lt() || (inclusive && end.is_eq()))
            };
            let inside: Vec<_> = all.iter().filter(|(key, ..)| between(key)).cloned().collect();
            let query = format!("startkey={}&end_key={}&inclusive_end={inclusive}", encoded(&low), encoded(&high));
            assert_eq!(got(&rows(&cluster, &format!("plain?{query}")).await), inside, "{low} {high} {inclusive}");
        }
    }
    let keys = [json!("1é"), json!(null), json!("none"), json!(["a", 1])];
    let of_keys: Vec<_> = keys.iter().flat_map(|key| all.iter().filter(move |row| row.0 == *key)).cloned().collect();
    let posted = ok(&cluster, "POST", "/db/_design/d/_view/plain", &json!({ "keys": keys })).await;
    assert_eq!(got(posted["rows"].as_array().expect("rows")), of_keys);
    let one: Vec<_> = all.iter().filter(|row| row.0 == json!(3)).cloned().collect();
    assert_eq!(got(&rows(&cluster, "plain?key=3").await), one);
    let behind = &one[one.len() / 2].1;
    let query = format!("plain?startkey=3&endkey=3&startkey_docid={behind}");
    assert_eq!(got(&rows(&cluster, &query).await), one[one.len() / 2..]);
    let several = json!({"queries": [{"key": 3}, {"limit": 1}]});
    let several = ok(&cluster, "POST", "/db/_design/d/_view/plain/queries", &several).await;
    assert_eq!(got(several["results"][0]["rows"].as_array().expect("rows")), one);
    assert_eq!(got(several["results"][1]["rows"].as_array().expect("rows")), all[..1]);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_reduced_over_all_shards() {
    let cluster = TestCluster::start(3, 1).await;
    let docs = filled(&cluster, 900).await;
    let all = wanted(&docs);
    let sum: u64 = all.iter().filter_map(|row| row.2.as_u64()).sum();
    assert_eq!(rows(&cluster, "rows").await, [json!({"key": null, "value": sum})]);
    let mut groups: Vec<(Value, u64)> = Vec::new();
    for (key, _, n) in &all {
        match groups.last_mut().filter(|(known, _)| compare(known, key).is_eq()) {
            Some((_, sum)) => *sum += n.as_u64().expect("a number"),
            None => groups.push((key.clone(), n.as_u64().expect("a number"))),
        }
    }
    let exact: Vec<Value> = groups.iter().map(|(key, sum)| json!({"key": key, "value": sum})).collect();
    assert_eq!(rows(&cluster, "rows?group=true").await, exact);
    assert_eq!(rows(&cluster, "rows?group=true&skip=3&limit=4").await, exact[3..7]);
    let level = |level: usize| {
        let mut sums: Vec<(Value, u64)> = Vec::new();
        for (key, sum) in &groups {
            let key = key.as_array().map_or(key.clone(), |items| items.iter().take(level).cloned().collect());
            match sums.last_mut().filter(|(known, _)| *known == key) {
                Some((_, known)) => *known += sum,
                None => sums.push((key, *sum)),
            }
        }
        sums.into_iter().map(|(key, sum)| json!({"key": key, "value": sum})).collect::<Vec<_>>()
    };
    assert_eq!(rows(&cluster, "rows?group_level=1").await, level(1));
    assert_eq!(rows(&cluster, "rows?group_level=2").await, level(2));
    let counted = rows(&cluster, "count?group_level=1").await;
    assert_eq!(counted, [json!({"key": [0], "value": 450}), json!({"key": [1], "value": 450})]);
    let stats = rows(&cluster, "stats?key=1").await;
    assert_eq!(stats[0]["value"]["sum"], json!(202_500));
    assert_eq!((&stats[0]["value"]["min"], &stats[0]["value"]["count"]), (&json!(1), &json!(450)));
    let mine = rows(&cluster, "mine?group=true").await;
    assert_eq!(mine, [json!({"key": 0, "value": 898}), json!({"key": 1, "value": 899})]);
    assert_eq!(rows(&cluster, "mine").await, [json!({"key": null, "value": 899})]);
    let linked = rows(&cluster, "count?reduce=false&include_docs=true&limit=2").await;
    for row in &linked {
        assert_eq!(row["doc"]["_id"], row["value"]["_id"], "{row}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_sees_every_acknowledged_write_on_whichever_replica_leads() {
    let cluster = TestCluster::start(2, 3).await;
    let mut docs = filled(&cluster, 60).await;
    assert_eq!(got(&rows(&cluster, "plain").await), wanted(&docs));
    for round in 0u64..12 {
        let at = (round * 5) as usize;
        let id = docs[at]["_id"].as_str().expect("an id").to_owned();
        let current = ok(&cluster, "GET", &format!("/db/{id}"), &Value::Null).await;
        let rev = current["_rev"].as_str().expect("a revision");
        if round % 4 == 3 {
            ok(&cluster, "DELETE", &format!("/db/{id}?rev={rev}"), &Value::Null).await;
            docs.remove(at);
        } else {
            docs[at]["k"] = json!([key(round), key(round + 100)]);
            docs[at]["n"] = json!(round + 1_000);
            let mut body = docs[at].clone();
            body["_rev"] = json!(rev);
            ok(&cluster, "PUT", &format!("/db/{id}"), &body).await;
        }
        if round % 3 == 2 {
            let promoted = send(&cluster, "POST", "/v1/_replication/promote", &json!({"shard": round % 2})).await;
            assert!(promoted.0 == 200 || promoted.0 == 409, "{promoted:?}");
        }
        assert_eq!(got(&rows(&cluster, "plain").await), wanted(&docs), "round {round}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_a_map_fails_on_is_left_out_alone() {
    let cluster = TestCluster::start(1, 1).await;
    filled(&cluster, 10).await;
    let keys: Vec<Value> = rows(&cluster, "wild").await.iter().map(|row| row["key"].clone()).collect();
    assert_eq!(keys, [0, 1, 2, 5, 6, 7, 8, 9].map(|n| json!(n)));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_of_a_view_is_told_in_couchdbs_words() {
    let cluster = TestCluster::start(1, 1).await;
    filled(&cluster, 3).await;
    for (query, reason) in [
        ("plain?group=true", "Invalid use of grouping on a map view."),
        ("plain?group_level=1", "Invalid use of grouping on a map view."),
        ("plain?reduce=true", "Reduce is invalid for map-only views."),
        ("rows?include_docs=true", "`include_docs` is invalid for reduce"),
        ("rows?keys=%5B1%5D", "Multi-key fetches for reduce views must use `group=true`"),
        ("plain?keys=%5B1%5D&key=1", "`keys` is incompatible with `key`, `start_key` and `end_key`"),
        ("plain?limit=x", "Invalid value for integer: \"x\""),
    ] {
        let (status, answer) = send(&cluster, "GET", &format!("/db/_design/d/_view/{query}"), &Value::Null).await;
        assert_eq!((status, &answer["reason"]), (400, &json!(reason)), "{query}");
        assert_eq!(answer["error"], "query_parse_error", "{query}");
    }
    for (path, reason) in
        [("d/_view/none", "missing_named_view"), ("none/_view/v", "missing"), ("none/_info", "missing")]
    {
        let (status, answer) = send(&cluster, "GET", &format!("/db/_design/{path}"), &Value::Null).await;
        assert_eq!((status, &answer["reason"]), (404, &json!(reason)), "{path}");
    }
    for (body, error) in [
        (json!({"views": {"v": {"map": "function (doc) {"}}}), "compilation_error"),
        (json!({"views": {"v": {"map": "5"}}}), "compilation_error"),
        (json!({"views": {"v": {"map": "function (doc) {}", "reduce": "nonsense("}}}), "compilation_error"),
        (json!({"views": {"v": {"map": "function (doc) {}", "reduce": "_random_junk"}}}), "invalid_design_doc"),
        (json!({"views": 5}), "invalid_design_doc"),
    ] {
        let (status, answer) = send(&cluster, "PUT", "/db/_design/bad", &body).await;
        assert_eq!((status, &answer["error"]), (400, &json!(error)), "{body} {answer}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_of_a_partitioned_database_are_asked_by_partition() {
    let cluster = TestCluster::start(3, 1).await;
    ok(&cluster, "PUT", "/db?partitioned=true", &Value::Null).await;
    let docs: Vec<Value> = (0..60).map(|n| json!({"_id": format!("p{}:{n:02}", n % 3), "n": n})).collect();
    ok(&cluster, "POST", "/db/_bulk_docs", &json!({ "docs": docs })).await;
    let views = json!({"v": {"map": "function (doc) { emit(doc.n % 4, doc.n) }", "reduce": "_count"}});
    ok(&cluster, "PUT", "/db/_design/d", &json!({ "views": views })).await;
    ok(&cluster, "PUT", "/db/_design/g", &json!({"views": views, "options": {"partitioned": false}})).await;
    let (status, answer) = send(&cluster, "GET", "/db/_design/d/_view/v", &Value::Null).await;
    assert_eq!(
        (status, &answer["reason"]),
        (400, &json!("`partition` parameter is mandatory for queries to this view."))
    );
    let path = "/db/_partition/p1/_design/d/_view/v";
    let counted = ok(&cluster, "GET", &format!("{path}?group=true&startkey=1"), &Value::Null).await;
    assert_eq!(counted["rows"], json!([{"key": 1, "value": 5}, {"key": 2, "value": 5}, {"key": 3, "value": 5}]));
    let listed = ok(&cluster, "GET", &format!("{path}?reduce=false&descending=true&limit=1"), &Value::Null).await;
    assert_eq!(listed["rows"], json!([{"id": "p1:55", "key": 3, "value": 55}]));
    let whole = ok(&cluster, "GET", "/db/_design/g/_view/v", &Value::Null).await;
    assert_eq!(whole["rows"], json!([{"key": null, "value": 60}]));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn feeds_are_filtered_by_functions() {
    let cluster = TestCluster::start(3, 1).await;
    ok(&cluster, "PUT", "/db", &Value::Null).await;
    let docs: Vec<Value> = (0..700).map(|n| json!({"_id": format!("doc-{n:04}"), "n": n})).collect();
    ok(&cluster, "POST", "/db/_bulk_docs", &json!({ "docs": docs })).await;
    let design = json!({
        "least": 690,
        "filters": {
            "high": "function (doc, req) { return doc.n >= (req.query.least ? +req.query.least : this.least) }",
            "gone": "function (doc) { return !!doc._deleted }",
            "mine": "function (doc, req) { return req.userCtx.roles.indexOf('_admin') >= 0 && doc.n < 2 }",
            "bad": "function (doc) { return doc.none.n }",
            "none": "function (",
        },
        "views": {"few": {"map": "function (doc) { if (doc.n % 100 === 7) emit(1) }"}},
    });
    ok(&cluster, "PUT", "/db/_design/f", &design).await;
    let ids = async |query: &str| -> Vec<String> {
        let answer = ok(&cluster, "GET", &format!("/db/_changes?{query}"), &Value::Null).await;
        let rows = answer["results"].as_array().expect("rows");
        let mut ids: Vec<String> = rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids
    };
    let named = |numbers: std::ops::Range<u64>| numbers.map(|n| format!("doc-{n:04}")).collect::<Vec<_>>();
    assert_eq!(ids("filter=f/high").await, named(690..700));
    assert_eq!(ids("filter=f/high&least=695").await, named(695..700));
    assert_eq!(ids("filter=f/mine").await, named(0..2));
    assert_eq!(ids("filter=f/high&limit=3&style=all_docs&include_docs=true").await.len(), 3);
    let few: Vec<String> = (0..7).map(|n| format!("doc-{:04}", n * 100 + 7)).collect();
    assert_eq!(ids("filter=_view&view=f/few").await, few);
    assert_eq!(ids("filter=f/gone").await, Vec::<String>::new());
    let doc = ok(&cluster, "GET", "/db/doc-0003", &Value::Null).await;
    let rev = doc["_rev"].as_str().expect("a revision");
    ok(&cluster, "DELETE", &format!("/db/doc-0003?rev={rev}"), &Value::Null).await;
    assert_eq!(ids("filter=f/gone").await, ["doc-0003"]);
    for (filter, status, reason) in [
        ("f/nothing", 404, "missing json key: nothing"),
        ("x/y", 404, "missing"),
        ("f/bad", 500, "TypeError"),
        ("f/none", 500, "SyntaxError"),
    ] {
        let (got, answer) = send(&cluster, "GET", &format!("/db/_changes?filter={filter}"), &Value::Null).await;
        let told = answer["reason"].as_str().unwrap_or_default();
        assert!(got == status && told.contains(reason), "{filter}: {got} {answer}");
    }
    cluster.end().await;
}
