//! `/_openapi.json` as it is served, and its methods against those that the API takes.

use serde_json::Value;

use crate::cluster::{Ask, TestCluster};

/// The text has its version with it: whoever has that gets nothing again.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_for_everybody_and_kept() {
    let cluster = TestCluster::start(1, 1).await;
    for closed in [false, true] {
        let mut ask = Ask { closed, ..Ask::new("GET", "/_openapi.json", "") };
        let answer = cluster.ask(&ask).await;
        assert_eq!(answer.response.status(), 200);
        assert_eq!(answer.response.headers()["content-type"], "application/json");
        let document: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(document["openapi"], "3.1.0");
        let etag = answer.response.headers()["etag"].to_str().expect("text").to_owned();
        ask.headers.push(("if-none-match".to_owned(), etag.clone()));
        let again = cluster.ask(&ask).await;
        assert_eq!((again.response.status().as_u16(), again.body.as_str()), (304, ""));
        assert_eq!(again.response.headers()["etag"], etag.as_str());
    }
    let post = cluster.ask(&Ask::new("POST", "/_openapi.json", "{}")).await;
    assert_eq!(post.response.status(), 405);
    assert_eq!(post.response.headers()["allow"], "GET,HEAD");
    cluster.end().await;
}

/// What is described is taken, and what is not described is refused with 405.
#[tokio::test(flavor = "multi_thread")]
async fn the_methods_described_are_those_that_are_taken() {
    let cluster = TestCluster::start(1, 1).await;
    let text = cluster.ask(&Ask::new("GET", "/_openapi.json", "")).await.body;
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let mut probed = 0;
    for (template, path) in document["paths"].as_object().expect("paths") {
        let served = |operation: &Value| operation["x-quorate"]["served"] == true;
        if !path.as_object().expect("operations").values().any(served) {
            continue;
        }
        let address = template.replace("{file}", "main.js").replace("{type}", "json").replace(['{', '}'], "");
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "COPY", "PATCH"] {
            cluster.ask(&Ask::new("PUT", "/db", "")).await;
            let described =
                path.get(method.to_ascii_lowercase()).is_some() || path["x-additionalOperations"].get(method).is_some();
            let status = cluster.ask(&Ask::new(method, &address, "")).await.response.status();
            assert_eq!(status != 405, described, "{method} {template}: {status}");
            probed += 1;
        }
    }
    cluster.end().await;
    assert!(probed > 200, "{probed} methods were tried");
}
