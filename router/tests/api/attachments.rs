//! Attachments: bytes of any size in and out, over one shard and several.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::cluster::{Ask, TestCluster};

/// More than two chunks, and no byte like its neighbour.
fn large() -> Vec<u8> {
    (0..700_001u32).map(|n| (n ^ (n >> 7)) as u8).collect()
}

async fn ask(cluster: &TestCluster, method: &str, path: &str, body: impl Into<Vec<u8>>) -> (u16, Value) {
    let answered = cluster.ask(&Ask { body: body.into(), ..Ask::new(method, path, "") }).await;
    (answered.response.status().as_u16(), serde_json::from_str(&answered.body).unwrap_or(Value::Null))
}

async fn rev_of(cluster: &TestCluster, method: &str, path: &str, body: impl Into<Vec<u8>>) -> String {
    let (status, answer) = ask(cluster, method, path, body).await;
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    answer["rev"].as_str().expect("a revision").to_owned()
}

async fn bytes(cluster: &TestCluster, path: &str, headers: &[(&str, &str)]) -> (http::response::Parts, bytes::Bytes) {
    let mut asked = Ask::new("GET", path, "");
    asked.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    cluster.bytes(&asked).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_any_size_come_back_as_they_were_sent() {
    let cluster = TestCluster::start(3, 1).await;
    ask(&cluster, "PUT", "/db", "").await;
    let large = large();
    for (at, size) in [0, 1, 65_536, 65_537, 245_760, 245_761, 491_520, 700_001].into_iter().enumerate() {
        let path = format!("/db/d{at}/file.bin");
        let rev = rev_of(&cluster, "PUT", &path, &large[..size]).await;
        let (parts, body) = bytes(&cluster, &path, &[]).await;
        assert_eq!((parts.status.as_u16(), body.len()), (200, size));
        assert_eq!(parts.headers["content-length"], size.to_string().as_str());
        assert!(body == large[..size], "{size} bytes are others");
        let (_, doc) = ask(&cluster, "GET", &format!("/db/d{at}"), "").await;
        let stub = &doc["_attachments"]["file.bin"];
        assert_eq!((&stub["length"], &stub["stub"], &stub["revpos"]), (&json!(size), &json!(true), &json!(1)));
        assert_eq!(doc["_rev"], json!(rev));
        // The same in the document, as JSON.
        let (parts, body) =
            bytes(&cluster, &format!("/db/d{at}?attachments=true"), &[("accept", "application/json")]).await;
        assert_eq!(parts.headers["content-length"], body.len().to_string().as_str());
        let doc: Value = serde_json::from_slice(&body).expect("JSON");
        let data = doc["_attachments"]["file.bin"]["data"].as_str().expect("data");
        assert!(BASE64_STANDARD.decode(data).expect("base64") == large[..size]);
    }
    for (range, from, to) in
        [("bytes=0-0", 0, 1), ("bytes=245759-245760", 245_759, 245_761), ("bytes=-5", 699_996, 700_001)]
    {
        let (parts, body) = bytes(&cluster, "/db/d7/file.bin", &[("range", range)]).await;
        assert_eq!(parts.status.as_u16(), 206);
        assert_eq!(parts.headers["content-range"], format!("bytes {from}-{}/700001", to - 1).as_str());
        assert!(body == large[from..to], "{range}");
    }
    let (parts, _) = bytes(&cluster, "/db/d7/file.bin", &[("range", "bytes=700001-")]).await;
    assert_eq!(
        (parts.status.as_u16(), &parts.headers["content-range"]),
        (416, &"bytes */700001".parse().expect("a value"))
    );
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_packed_is_kept_packed_and_unpacked_for_who_does_not_take_it() {
    use std::io::Write;
    let cluster = TestCluster::start(1, 1).await;
    ask(&cluster, "PUT", "/db", "").await;
    let text = large();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&text).expect("a vector takes it");
    let packed = encoder.finish().expect("a vector takes it");
    let mut put = Ask { body: packed.clone(), ..Ask::new("PUT", "/db/a/f", "") };
    put.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));
    put.headers.push(("content-type".to_owned(), "text/plain".to_owned()));
    assert_eq!(cluster.ask(&put).await.response.status().as_u16(), 201);
    let (parts, body) = bytes(&cluster, "/db/a/f", &[("accept-encoding", "gzip")]).await;
    assert_eq!(
        (&parts.headers["content-encoding"], &parts.headers["accept-ranges"]),
        (&"gzip".parse().expect("a value"), &"none".parse().expect("a value"))
    );
    assert!(body == packed);
    for accept in [&[][..], &[("accept-encoding", "gzip;q=0")]] {
        let (parts, body) = bytes(&cluster, "/db/a/f", accept).await;
        assert!(!parts.headers.contains_key("content-encoding") && body == text);
    }
    let (_, doc) =
        bytes(&cluster, "/db/a?attachments=true&att_encoding_info=true", &[("accept", "application/json")]).await;
    let doc: Value = serde_json::from_slice(&doc).expect("JSON");
    let attachment = &doc["_attachments"]["f"];
    assert_eq!((&attachment["encoding"], &attachment["encoded_length"]), (&json!("gzip"), &json!(packed.len())));
    assert!(BASE64_STANDARD.decode(attachment["data"].as_str().expect("data")).expect("base64") == text);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_show_documents_with_the_bytes_of_their_attachments() {
    let cluster = TestCluster::start(3, 1).await;
    ask(&cluster, "PUT", "/db", "").await;
    let large = large();
    let sizes = [0, 1, 70_000, 700_001];
    for (at, size) in sizes.into_iter().enumerate() {
        rev_of(&cluster, "PUT", &format!("/db/d{at}/file.bin"), &large[..size]).await;
    }
    let map = "function (doc) { emit(doc._id, {_id: 'd' + (3 - +doc._id[1])}) }";
    let plain = "function (doc) { emit(doc._id) }";
    let design = json!({"views": {"plain": {"map": plain}, "linked": {"map": map}}});
    rev_of(&cluster, "PUT", "/db/_design/v", design.to_string()).await;
    let data = |row: &Value| {
        let data = row["doc"]["_attachments"]["file.bin"]["data"].as_str().expect("data");
        BASE64_STANDARD.decode(data).expect("base64")
    };
    for (view, wanted) in [("plain", [0, 1, 2, 3]), ("linked", [3, 2, 1, 0])] {
        let path = format!("/db/_design/v/_view/{view}?include_docs=true");
        let (status, answer) = ask(&cluster, "GET", &format!("{path}&attachments=true"), "").await;
        let rows = answer["rows"].as_array().expect("rows");
        assert_eq!((status, rows.len()), (200, 4));
        for (row, at) in rows.iter().zip(wanted) {
            assert_eq!(row["doc"]["_id"], json!(format!("d{at}")));
            assert!(data(row) == large[..sizes[at]], "{view}: others of {at}");
        }
        let (_, answer) = ask(&cluster, "GET", &path, "").await;
        assert_eq!(answer["rows"][0]["doc"]["_attachments"]["file.bin"]["stub"], json!(true));
    }
    let queries = json!({"queries": [{"key": "d3"}, {"key": "d1", "descending": true}]});
    let mut several =
        Ask::new("POST", "/db/_design/v/_view/plain/queries?include_docs=true&attachments=true", &queries.to_string());
    several.headers.push(("accept".to_owned(), "application/json".to_owned()));
    let answer: Value = serde_json::from_str(&cluster.ask(&several).await.body).expect("JSON");
    assert!(data(&answer["results"][0]["rows"][0]) == large && data(&answer["results"][1]["rows"][0]) == large[..1]);
    cluster.end().await;
}

