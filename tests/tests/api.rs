//! What apps are promised over HTTP, against three nodes, three shards and two routers.

use std::collections::BTreeMap;

use harness::Result;
use harness::client::Client;
use harness::cluster::{Cluster, PATIENCE};
use harness::layout::Layout;
use harness::load::{Load, Options};
use harness::scenario::scenario;
use http::Method;
use serde_json::{Value, json};

const DB: &str = "facts";

fn ensure(fact: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if fact { Ok(()) } else { Err(otherwise().into()) }
}

async fn with_db(test: impl AsyncFnOnce(&mut Cluster, &Client, &Client) -> Result<()>) {
    scenario(Layout::three(3).routers(2), async |cluster| {
        let (one, other) = (cluster.router(1), cluster.router(2));
        one.create_db(DB).await?;
        test(cluster, &one, &other).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_equal_edits_of_one_parent_give_one_201_and_one_409() {
    with_db(async |_, one, other| {
        for round in 0..50 {
            let path = format!("/{DB}/raced-{round}");
            let rev = one.put(&path, r#"{"n":0}"#).await?.expect(201)?.field("rev");
            let edit = json!({ "_rev": rev, "n": 1 }).to_string();
            let (a, b) = futures::join!(one.put(&path, edit.clone()), other.put(&path, edit.clone()));
            let mut statuses = [a?.status.as_u16(), b?.status.as_u16()];
            statuses.sort_unstable();
            ensure(statuses == [201, 409], || format!("round {round}: {statuses:?}"))?;
            let new = format!("{path}-new");
            let creates = futures::join!(one.put(&new, "{}"), other.put(&new, "{}"));
            let mut statuses = [creates.0?.status.as_u16(), creates.1?.status.as_u16()];
            statuses.sort_unstable();
            ensure(statuses == [201, 409], || format!("round {round}, created twice: {statuses:?}"))?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_text_come_back_as_sent() {
    with_db(async |_, one, other| {
        let bodies = [
            r#"{"n":12345678901234567890}"#,
            r#"{"n":0.1000000000000000000000000000001,"e":1E400,"z":-0}"#,
            r#"{"text":"\u00e4\ud83d\ude00 ä","empty":{},"list":[ ],"deep":[[[[[[1]]]]]]}"#,
        ];
        for (n, body) in bodies.iter().enumerate() {
            let path = format!("/{DB}/kept-{n}");
            let rev = one.put(&path, *body).await?.expect(201)?.field("rev");
            let expected = format!(r#"{{"_id":"kept-{n}","_rev":"{rev}",{}"#, &body[1..]);
            let read = other.get(&path).await?.expect(200)?.text();
            ensure(read.trim_end() == expected, || format!("sent {expected}, got {read}"))?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_documents_are_refused_and_nothing_is_stored() {
    with_db(async |_, one, _| {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
        let large = json!({ "pad": "x".repeat(9 << 20) }).to_string();
        let cases: Vec<(&str, String, u16)> = vec![
            ("malformed", "{\"a\":".to_owned(), 400),
            ("trailing", "{} x".to_owned(), 400),
            ("array", "[1]".to_owned(), 400),
            ("twice", r#"{"a":1,"a":2}"#.to_owned(), 400),
            ("twice-inside", r#"{"x":{"a":1,"\u0061":2}}"#.to_owned(), 400),
            ("deep", deep, 400),
            ("large", large, 413),
            ("member", r#"{"_unknown":1}"#.to_owned(), 400),
            ("rev", r#"{"_rev":"nonsense"}"#.to_owned(), 400),
        ];
        for (id, body, expected) in cases {
            let reply = one.put(&format!("/{DB}/{id}"), body).await?;
            ensure(reply.status == expected, || format!("{id}: {} {}", reply.status, reply.text()))?;
            ensure(!reply.field("error").is_empty(), || format!("{id}: no error in {}", reply.text()))?;
            one.get(&format!("/{DB}/{id}")).await?.expect(404)?;
        }
        let not_utf8 = one.put(&format!("/{DB}/utf8"), b"{\"a\":\"\xff\xfe\"}".to_vec()).await?;
        ensure(not_utf8.status == 400, || format!("not UTF-8: {}", not_utf8.status))?;
        let total = one.get(&format!("/{DB}/_all_docs")).await?.expect(200)?.json();
        ensure(total["total_rows"] == 0, || format!("something was stored: {total}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_still_writing_a_body_that_is_too_large_reads_the_413() {
    with_db(async |_, one, _| {
        for mib in [9, 20].into_iter().cycle().take(20) {
            let body = json!({ "pad": "x".repeat(mib << 20) }).to_string();
            for (method, path) in [(Method::PUT, format!("/{DB}/x")), (Method::POST, format!("/{DB}/_bulk_docs"))] {
                let reply = one.json(method, &path, body.clone()).await?.expect(413)?;
                ensure(reply.field("error") == "too_large", || reply.text())?;
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_ids_and_names_are_refused() {
    with_db(async |_, one, _| {
        let too_long = "x".repeat(600);
        for (id, expected) in [("_reserved", vec![400, 404, 405]), (too_long.as_str(), vec![400, 414])] {
            let reply = one.put(&format!("/{DB}/{id}"), "{}").await?;
            let fits = expected.contains(&reply.status.as_u16());
            ensure(fits, || format!("id {id}: {} {}", reply.status, reply.text()))?;
        }
        for name in ["Bad", "9a", "a%20b", "_nonsense"] {
            let reply = one.put(&format!("/{name}"), "").await?;
            ensure(reply.status.is_client_error(), || format!("database {name}: {} {}", reply.status, reply.text()))?;
        }
        one.get("/missing-db/x").await?.expect(404)?;
        one.put(&format!("/{DB}"), "").await?.expect(412).map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_seen_at_once_through_every_router_in_every_kind_of_read() {
    with_db(async |_, one, other| {
        for n in 0..50 {
            let id = format!("seen-{n:03}");
            one.put(&format!("/{DB}/{id}"), json!({ "n": n }).to_string()).await?.expect(201)?;
            let read = other.get(&format!("/{DB}/{id}")).await?.expect(200)?;
            ensure(read.json()["n"] == n, || read.text())?;
            let all = other.get(&format!("/{DB}/_all_docs?startkey=%22{id}%22")).await?.expect(200)?.json();
            ensure(all["rows"][0]["id"] == *id, || format!("_all_docs misses {id}: {all}"))?;
            let info = other.get(&format!("/{DB}")).await?.expect(200)?.json();
            ensure(info["doc_count"] == n + 1, || format!("doc_count is not {}: {info}", n + 1))?;
            let (changes, _) = other.changes(DB, "0").await?;
            ensure(changes.iter().any(|(changed, _)| *changed == id), || format!("_changes misses {id}"))?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_resumed_from_its_token_over_kills_misses_nothing_and_invents_nothing() {
    with_db(async |cluster, one, other| {
        let load = Load::start(cluster.routers(), Options::simple(DB, 8, 8));
        let mut latest: BTreeMap<String, String> = BTreeMap::new();
        let mut token = "0".to_owned();
        for round in 0..6 {
            load.progress(100, None, PATIENCE).await?;
            let node = cluster.primary_of(round % 3).await?;
            cluster.kill(&node);
            load.progress(50, None, PATIENCE).await?;
            let client = if round % 2 == 0 { one } else { other };
            let (rows, last) = client.changes(DB, &token).await?;
            ensure(!rows.is_empty(), || format!("round {round}: nothing since {token}"))?;
            latest.extend(rows);
            token = last;
            cluster.restart(&node)?;
            cluster.wait_healthy().await?;
        }
        load.finish().await?.clean()?;
        latest.extend(one.changes(DB, &token).await?.0);
        let all = one.get(&format!("/{DB}/_all_docs")).await?.expect(200)?.json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = all["rows"].as_array().ok_or("no rows")?;
        let now: BTreeMap<String, String> =
            rows.iter().map(|row| (text(&row["id"]), text(&row["value"]["rev"]))).collect();
        ensure(now == latest, || format!("the feed said {latest:#?}\nthere is {now:#?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_repeated_under_its_key_is_answered_as_the_first_and_done_once() {
    with_db(async |_, one, other| {
        let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
        let path = format!("/{DB}/once");
        let put = async |client: &Client| client.send(Method::PUT, &path, &headers, r#"{"n":1}"#.into()).await;
        let first = put(one).await?.expect(201)?.field("rev");
        for client in [one, other, one] {
            let again = put(client).await?.expect(201)?.field("rev");
            ensure(again == first, || format!("{again} is not {first}"))?;
        }
        one.put(&path, r#"{"n":1}"#).await?.expect(409).map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_internal_port_serves_nobody_without_the_secret() {
    with_db(async |cluster, _, _| {
        let address = cluster.address_of("n1");
        let strangers = [Client::new(&address), Client::new(&address).bearer("a-secret-that-is-not-the-clusters")];
        for stranger in strangers {
            let state = stranger.get("/v1/_replication/state").await?;
            ensure(matches!(state.status.as_u16(), 401 | 403), || format!("state: {}", state.status))?;
            for path in ["/v1/_replication/promote", "/v1/_replication/vote", "/v1/shards/0/write"] {
                let reply = stranger.post(path, "{}").await?;
                ensure(matches!(reply.status.as_u16(), 401 | 403), || format!("{path}: {}", reply.status))?;
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_deleted_and_made_again_is_empty() {
    with_db(async |_, one, other| {
        for round in 0..3 {
            one.put(&format!("/{DB}/x"), json!({ "round": round }).to_string()).await?.expect(201)?;
            one.delete(&format!("/{DB}")).await?.expect(200)?;
            other.get(&format!("/{DB}/x")).await?.expect(404)?;
            other.put(&format!("/{DB}"), "").await?.expect(201)?;
            one.get(&format!("/{DB}/x")).await?.expect(404)?;
            let info = one.get(&format!("/{DB}")).await?.expect(200)?.json();
            ensure(info["doc_count"] == 0, || format!("round {round}: {info}"))?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_show_the_state_of_every_replica() {
    with_db(async |_, one, other| {
        for client in [one, other] {
            for path in ["/v1/_replication/state", "/_replication/state"] {
                let text = client.get(path).await?.expect(200)?.text();
                for node in ["n1", "n2", "n3"] {
                    ensure(text.contains(&format!("\"{node}\"")), || format!("{path} lacks {node}: {text}"))?;
                }
            }
        }
        Ok(())
    })
    .await;
}

/// One batch of five documents in a partition; sent again under its key until it is answered for good.
async fn batch(clients: &[Client], key: usize) -> Result<()> {
    let docs: Vec<Value> = (0..5).map(|part| json!({ "_id": format!("p:{key:04}-{part}"), "key": key })).collect();
    let body = json!({ "docs": docs, "atomic": true }).to_string();
    let name = format!("batch-{key}");
    let headers = [("content-type", "application/json"), ("idempotency-key", name.as_str())];
    let until = tokio::time::Instant::now() + PATIENCE;
    for client in clients.iter().cycle() {
        let sent = client.send(Method::POST, "/whole/_bulk_docs", &headers, body.clone().into()).await;
        match sent.as_ref().map(|reply| reply.status.as_u16()) {
            Ok(201) => return Ok(()),
            Ok(429 | 500..) | Err(_) if tokio::time::Instant::now() < until => {}
            _ => return Err(format!("batch {key}: {sent:?}").into()),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Err("no router".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn atomic_batches_are_whole_and_a_partitions_feed_misses_none_over_kills() {
    with_db(async |cluster, one, other| {
        one.put("/whole?partitioned=true", "").await?.expect(201)?;
        let clients = [one.clone(), other.clone()];
        let (mut seen, mut token, mut written) = (Vec::new(), "0".to_owned(), 0);
        for round in 0..6 {
            let shard = one.get("/whole/_shards/p:x").await?.expect(200)?.json()["range"].clone();
            let node = cluster.primary_of(round % 3).await?;
            let writing = futures::future::try_join_all((0..40).map(|n| batch(&clients, written + n)));
            let killing = async {
                one.get("/whole").await?;
                cluster.kill(&node);
                Ok::<_, harness::Error>(())
            };
            let (batches, killed) = futures::join!(writing, killing);
            batches.map_err(|error| format!("{error}, range {shard}"))?;
            killed?;
            written += 40;
            // Whoever is there, from either router: whole batches, and what follows goes on behind them.
            let client = &clients[round as usize % 2];
            let path = format!("/whole/_partition/p/_changes?since={token}");
            let page = client.get(&path).await?.expect(200)?.json();
            seen.extend(page["results"].as_array().ok_or("no rows")?.iter().map(|row| row["id"].to_string()));
            token = page["last_seq"].as_str().ok_or("no token")?.to_owned();
            cluster.restart(&node)?;
            cluster.wait_healthy().await?;
        }
        let mut wanted: Vec<String> =
            (0..written).flat_map(|key| (0..5).map(move |part| format!("\"p:{key:04}-{part}\""))).collect();
        wanted.sort();
        let all = other.get("/whole/_partition/p/_all_docs").await?.expect(200)?.json();
        let all: Vec<String> =
            all["rows"].as_array().ok_or("no rows")?.iter().map(|row| row["id"].to_string()).collect();
        ensure(all == wanted, || format!("there are {} documents of {}", all.len(), wanted.len()))?;
        let ends = seen.chunks(5).all(|five| five.iter().all(|id| id[..7] == five[0][..7]));
        ensure(ends, || "a batch was cut in the feed".to_owned())?;
        seen.sort();
        ensure(seen == wanted, || format!("the feed showed {} rows of {}", seen.len(), wanted.len()))
    })
    .await;
}
