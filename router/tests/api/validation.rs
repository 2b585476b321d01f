//! Validation functions on several shards and routers: in force everywhere once they are acknowledged, and not any more
//! once they are acknowledged to be gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use common::command::{Body, Command, Edit, EditKind, Op, Outcome};
use common::config::Admin;
use common::ids::{DbName, DocId, RequestId};
use http::header;
use router::cluster::catalog::Catalog;
use serde_json::{Value, json};

use crate::cluster::{Ask, OtherRouter, TestCluster};

const NO_BAD_ONES: &str = "function (doc) { if (doc.kind === 'bad') throw({forbidden: 'no bad ones'}) }";

/// A cluster of three shards with two routers, and a database.
struct Fixture {
    cluster: TestCluster,
    routers: [OtherRouter; 2],
}

impl Fixture {
    async fn start() -> Self {
        let cluster = TestCluster::start(3, 1).await;
        let router = || cluster.router(|_| {}, Arc::new(|| 1_700_000_000_000));
        let fixture = Self { routers: [router(), router()], cluster };
        fixture.done(0, "PUT", "/db", &Value::Null).await;
        fixture
    }

    async fn end(self) {
        for router in self.routers {
            router.end().await;
        }
        self.cluster.end().await;
    }

    async fn say(&self, router: usize, method: &str, path: &str, body: &Value) -> (u16, Value) {
        say(&self.routers[router], method, path, body, &[]).await
    }

