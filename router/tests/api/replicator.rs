//! Replications: what is copied, what is answered, who may, and which router runs them.

mod servers;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::config::{Admin, Config};
use serde_json::{Value, json};

use crate::cluster::{Ask, OtherRouter, TestCluster};

/// One router of a cluster of three shards, whose replicator may call this machine.
struct Fixture {
    cluster: TestCluster,
    one: OtherRouter,
}

/// Asks a router.
async fn ask_of(router: &OtherRouter, ask: Ask) -> (u16, Value) {
    let answered = router.ask(&ask).await;
    (answered.response.status().as_u16(), serde_json::from_str(&answered.body).unwrap_or(Value::Null))
}

async fn say(router: &OtherRouter, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    ask_of(router, Ask::new(method, path, &body)).await
}

async fn done(router: &OtherRouter, method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = say(router, method, path, body).await;
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    answer
}

async fn get(router: &OtherRouter, path: &str) -> Value {
    done(router, "GET", path, &Value::Null).await
}

fn router(cluster: &TestCluster, change: impl FnOnce(&mut Config)) -> OtherRouter {
    let clock = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("now").as_millis()).expect("fits");
    let change = |config: &mut Config| {
        config.replicator.allow = vec!["*".to_owned()];
        config.replicator.networks = vec!["127.0.0.0/8".parse().expect("a network")];
        (config.replicator.takeover_ms, config.replicator.checkpoint_interval_ms) = (1_000, 100);
        change(config);
    };
    cluster.router(change, Arc::new(clock))
}

impl Fixture {
    async fn start() -> Self {
        let cluster = TestCluster::start(3, 1).await;
        let one = router(&cluster, |_| {});
        Self { cluster, one }
    }

    async fn end(self) {
        self.one.end().await;
        self.cluster.end().await;
    }
}

/// Waits until what is asked for again and again is so.
async fn until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    while !is_so().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every document of a database with its whole tree, conflicts and deletions included.
async fn trees(router: &OtherRouter, db: &str) -> Vec<Value> {
    let changes = get(router, &format!("/{db}/_changes?style=all_docs")).await;
    let mut trees = Vec::new();
    for row in changes["results"].as_array().expect("rows") {
        let id = row["id"].as_str().expect("an id").replace('/', "%2F").replace(' ', "%20");
        let path = format!("/{db}/{id}?open_revs=all&revs=true");
        let ask =
            Ask { headers: vec![("accept".to_owned(), "application/json".to_owned())], ..Ask::new("GET", &path, "") };
        let (status, mut leaves) = ask_of(router, ask).await;
        assert_eq!(status, 200, "{path}");
        leaves.as_array_mut().expect("leaves").sort_by_key(|leaf| leaf["ok"]["_rev"].to_string());
        trees.push(leaves);
    }
    trees.sort_by_key(|tree| tree[0]["ok"]["_id"].to_string());
    trees
}

