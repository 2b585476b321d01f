//! Asks a running server once whether it is up, as a health check does: no shell and no other program is needed.

use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Uri, uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::http::client::reason;

/// Longest wait for the answer. A server that needs longer cannot serve; a supervisor's own limit should be above it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where servers say whether they are up.
const UP: &str = "/_up";
/// How much of an answer is repeated.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// Why a server is not up, in plain words.
#[derive(Debug, thiserror::Error)]
pub enum Unwell {
    /// No answer, and why.
    #[error("{url}: {reason}")]
    Unreachable {
        /// What was asked.
        url: Uri,
        /// What went wrong on the way.
        reason: String,
    },
    /// It answers that it cannot serve.
    #[error("{url}: {status} {text}")]
    Answered {
        /// What was asked.
        url: Uri,
        /// The answer's status.
        status: StatusCode,
        /// The answer's beginning.
        text: String,
    },
}

/// Parses the address of a server; without a path, `/_up` is meant.
pub fn url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error: uri::InvalidUri| error.to_string())?;
    if url.scheme_str() != Some("http") {
        return Err("an address is http://HOST:PORT, or http://HOST:PORT/PATH".to_owned());
    }
    let mut parts = url.into_parts();
    if parts.path_and_query.as_ref().is_none_or(|path| path == "/") {
        parts.path_and_query = Some(uri::PathAndQuery::from_static(UP));
    }
    Uri::from_parts(parts).map_err(|error| error.to_string())
}

/// Asks, and says what is wrong unless the answer is a success.
pub async fn check(url: &Uri) -> Result<(), Unwell> {
    check_within(url, PATIENCE).await
}

async fn check_within(url: &Uri, patience: Duration) -> Result<(), Unwell> {
    let unreachable = |reason: String| Unwell::Unreachable { url: url.clone(), reason };
    let exchange = async {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let answer = client.get(url.clone()).await.map_err(|error| unreachable(reason(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = Limited::new(answer.into_body(), TEXT_BYTES_MAX).collect().await;
        let body = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
        let text = String::from_utf8_lossy(&body).trim_end().to_owned();
        Err(Unwell::Answered { url: url.clone(), status, text })
    };
    let late = |_| unreachable(format!("no answer within {patience:?}"));
    tokio::time::timeout(patience, exchange).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    #[test]
    fn an_address_without_a_path_means_up() {
        assert_eq!(url("http://127.0.0.1:1").expect("valid"), "http://127.0.0.1:1/_up");
        assert_eq!(url("http://n1:7000/").expect("valid"), "http://n1:7000/_up");
        assert_eq!(url("http://[::1]:1/x?y=1").expect("valid"), "http://[::1]:1/x?y=1");
        for wrong in ["127.0.0.1:5984", "https://x", "/_up", "http://", ""] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn only_a_success_is_up() {
        let ill = (StatusCode::SERVICE_UNAVAILABLE, "degraded\n");
        let app = Router::new().route("/_up", get(|| async { "ok" })).route("/ill", get(move || async move { ill }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("bound"));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        check(&url(&base).expect("valid")).await.expect("up");
        let ill = check(&url(&format!("{base}/ill")).expect("valid")).await.expect_err("not up");
        assert_eq!(ill.to_string(), format!("{base}/ill: 503 Service Unavailable degraded"));
        serving.abort();
    }

    #[tokio::test]
    async fn a_server_that_is_gone_or_says_nothing_is_not_up() {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let asked = url(&format!("http://{}", silent.local_addr().expect("bound"))).expect("valid");
        let error = check_within(&asked, Duration::from_millis(50)).await.expect_err("silent");
        assert!(error.to_string().ends_with("no answer within 50ms"), "{error}");
        drop(silent);
        let error = check(&asked).await.expect_err("gone");
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