    async fn done(&self, router: usize, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.say(router, method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// The statuses of writing so many documents of a kind, so that every shard has some of them.
    async fn statuses(&self, router: usize, prefix: &str, kind: &str) -> Vec<u16> {
        let mut statuses = Vec::new();
        for n in 0..12 {
            let (status, _) = self.say(router, "PUT", &format!("/db/{prefix}-{n}"), &json!({ "kind": kind })).await;
            statuses.push(status);
        }
        statuses
    }
}

async fn say(router: &OtherRouter, method: &str, path: &str, body: &Value, headers: &[(&str, &str)]) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let mut ask = Ask::new(method, path, &body);
    ask.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let answered = router.ask(&ask).await;
    (answered.response.status().as_u16(), serde_json::from_str(&answered.body).unwrap_or(Value::Null))
}

fn function(text: &str) -> Value {
    json!({ "validate_doc_update": text })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_function_is_in_force_through_every_router_and_so_is_its_removal() {
    let fixture = Fixture::start().await;
    for round in 0..6 {
        let (one, other) = (round % 2, 1 - round % 2);
        let path = format!("/db/_design/v{round}");
        let rev = fixture.done(one, "PUT", &path, &function(NO_BAD_ONES)).await["rev"].clone();
        assert_eq!(fixture.statuses(other, &format!("bad{round}"), "bad").await, [403; 12], "round {round}");
        assert_eq!(fixture.statuses(one, &format!("bad{round}"), "bad").await, [403; 12], "round {round}");
        assert_eq!(fixture.statuses(other, &format!("good{round}"), "good").await, [201; 12], "round {round}");
        let path = format!("{path}?rev={}", rev.as_str().expect("a revision"));
        match round % 3 {
            0 => fixture.done(other, "DELETE", &path, &Value::Null).await,
            1 => fixture.done(other, "PUT", &path, &json!({})).await,
            _ => fixture.done(other, "POST", "/db/_purge", &json!({ format!("_design/v{round}"): [rev] })).await,
        };
        assert_eq!(fixture.statuses(one, &format!("bad{round}"), "bad").await, [201; 12], "round {round}");
        assert_eq!(fixture.statuses(other, &format!("other{round}"), "bad").await, [201; 12], "round {round}");
    }
    fixture.end().await;
}

/// Writers that count up a number, and a function that allows none below a floor that rises. What was sent behind the
/// acknowledgement of a floor is never taken below it; what is above every floor there ever was is never refused.
#[tokio::test(flavor = "multi_thread")]
async fn no_write_breaks_a_rule_that_was_acknowledged_before_it_was_sent() {
    let fixture = Fixture::start().await;
    let (acknowledged, begun, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let (taken, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let writer = async |at: usize| {
        let mut n = 0;
        while !over.load(Ordering::SeqCst) {
            n += 1;
            let floor = acknowledged.load(Ordering::SeqCst);
            let value = (floor + 3).saturating_sub(n % 6);
            let doc = |part: &str| json!({ "_id": format!("w{at}-{n}-{part}"), "n": value });
            let rows: Vec<(u16, String)> = if n % 3 == 0 {
                let docs: Vec<Value> = ["a", "b", "c"].map(doc).to_vec();
                let docs = json!({ "docs": docs });
                let (status, rows) = fixture.say(at % 2, "POST", "/db/_bulk_docs", &docs).await;
                let row = |row: &Value| match row["ok"].as_bool() {
                    Some(_) => (201, row.to_string()),
                    None if row["error"] == "forbidden" => (403, row.to_string()),
                    None => (status, row.to_string()),
                };
                assert_eq!(status, 201, "{rows}");
                rows.as_array().expect("rows").iter().map(row).collect()
            } else {
                let doc = doc("d");
                let path = format!("/db/{}", doc["_id"].as_str().expect("an id"));
                let (status, answer) = fixture.say(at % 2, "PUT", &path, &doc).await;
                vec![(status, answer.to_string())]
            };
            let highest = begun.load(Ordering::SeqCst);
            for (status, answer) in rows {
                match status {
                    201 => assert!(value >= floor, "{value} was taken where {floor} was the least: {answer}"),
                    403 => assert!(value < highest, "{value} was refused where {highest} was enough: {answer}"),
                    _ => panic!("{status} {answer}"),
                }
                (if status == 201 { &taken } else { &refused }).fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let raise = async {
        let mut rev = Value::Null;
        for floor in 1..=25u64 {
            begun.store(floor, Ordering::SeqCst);
            let text = format!("function (doc) {{ if (doc.n < {floor}) throw({{forbidden: 'below {floor}'}}) }}");
            let mut body = function(&text);
            if !rev.is_null() {
                body["_rev"] = rev;
            }
            rev = fixture.done(usize::from(floor % 2 == 0), "PUT", "/db/_design/v", &body).await["rev"].clone();
            acknowledged.store(floor, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        over.store(true, Ordering::SeqCst);
    };
    futures::future::join(raise, futures::future::join_all((0..6).map(writer))).await;
    let (taken, refused) = (taken.into_inner(), refused.into_inner());
    assert!(taken > 50 && refused > 50, "{taken} taken, {refused} refused");
    fixture.end().await;
}

/// Writes a design document as far as a router gets that dies before it has told the other shards; its revision, and ids of
/// documents on its own shard and on others.
async fn half_done(fixture: &Fixture) -> (Value, Vec<String>, Vec<String>) {
    let cluster = fixture.cluster.commands();
    let catalog = Catalog::start(cluster.clone(), Arc::new(|| 1_700_000_000_000));
    let db = catalog.db(&DbName::parse("db").expect("valid")).await.expect("it is there");
    let id = DocId::parse("_design/v").expect("valid");
    let (shard, doc) = cluster.locate(db.uid, false, &id);
    let body = Body::of(Bytes::from(function(NO_BAD_ONES).to_string()));
    let edit = Edit { doc, parent: None, kind: EditKind::Update, body, revs_limit: 1000 };
    let command = Command { request: RequestId(uuid::Uuid::from_u128(7)), retry: false, op: Op::Edit(edit) };
    let outcome = cluster.write(shard, command).await.expect("a primary");
    let Outcome::Written { rev, .. } = outcome else { panic!("{outcome:?}") };
    let there = |id: &String| cluster.locate(db.uid, false, &DocId::parse(id).expect("valid")).0 == shard;
    let (at_home, abroad) = (0..2_000).map(|n| format!("x-{n}")).partition(there);
    (json!(rev.to_string()), at_home, abroad)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_router_left_half_done_is_brought_to_its_end_by_a_write_that_meets_it() {
    let fixture = Fixture::start().await;
    let (_, at_home, abroad) = half_done(&fixture).await;
    let bad = json!({ "kind": "bad" });
    let (status, answer) = fixture.say(0, "PUT", &format!("/db/{}", at_home[0]), &bad).await;
    assert_eq!((status, &answer["reason"]), (403, &json!("no bad ones")));
    for id in abroad.iter().take(20) {
        assert_eq!(fixture.say(1, "PUT", &format!("/db/{id}"), &bad).await.0, 403, "{id}");
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replicator_is_told_that_a_function_is_there_once_it_is_everywhere() {
    let fixture = Fixture::start().await;
    let (rev, _, abroad) = half_done(&fixture).await;
    let missing = fixture.done(0, "POST", "/db/_revs_diff", &json!({ "_design/v": [rev] })).await;
    assert_eq!(missing, json!({}));
    for id in abroad.iter().take(20) {
        assert_eq!(fixture.say(1, "PUT", &format!("/db/{id}"), &json!({ "kind": "bad" })).await.0, 403, "{id}");
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_of_a_design_document_that_comes_too_late_brings_it_everywhere_behind_its_answer() {
    let fixture = Fixture::start().await;
    let (_, _, abroad) = half_done(&fixture).await;
    assert_eq!(fixture.say(0, "PUT", "/db/_design/v", &function(NO_BAD_ONES)).await.0, 409);
    let bad = json!({ "kind": "bad" });
    // None of these meets the shard that knows of the function.
    let mut told = false;
    for id in abroad {
        match fixture.say(1, "PUT", &format!("/db/{id}"), &bad).await.0 {
            403 => told = true,
            201 => tokio::time::sleep(Duration::from_millis(20)).await,
            status => panic!("{id}: {status}"),
        }
        if told {
            break;
        }
    }
    assert!(told, "nobody tells the other shards");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_done_is_known_whatever_functions_there_are_by_then() {
    let fixture = Fixture::start().await;
    let bad = json!({ "kind": "bad" });
    let keyed = async |router: usize, method: &str, path: &str, body: &Value| {
        say(&fixture.routers[router], method, path, body, &[("idempotency-key", "mine")]).await
    };
    let docs = json!({ "docs": [{ "_id": "b", "kind": "bad" }, { "_id": "c" }] });
    let (one, many) = (keyed(0, "PUT", "/db/a", &bad).await, keyed(0, "POST", "/db/_bulk_docs", &docs).await);
    assert_eq!((one.0, many.0), (201, 201), "{one:?} {many:?}");
    fixture.done(0, "PUT", "/pdb?partitioned=true", &Value::Null).await;
    let batch = json!({ "atomic": true, "docs": [{ "_id": "p:a", "kind": "bad" }, { "_id": "p:b" }] });
    let atomic = keyed(0, "POST", "/pdb/_bulk_docs", &batch).await;
    assert_eq!(atomic.0, 201, "{atomic:?}");
    for db in ["db", "pdb"] {
        fixture.done(1, "PUT", &format!("/{db}/_design/v"), &function(NO_BAD_ONES)).await;
    }
    for router in [1, 0] {
        assert_eq!(keyed(router, "PUT", "/db/a", &bad).await, one);
        assert_eq!(keyed(router, "POST", "/db/_bulk_docs", &docs).await, many);
        assert_eq!(keyed(router, "POST", "/pdb/_bulk_docs", &batch).await, atomic);
        assert_eq!(keyed(router, "PUT", "/db/new", &bad).await.0, 403);
    }
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_attachment_is_kept_while_its_document_is_put_to_functions_that_were_not_known() {
    let fixture = Fixture::start().await;
    let text = "function (doc, old) { if (!doc._attachments.f.stub || doc._attachments.f.length < 500000) throw({forbidden: \
                'small'}) ; if (old && old._attachments.f.revpos !== 1) throw({forbidden: 'odd'}) }";
    fixture.done(0, "PUT", "/db/_design/v", &function(text)).await;
    let large = Bytes::from_iter((0..700_000u32).map(|at| (at >> 3) as u8));
    let put = async |router: usize, path: &str, bytes: &Bytes| {
        let mut ask = Ask::new("PUT", path, "");
        ask.headers.push((header::CONTENT_TYPE.to_string(), "application/octet-stream".to_owned()));
        ask.body = bytes.to_vec();
        let answered = fixture.routers[router].ask(&ask).await;
        (answered.response.status().as_u16(), answered.body)
    };
    // The second router does not know the function yet.
    let (status, answer) = put(1, "/db/a/f", &large).await;
    assert_eq!(status, 201, "{answer}");
    let rev = serde_json::from_str::<Value>(&answer).expect("JSON")["rev"].as_str().expect("a revision").to_owned();
    let (_, bytes) = fixture.cluster.bytes(&Ask::new("GET", "/db/a/f", "")).await;
    assert!(bytes == large, "other bytes came back");
    assert_eq!(put(0, "/db/b/f", &large.slice(..100_000)).await.0, 403);
    assert_eq!(put(0, "/db/b/f", &large.slice(..10)).await.0, 403);
    let (status, answer) = put(0, &format!("/db/a/g?rev={rev}"), &large.slice(..100)).await;
    assert_eq!(status, 201, "{answer}");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_told_who_writes_and_replications_count_what_they_refuse() {
    let cluster = TestCluster::start(2, 1).await;
    let admin = Admin { name: "admin".to_owned(), password: Some("secret".to_owned()), password_file: None };
    let router = cluster.router(|config| config.admin = Some(admin), Arc::new(|| 1_700_000_000_000));
    let basic = |user: &str| format!("Basic {}", BASE64_STANDARD.encode(user));
    let ask = async |user: &str, method: &str, path: &str, body: &Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut ask = Ask::new(method, path, &body);
        ask.headers.push((header::AUTHORIZATION.to_string(), basic(user)));
        let answered = router.ask(&ask).await;
        let body: Value = serde_json::from_str(&answered.body).unwrap_or(Value::Null);
        (answered.response.status().as_u16(), body)
    };
    let admin = "admin:secret";
    for db in ["/from", "/to"] {
        assert_eq!(ask(admin, "PUT", db, &Value::Null).await.0, 201);
        let members = json!({ "members": { "names": ["jan"] } });
        assert_eq!(ask(admin, "PUT", &format!("{db}/_security"), &members).await.0, 200);
    }
    let email = "function (doc) { if (!doc.email) throw({forbidden: 'no email'}) }";
    assert_eq!(ask(admin, "PUT", "/_users/_design/v", &function(email)).await.0, 201);
    let user = |extra: Value| {
        let mut user = json!({ "name": "jan", "type": "user", "roles": ["tea"], "password": "pot" });
        user.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        user
    };
    let path = "/_users/org.couchdb.user:jan";
    assert_eq!(
        ask(admin, "PUT", path, &user(json!({}))).await,
        (403, json!({"error": "forbidden", "reason": "no email"}))
    );
    assert_eq!(ask(admin, "PUT", path, &user(json!({ "email": "x" }))).await.0, 201);
    let own = "function (doc, old, user, security) {
        if (security.members.names[0] !== 'jan') throw({forbidden: 'odd'});
        if (user.db !== 'to') throw({forbidden: user.db});
        if (user.roles.indexOf('_admin') < 0 && doc.owner !== user.name + '/' + user.roles[0]) throw({forbidden: 'not yours'}) }";
    assert_eq!(ask(admin, "PUT", "/to/_design/v", &function(own)).await.0, 201);
    assert_eq!(ask("jan:pot", "PUT", "/to/a", &json!({ "owner": "ann/tea" })).await.0, 403);
    assert_eq!(ask("jan:pot", "PUT", "/to/a", &json!({ "owner": "jan/tea" })).await.0, 201);
    assert_eq!(ask(admin, "PUT", "/to/b", &json!({ "owner": "ann" })).await.0, 201);
    for (id, owner) in [("c", "jan/tea"), ("d", "ann/tea"), ("e", "jan/tea")] {
        assert_eq!(ask(admin, "PUT", &format!("/from/{id}"), &json!({ "owner": owner })).await.0, 201);
    }
    let (status, told) = ask("jan:pot", "POST", "/_replicate", &json!({ "source": "from", "target": "to" })).await;
    assert_eq!(status, 200, "{told}");
    let history = &told["history"][0];
    assert_eq!((&history["docs_written"], &history["doc_write_failures"]), (&json!(2), &json!(1)), "{told}");
    assert_eq!(ask(admin, "GET", "/to/d", &Value::Null).await.0, 404);
    assert_eq!(ask(admin, "GET", "/to/e", &Value::Null).await.0, 200);
    router.end().await;
    cluster.end().await;
}