/// A database with some of everything: edits, conflicts, deletions, a design document, numbers that must stay.
async fn filled(router: &OtherRouter, db: &str, count: usize) {
    done(router, "PUT", &format!("/{db}"), &Value::Null).await;
    let docs: Vec<Value> = (0..count).map(|n| json!({ "_id": format!("d{n:04}"), "n": n })).collect();
    let bulk = format!("/{db}/_bulk_docs");
    done(router, "POST", &bulk, &json!({ "docs": docs })).await;
    let grafts = json!([
        { "_id": "fork", "_rev": "2-b", "_revisions": { "start": 2, "ids": ["b", "a"] }, "left": true },
        { "_id": "fork", "_rev": "2-c", "_revisions": { "start": 2, "ids": ["c", "a"] }, "left": false },
        { "_id": "fork", "_rev": "3-d", "_revisions": { "start": 3, "ids": ["d", "x", "a"] }, "_deleted": true },
        { "_id": "gone", "_rev": "2-e", "_revisions": { "start": 2, "ids": ["e", "f"] }, "_deleted": true, "why": 1 },
        { "_id": "a/b c", "_rev": "1-z" },
        { "_id": "_design/d", "_rev": "1-q", "language": "query" },
    ]);
    done(router, "POST", &bulk, &json!({ "docs": grafts, "new_edits": false })).await;
    let precise = Ask::new("PUT", &format!("/{db}/precise"), r#"{"n":12345678901234567890.10}"#);
    assert_eq!(ask_of(router, precise).await.0, 201);
    done(router, "PUT", &format!("/{db}/_local/mine"), &json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_copied_whole_and_then_only_what_is_new() {
    let fixture = Fixture::start().await;
    let one = &fixture.one;
    filled(one, "a", 1_300).await;
    let order = json!({ "source": "a", "target": "b", "create_target": true });
    let first = done(one, "POST", "/_replicate", &order).await;
    let session = &first["history"][0];
    assert_eq!((&first["ok"], &first["replication_id_version"]), (&json!(true), &json!(4)));
    assert_eq!(session["session_id"], first["session_id"]);
    assert_eq!((&session["docs_written"], &session["doc_write_failures"]), (&json!(1_307), &json!(0)));
    assert_eq!(session["recorded_seq"], first["source_last_seq"]);
    assert_eq!(trees(one, "a").await, trees(one, "b").await);
    let precise = one.ask(&Ask::new("GET", "/b/precise", "")).await.body;
    assert!(precise.contains("12345678901234567890.10"), "{precise}");
    assert_eq!(say(one, "GET", "/b/_local/mine", &Value::Null).await.0, 404, "local documents stay");

    let again = done(one, "POST", "/_replicate", &order).await;
    assert_eq!((&again["no_changes"], &again["source_last_seq"]), (&json!(true), &first["source_last_seq"]));
    done(one, "PUT", "/a/new", &json!({})).await;
    let more = done(one, "POST", "/_replicate", &order).await;
    assert_eq!((&more["history"][0]["docs_written"], &more["history"][0]["missing_checked"]), (&json!(1), &json!(1)));
    assert_eq!(more["history"].as_array().map(Vec::len), Some(2), "sessions are remembered");
    assert_eq!(trees(one, "a").await, trees(one, "b").await);
    let locals = |db: &str| format!("/{db}/_local_docs");
    let (here, there) = (get(one, &locals("a")).await, get(one, &locals("b")).await);
    assert!(there["rows"].as_array().is_some_and(|rows| rows.len() == 1), "{there}");
    assert_eq!(here["rows"].as_array().map(Vec::len), Some(2), "{here}");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_behind_urls_are_pulled_and_pushed_with_credentials() {
    let fixture = Fixture::start().await;
    let closed = router(&fixture.cluster, |config| {
        config.admin =
            Some(Admin { name: "admin".to_owned(), password: Some("secret".to_owned()), password_file: None });
    });
    let port = closed.listen().await;
    let one = &fixture.one;
    filled(one, "a", 30).await;
    let remote = |db: &str| {
        json!({ "url": format!("http://127.0.0.1:{port}/{db}"),
        "auth": { "basic": { "username": "admin", "password": "secret" } } })
    };
    let push = json!({ "source": "a", "target": remote("far%2Foff"), "create_target": true });
    done(one, "POST", "/_replicate", &push).await;
    let pull = json!({ "source": format!("http://admin:secret@127.0.0.1:{port}/far%2Foff/"), "target": "c",
        "create_target": true });
    done(one, "POST", "/_replicate", &pull).await;
    assert_eq!(trees(one, "a").await, trees(one, "c").await);

    let wrong = json!({ "source": format!("http://admin:nope@127.0.0.1:{port}/far%2Foff"), "target": "c" });
    let (status, told) = say(one, "POST", "/_replicate", &wrong).await;
    assert_eq!((status, told["error"].as_str()), (401, Some("unauthorized")), "{told}");
    assert!(!told.to_string().contains("nope"), "{told}");
    let missing = json!({ "source": remote("none"), "target": "c" });
    let (status, told) = say(one, "POST", "/_replicate", &missing).await;
    assert_eq!((status, told["error"].as_str()), (404, Some("db_not_found")), "{told}");
    assert_eq!(told["reason"].as_str(), Some(&*format!("could not open http://admin:*****@127.0.0.1:{port}/none/")));
    closed.end().await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_is_not_called() {
    let fixture = Fixture::start().await;
    let port = fixture.one.listen().await;
    done(&fixture.one, "PUT", "/a", &Value::Null).await;
    let order = json!({ "source": format!("http://127.0.0.1:{port}/a"), "target": "a" });
    let unlisted = router(&fixture.cluster, |config| config.replicator.allow.clear());
    let private = router(&fixture.cluster, |config| config.replicator.networks.clear());
    for (router, reason) in
        [(&unlisted, "replicator.allow does not list it"), (&private, "replicator.networks does not")]
    {
        let (status, told) = say(router, "POST", "/_replicate", &order).await;
        assert_eq!((status, told["error"].as_str()), (403, Some("forbidden")), "{told}");
        assert!(told["reason"].as_str().is_some_and(|told| told.contains(reason)), "{told}");
    }
    let (status, told) = say(&unlisted, "PUT", "/_replicator/far", &order).await;
    assert_eq!((status, told["error"].as_str()), (403, Some("forbidden")), "{told}");
    unlisted.end().await;
    private.end().await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_database_is_copied_as_asked() {
    let fixture = Fixture::start().await;
    let one = &fixture.one;
    filled(one, "a", 20).await;
    let ids = |changes: &Value| -> Vec<String> {
        let rows = changes["results"].as_array().expect("rows").iter();
        let mut ids: Vec<String> = rows.map(|row| row["id"].as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids
    };
    for (at, (more, wanted)) in [
        (json!({ "doc_ids": ["d0003", "fork", "none"] }), vec!["d0003", "fork"]),
        (json!({ "selector": { "n": { "$lt": 2 } } }), vec!["d0000", "d0001"]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut order = json!({ "source": "a", "target": format!("t{at}"), "create_target": true });
        order.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        done(one, "POST", "/_replicate", &order).await;
        assert_eq!(ids(&get(one, &format!("/t{at}/_changes")).await), wanted, "{order}");
    }
    let winners = json!({ "source": "a", "target": "w", "create_target": true, "winning_revs_only": true });
    done(one, "POST", "/_replicate", &winners).await;
    assert_eq!(get(one, "/w/fork?conflicts=true").await["_conflicts"], Value::Null);
    for (order, status, error) in [
        (json!({ "source": "a" }), 400, "bad_request"),
        (json!({ "source": "a", "target": "none" }), 404, "db_not_found"),
        (json!({ "source": "a", "target": "w", "doc_ids": [], "selector": {} }), 400, "bad_request"),
        (json!({ "cancel": true, "replication_id": "none" }), 404, "not_found"),
    ] {
        let (got, told) = say(one, "POST", "/_replicate", &order).await;
        assert_eq!((got, told["error"].as_str()), (status, Some(error)), "{order}: {told}");
    }
    fixture.end().await;
}

/// As a user.
fn of(user: &str, ask: Ask) -> Ask {
    let mut ask = ask;
    ask.headers.push(("authorization".to_owned(), format!("Basic {}", BASE64_STANDARD.encode(user))));
    ask
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_further_by_a_replication_than_by_themselves() {
    let fixture = Fixture::start().await;
    let admin = Admin { name: "admin".to_owned(), password: Some("secret".to_owned()), password_file: None };
    let closed = router(&fixture.cluster, |config| {
        config.admin = Some(admin);
        (config.auth.argon2_memory_kib, config.auth.argon2_iterations) = (8, 1);
    });
    let one = &fixture.one;
    filled(one, "secret", 1).await;
    filled(one, "open", 5).await;
    done(one, "PUT", "/mine", &Value::Null).await;
    done(one, "PUT", "/open/_security", &json!({})).await;
    done(one, "PUT", "/mine/_security", &json!({ "members": { "names": ["jan"] } })).await;
    let jan = json!({ "type": "user", "name": "jan", "roles": [], "password": "tea" });
    let put = of("admin:secret", Ask::new("PUT", "/_users/org.couchdb.user:jan", &jan.to_string()));
    assert_eq!(ask_of(&closed, put).await.0, 201);
    let replicate = |source: &str, target: &str| {
        Ask::new("POST", "/_replicate", &json!({ "source": source, "target": target }).to_string())
    };
    let (status, told) = ask_of(&closed, replicate("open", "mine")).await;
    assert_eq!((status, told["error"].as_str()), (401, Some("unauthorized")));
    // A member may not write design documents: that one stays behind, and is counted.
    let (status, told) = ask_of(&closed, of("jan:tea", replicate("open", "mine"))).await;
    let session = &told["history"][0];
    assert_eq!(
        (status, &session["doc_write_failures"], &session["docs_written"]),
        (200, &json!(1), &json!(11)),
        "{told}"
    );
    assert_eq!(say(one, "GET", "/mine/_design/d", &Value::Null).await.0, 404);
    for (source, target) in [("secret", "mine"), ("open", "secret")] {
        let (status, told) = ask_of(&closed, of("jan:tea", replicate(source, target))).await;
        assert_eq!((status, told["error"].as_str()), (403, Some("forbidden")), "{source} to {target}: {told}");
    }
    for path in ["/_scheduler/jobs", "/_scheduler/docs", "/_active_tasks", "/_replicator/_all_docs", "/_replicator/x"] {
        assert_eq!(ask_of(&closed, of("jan:tea", Ask::new("GET", path, ""))).await.0, 401, "{path}");
    }
    let other = json!({ "source": "open", "target": "mine", "user_ctx": { "name": "admin", "roles": ["_admin"] } });
    let (status, told) = ask_of(&closed, of("jan:tea", Ask::new("POST", "/_replicate", &other.to_string()))).await;
    assert_eq!((status, told["error"].as_str()), (403, Some("forbidden")), "{told}");
    closed.end().await;
    fixture.end().await;
}

async fn doc_state(router: &OtherRouter, id: &str) -> String {
    let (_, row) = say(router, "GET", &format!("/_scheduler/docs/_replicator/{id}"), &Value::Null).await;
    row["state"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_done_once_and_told_so() {
    let fixture = Fixture::start().await;
    let one = &fixture.one;
    filled(one, "a", 10).await;
    let wish = json!({ "source": "a", "target": "b", "create_target": true, "n": 1.50 });
    done(one, "PUT", "/_replicator/once", &wish).await;
    until(|| async { doc_state(one, "once").await == "completed" }).await;
    assert_eq!(trees(one, "a").await, trees(one, "b").await);
    let doc = get(one, "/_replicator/once").await;
    assert_eq!((&doc["_replication_state"], &doc["owner"]), (&json!("completed"), &Value::Null));
    assert_eq!(doc["_replication_stats"]["docs_written"], json!(17));
    assert!(doc["_replication_state_time"].as_str().is_some_and(|time| time.ends_with('Z')), "{doc}");
    let row = get(one, "/_scheduler/docs/_replicator/once").await;
    assert_eq!((&row["state"], &row["info"]["docs_written"]), (&json!("completed"), &json!(17)));
    until(|| async { get(one, "/_scheduler/jobs").await["total_rows"] == json!(0) }).await;

    let (status, told) = say(one, "PUT", "/_replicator/bad", &json!({ "source": "a" })).await;
    assert_eq!((status, told["reason"].as_str()), (403, Some("Missing `target` field")));
    // What comes in by replication is not looked at as what is written here, and is told to be bad.
    let graft = json!({ "new_edits": false, "docs": [{ "_id": "bad", "_rev": "1-x", "source": "a",
        "_replication_state": "triggered" }] });
    let rows = done(one, "POST", "/_replicator/_bulk_docs", &graft).await;
    assert_eq!(rows[0]["error"], json!("forbidden"), "{rows}");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_is_tried_again_until_it_succeeds_or_is_deleted() {
    let fixture = Fixture::start().await;
    let one = &fixture.one;
    filled(one, "a", 10).await;
    let rev = done(one, "PUT", "/_replicator/no", &json!({ "source": "none", "target": "a" })).await["rev"].clone();
    done(one, "PUT", "/_replicator/later", &json!({ "source": "a", "target": "later" })).await;
    until(|| async {
        let row = get(one, "/_scheduler/docs/_replicator/no").await;
        row["state"] == json!("crashing") && row["error_count"].as_u64() >= Some(2)
    })
    .await;
    let row = get(one, "/_scheduler/docs/_replicator/no").await;
    assert_eq!(row["info"]["error"], json!("could not open none"));
    let jobs = get(one, "/_scheduler/jobs").await;
    let history = jobs["jobs"][0]["history"].as_array().expect("events");
    assert!(history.iter().any(|event| event["type"] == "crashed" && event["reason"].is_string()), "{jobs}");
    let crashing = get(one, "/_scheduler/docs?states=crashing").await;
    assert_eq!(crashing["total_rows"], json!(2), "{crashing}");
    let path = format!("/_replicator/no?rev={}", rev.as_str().expect("a revision"));
    done(one, "DELETE", &path, &Value::Null).await;
    done(one, "PUT", "/later", &Value::Null).await;
    until(|| async { doc_state(one, "later").await == "completed" }).await;
    until(|| async { get(one, "/_scheduler/jobs").await["total_rows"] == json!(0) }).await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_continuous_one_goes_on_when_its_router_ends_or_dies() {
    let fixture = Fixture::start().await;
    let one = &fixture.one;
    filled(one, "a", 10).await;
    done(one, "PUT", "/b", &Value::Null).await;
    // The first router has no room, so that another one has to take it.
    let second = router(&fixture.cluster, |_| {});
    let wish = json!({ "source": "a", "target": "b", "continuous": true });
    done(one, "PUT", "/_replicator/live", &wish).await;
    let holder = || async { get(one, "/_scheduler/docs/_replicator/live").await["node"].as_str().map(str::to_owned) };
    let arrived = |id: String| async move { say(one, "GET", &format!("/b/{id}"), &Value::Null).await.0 == 200 };
    done(one, "PUT", "/a/first", &json!({})).await;
    until(|| arrived("first".to_owned())).await;
    assert_eq!(doc_state(one, "live").await, "running");
    let running = get(one, "/_active_tasks").await;
    assert_eq!((&running[0]["type"], &running[0]["doc_id"]), (&json!("replication"), &json!("live")), "{running}");
    let before = holder().await;
    // In order, then without a word.
    let third = router(&fixture.cluster, |_| {});
    let Fixture { cluster, one: first } = fixture;
    first.retire().await;
    let third = &third;
    done(third, "PUT", "/a/second", &json!({})).await;
    until(|| async { say(third, "GET", "/b/second", &Value::Null).await.0 == 200 }).await;
    second.end().await;
    done(third, "PUT", "/a/third", &json!({})).await;
    until(|| async { say(third, "GET", "/b/third", &Value::Null).await.0 == 200 }).await;
    assert_eq!(trees(third, "a").await, trees(third, "b").await);
    let after = get(third, "/_scheduler/docs/_replicator/live").await["node"].as_str().map(str::to_owned);
    assert!(before.is_some() && after.is_some(), "{before:?} {after:?}");
    let rev = get(third, "/_replicator/live").await["_rev"].clone();
    done(third, "DELETE", &format!("/_replicator/live?rev={}", rev.as_str().expect("a revision")), &Value::Null).await;
    until(|| async { get(third, "/_scheduler/jobs").await["total_rows"] == json!(0) }).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_begins_one_that_goes_on_and_any_router_cancels_it() {
    let fixture = Fixture::start().await;
    let one = &fixture.one;
    filled(one, "a", 10).await;
    done(one, "PUT", "/b", &Value::Null).await;
    let order = json!({ "source": "a", "target": "b", "continuous": true });
    let (status, begun) = say(one, "POST", "/_replicate", &order).await;
    let id = begun["_local_id"].as_str().expect("an id").to_owned();
    assert!(status == 202 && id.ends_with("+continuous"), "{begun}");
    assert_eq!(done(one, "POST", "/_replicate", &order).await["_local_id"], json!(id), "once is enough");
    done(one, "PUT", "/a/new", &json!({})).await;
    until(|| async { say(one, "GET", "/b/new", &Value::Null).await.0 == 200 }).await;
    let other = router(&fixture.cluster, |_| {});
    let job = get(&other, &format!("/_scheduler/jobs/{}", id.replace('+', "%2B"))).await;
    assert_eq!((&job["source"], &job["doc_id"]), (&json!("a"), &Value::Null), "{job}");
    let cancel = json!({ "replication_id": id, "cancel": true });
    assert_eq!(done(&other, "POST", "/_replicate", &cancel).await["_local_id"], json!(id));
    assert_eq!(say(&other, "POST", "/_replicate", &cancel).await.0, 404);
    until(|| async { get(one, "/_scheduler/jobs").await["total_rows"] == json!(0) }).await;
    other.end().await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_without_room_wait_for_their_turn_and_all_get_there() {
    let cluster = TestCluster::start(1, 1).await;
    let one = router(&cluster, |config| (config.replicator.jobs_max, config.replicator.turn_s) = (2, 1));
    for n in 0..5 {
        filled(&one, &format!("s{n}"), 3).await;
        let wish =
            json!({ "source": format!("s{n}"), "target": format!("t{n}"), "create_target": true, "continuous": true });
        done(&one, "PUT", &format!("/_replicator/r{n}"), &wish).await;
    }
    for n in 0..5 {
        until(|| async { say(&one, "GET", &format!("/t{n}/precise"), &Value::Null).await.0 == 200 }).await;
    }
    let jobs = get(&one, "/_scheduler/docs?states=running").await;
    assert!(jobs["total_rows"].as_u64() <= Some(2), "{jobs}");
    one.retire().await;
    cluster.end().await;
}
