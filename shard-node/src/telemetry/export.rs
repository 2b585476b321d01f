//! Sends spans to an OpenTelemetry collector: OTLP over plain HTTP, in batches, on a thread of its own.
//!
//! What cannot be sent is dropped: requests never wait for a collector.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::uri::{self, Uri};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::{Builder, Runtime};

use crate::names::Names;

/// Where collectors take spans.
const TRACES: &str = "/v1/traces";
/// Longest wait for the collector.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer of the collector that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Spans of `service` go to the collector at `endpoint`; of `ratio` of all traces.
pub(super) fn to(
    endpoint: &str,
    ratio: f64,
    service: &'static str,
    instance: &str,
) -> Result<SdkTracerProvider, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("telemetry.otlp_endpoint '{endpoint}': {error}");
    let url = url(endpoint).map_err(|error| wrong(&error))?;
    let client = Hyper::new().map_err(|error| wrong(&error))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(url.to_string())
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| wrong(&error))?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
    Ok(provider.with_sampler(sampler).with_resource(resource).build())
}

/// Without a path, the one of the specification is meant.
fn url(endpoint: &str) -> Result<Uri, String> {
    let url: Uri = endpoint.parse().map_err(|error: uri::InvalidUri| error.to_string())?;
    if url.scheme_str() != Some("http") {
        return Err("a collector is http://HOST:PORT, or http://HOST:PORT/PATH".to_owned());
    }
    let mut parts = url.into_parts();
    if parts.path_and_query.as_ref().is_none_or(|path| path == "/") {
        parts.path_and_query = Some(uri::PathAndQuery::from_static(TRACES));
    }
    Uri::from_parts(parts).map_err(|error| error.to_string())
}

/// The client every other exchange uses, made to wait: the exporter calls from a thread of its own, outside of the
/// process' runtime, which may be busy or gone.
#[derive(Debug)]
struct Hyper {
    client: Client<HttpConnector<Names>, Full<Bytes>>,
    runtime: Runtime,
}

impl Hyper {
    fn new() -> std::io::Result<Self> {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new_with_resolver(Names::system()));
        Ok(Self { client, runtime: Builder::new_current_thread().enable_all().build()? })
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.client.request(request.map(Full::new)).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

#[async_trait]
impl HttpClient for Hyper {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.exchange(request)).await? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_without_a_path_takes_traces_where_all_do() {
        assert_eq!(url("http://127.0.0.1:4318").expect("valid"), "http://127.0.0.1:4318/v1/traces");
        assert_eq!(url("http://otel:4318/").expect("valid"), "http://otel:4318/v1/traces");
        assert_eq!(url("http://otel/custom").expect("valid"), "http://otel/custom");
        for wrong in ["https://otel:4318", "otel:4318", "/v1/traces", ""] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