/// The body of a document with its attachments behind it.
fn related(doc: &Value, parts: &[&[u8]]) -> Vec<u8> {
    let mut body = format!("--b\r\ncontent-type: application/json\r\n\r\n{doc}").into_bytes();
    for part in parts {
        body.extend_from_slice(b"\r\n--b\r\n\r\n");
        body.extend_from_slice(part);
    }
    body.extend_from_slice(b"\r\n--b--");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_goes_from_one_database_to_another_as_parts() {
    let cluster = TestCluster::start(3, 1).await;
    ask(&cluster, "PUT", "/db", "").await;
    ask(&cluster, "PUT", "/other", "").await;
    // What looks like a boundary is none.
    let tricky = [&large()[..300_000], b"\r\n--", b"\r\n--b", b"x\r\n-"].concat();
    let follows = |bytes: &[u8]| json!({"follows": true, "length": bytes.len(), "content_type": "image/png"});
    let doc = json!({"n": 1, "_attachments": {"tricky": follows(&tricky), "small": follows(b"hi"), "inline": {"data": "aGk="}}});
    let mut put = Ask { body: related(&doc, &[b"hi", &tricky]), ..Ask::new("PUT", "/db/a", "") };
    put.headers.push(("content-type".to_owned(), "multipart/related; boundary=b".to_owned()));
    let answered = cluster.ask(&put).await;
    assert_eq!(
        answered.response.status().as_u16(),
        400,
        "a boundary with something behind it is broken: {}",
        answered.body
    );
    let tricky = [&large()[..300_000], b"\r\n--", b"\r\n--c", b"x\r\n-"].concat();
    let doc = json!({"n": 1, "_attachments": {"tricky": follows(&tricky), "small": follows(b"hi"), "inline": {"data": "aGk="}}});
    put.body = related(&doc, &[b"hi", &tricky]);
    let answered = cluster.ask(&put).await;
    assert_eq!(answered.response.status().as_u16(), 201, "{}", answered.body);
    let rev: Value = serde_json::from_str(&answered.body).expect("JSON");
    let rev = rev["rev"].as_str().expect("a revision");
    for (name, wanted) in [("tricky", &tricky[..]), ("small", b"hi"), ("inline", b"hi")] {
        assert!(bytes(&cluster, &format!("/db/a/{name}"), &[]).await.1 == wanted, "{name}");
    }
    // As a replicator does: read as parts, written as they are.
    let (parts, body) = bytes(&cluster, "/db/a?attachments=true&revs=true", &[("accept", "multipart/related")]).await;
    assert_eq!(parts.headers["content-length"], body.len().to_string().as_str());
    let kind = parts.headers["content-type"].to_str().expect("text").to_owned();
    assert!(kind.starts_with("multipart/related; boundary="), "{kind}");
    let mut put = Ask { body: body.to_vec(), ..Ask::new("PUT", "/other/a?new_edits=false", "") };
    put.headers.push(("content-type".to_owned(), kind));
    let answered = cluster.ask(&put).await;
    assert_eq!(answered.response.status().as_u16(), 201, "{}", answered.body);
    let (_, doc) = ask(&cluster, "GET", "/db/a", "").await;
    let (_, copy) = ask(&cluster, "GET", "/other/a", "").await;
    assert_eq!((&doc, doc["_rev"].as_str()), (&copy, Some(rev)));
    assert!(bytes(&cluster, "/other/a/tricky", &[]).await.1 == tricky);
    // A copy within the database may lie on another shard.
    for to in ["b", "c", "d"] {
        let mut copy = Ask::new("COPY", "/db/a", "");
        copy.headers.push(("destination".to_owned(), to.to_owned()));
        assert_eq!(cluster.ask(&copy).await.response.status().as_u16(), 201);
        assert!(bytes(&cluster, &format!("/db/{to}/tricky"), &[]).await.1 == tricky);
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attachments_stay_while_a_revision_names_them_and_go_with_compaction() {
    let cluster = TestCluster::start(1, 1).await;
    ask(&cluster, "PUT", "/db", "").await;
    let first = rev_of(&cluster, "PUT", "/db/a/f", large()).await;
    let second = rev_of(&cluster, "PUT", "/db/a", json!({"_rev": first}).to_string()).await;
    let (status, answer) = ask(&cluster, "GET", "/db/a/f", "").await;
    assert_eq!((status, &answer["reason"]), (404, &json!("Document is missing attachment")));
    assert!(bytes(&cluster, &format!("/db/a/f?rev={first}"), &[]).await.1 == large(), "the old revision has it");
    let sizes = |info: &Value| info["sizes"]["external"].as_u64().expect("a size");
    assert!(sizes(&ask(&cluster, "GET", "/db", "").await.1) > 700_000);
    ask(&cluster, "POST", "/db/_compact", "{}").await;
    loop {
        let (_, info) = ask(&cluster, "GET", "/db", "").await;
        if info["compact_running"] == json!(false) {
            // What it counts was read before it was seen that it is over.
            let (_, info) = ask(&cluster, "GET", "/db", "").await;
            assert!(sizes(&info) < 1_000, "{info}");
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(ask(&cluster, "GET", &format!("/db/a/f?rev={first}"), "").await.0, 404);
    let third = rev_of(&cluster, "PUT", &format!("/db/a/f?rev={second}"), large()).await;
    let (status, _) = ask(&cluster, "DELETE", &format!("/db/a/f?rev={first}"), "").await;
    assert_eq!(status, 409, "it is no revision that is here");
    let fourth = rev_of(&cluster, "DELETE", &format!("/db/a/f?rev={third}"), "").await;
    let (_, doc) = ask(&cluster, "GET", "/db/a", "").await;
    assert_eq!(doc, json!({"_id": "a", "_rev": fourth}));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_too_large_is_refused_and_leaves_nothing() {
    let cluster = TestCluster::start(1, 1).await;
    let small = cluster.router(|config| config.limits.attachment_bytes_max = 300_000, std::sync::Arc::new(|| 0));
    ask(&cluster, "PUT", "/db", "").await;
    for body in [large()[..300_001].to_vec(), large()] {
        let answered = small.ask(&Ask { body, ..Ask::new("PUT", "/db/a/f.bin", "") }).await;
        let wanted = json!({"error": "attachment_too_large", "reason": "f.bin"});
        assert_eq!(answered.response.status().as_u16(), 413);
        assert_eq!(serde_json::from_str::<Value>(&answered.body).expect("JSON"), wanted);
    }
    let answered = small.ask(&Ask { body: large()[..300_000].to_vec(), ..Ask::new("PUT", "/db/a/f.bin", "") }).await;
    assert_eq!(answered.response.status().as_u16(), 201, "{}", answered.body);
    small.end().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_upload_takes_effect_once_under_its_key() {
    let cluster = TestCluster::start(1, 1).await;
    ask(&cluster, "PUT", "/db", "").await;
    let mut put = Ask { body: large(), ..Ask::new("PUT", "/db/a/f", "") };
    put.headers.push(("idempotency-key".to_owned(), "once".to_owned()));
    let first = cluster.ask(&put).await;
    assert_eq!(first.response.status().as_u16(), 201);
    assert_eq!(cluster.ask(&put).await.body, first.body);
    let (status, _) = ask(&cluster, "PUT", "/db/a/f", large()).await;
    assert_eq!(status, 409);
    cluster.end().await;
}
