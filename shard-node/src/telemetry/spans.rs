//! The spans of a request, named as OpenTelemetry's conventions for HTTP have it. For the export alone.

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A span of a request to this process, by its route's pattern; part of the trace that `headers` name, if they do
/// (`traceparent`). Disabled, and made of nothing, without an export.
pub fn request_span(route: &'static str, method: &Method, headers: &HeaderMap, ids: Option<&HeaderValue>) -> Span {
    let span = tracing::info_span!(
        target: "quorate_span",
        "request",
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = Empty,
        http.route = route,
        http.response.status_code = Empty,
        quorate.request = Empty,
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("{method} {route}"));
        span.record("http.request.method", method.as_str());
        span.record("quorate.request", ids.and_then(|ids| ids.to_str().ok()).unwrap_or_default());
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // Fails only where nothing is exported.
        let _ = span.set_parent(parent);
    }
    span
}

/// Tells whoever is asked next which trace it works for. A batch goes on in the trace of its first request.
pub fn pass_on(headers: &mut HeaderMap) {
    let span = Span::current();
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut HeaderInjector(headers));
    }
}

/// The request was answered: what with, on its span and in the log of those who want to see every request.
pub fn answered(span: &Span, route: &'static str, method: &Method, status: StatusCode, elapsed: std::time::Duration) {
    if !span.is_disabled() {
        span.record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
    }
    tracing::debug!(%method, route, status = status.as_u16(), took_us = elapsed.as_micros() as u64, "answered");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_called_what_the_export_listens_for() {
        let subscriber = tracing_subscriber::registry();
        tracing::subscriber::with_default(subscriber, || {
            let span = request_span("/{db}", &Method::GET, &HeaderMap::new(), None);
            assert_eq!(span.metadata().expect("somebody listens").target(), super::super::SPANS);
        });
    }
}
