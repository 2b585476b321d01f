//! The dashboard's files over HTTP: to whom, with what headers, and what they refer to.

use crate::cluster::{Answered, Ask, TestCluster};

const FILES: [(&str, &str); 4] = [
    ("/_utils/", "text/html; charset=utf-8"),
    ("/_utils/main.js", "text/javascript; charset=utf-8"),
    ("/_utils/base.css", "text/css; charset=utf-8"),
    ("/_utils/icon.svg", "image/svg+xml"),
];

fn header<'a>(answered: &'a Answered, name: &str) -> &'a str {
    answered.response.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

fn get(path: &str) -> Ask {
    Ask::new("GET", path, "")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_is_served_to_anybody_under_a_strict_policy() {
    let cluster = TestCluster::start(1, 1).await;
    for closed in [false, true] {
        for (path, kind) in FILES {
            let answered = cluster.ask(&Ask { closed, ..get(path) }).await;
            assert_eq!(answered.response.status(), 200, "{path}");
            assert_eq!(header(&answered, "content-type"), kind);
            assert_eq!(header(&answered, "x-content-type-options"), "nosniff");
            assert_eq!(header(&answered, "x-frame-options"), "DENY");
            assert_eq!(header(&answered, "cache-control"), "no-cache");
            let policy = header(&answered, "content-security-policy");
            for rule in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
                assert!(policy.split("; ").any(|one| one == rule), "{rule} in {policy}");
            }
            assert!(!policy.contains("unsafe"), "{policy}");

            let etag = ("if-none-match".to_owned(), header(&answered, "etag").to_owned());
            let again = cluster.ask(&Ask { closed, headers: vec![etag], ..get(path) }).await;
            assert_eq!((again.response.status().as_u16(), again.body.as_str()), (304, ""), "{path}");
            assert_eq!(header(&again, "etag"), header(&answered, "etag"));
            let head = cluster.ask(&Ask { closed, ..Ask::new("HEAD", path, "") }).await;
            // Each request has an id of its own.
            let [head_of_get, head_alone] = [&answered, &head].map(|answered| {
                let mut headers = answered.response.headers().clone();
                headers.remove("x-couch-request-id");
                headers
            });
            assert_eq!((head_alone, head.body.as_str()), (head_of_get, ""), "{path}");
        }
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_has_one_address_and_takes_nothing() {
    let cluster = TestCluster::start(1, 1).await;
    let answered = cluster.ask(&get("/_utils")).await;
    assert_eq!((answered.response.status().as_u16(), header(&answered, "location")), (301, "_utils/"));
    for path in ["/_utils/none.js", "/_utils/../_metrics", "/_utils/main.js/", "/_utils//"] {
        assert_eq!(cluster.ask(&get(path)).await.response.status(), 404, "{path}");
    }
    let refused = cluster.ask(&Ask::new("PUT", "/_utils/main.js", "x")).await;
    assert_eq!((refused.response.status().as_u16(), header(&refused, "allow")), (405, "GET,HEAD"));
    // Another site's name for this machine: nothing is served to it, not even this.
    let host = vec![("host".to_owned(), "evil.example".to_owned())];
    assert_eq!(cluster.ask(&Ask { headers: host, ..get("/_utils/") }).await.response.status(), 403);
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_tells_where_replicas_should_be() {
    let cluster = TestCluster::start(2, 1).await;
    let answered = cluster.ask(&get("/v1/_replication/state")).await;
    let state: serde_json::Value = serde_json::from_str(&answered.body).expect("JSON");
    assert_eq!(
        state["shards"],
        serde_json::json!([{"shard": 0, "replicas": ["e1"]}, {"shard": 1, "replicas": ["e1"]}])
    );
    cluster.end().await;
}
