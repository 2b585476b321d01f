//! What `/_metrics` shows: requests by route, method and status, and how long they took.
//!
//! Counting is on the way of every request, so the handles of each (route, method) pair are looked up once per
//! thread of thought: after the first request a count is one read lock and two atomic additions.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

type Labels = [(&'static str, &'static str); 2];
type StatusLabels = [(&'static str, String); 3];
/// One [`Family`] with histograms of one shape.
type Latencies = Family<Labels, Histogram, fn() -> Histogram>;

/// Counters of one router's HTTP API.
pub struct Metrics {
    registry: Registry,
    requests: Family<StatusLabels, Counter>,
    latencies: Latencies,
    in_flight: Gauge,
    known: RwLock<HashMap<(&'static str, &'static str), Arc<Route>>>,
}

/// The handles of one (route, method) pair.
struct Route {
    latency: Histogram,
    statuses: RwLock<Vec<(StatusCode, Counter)>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("quorate");
        let requests = Family::default();
        // 100 µs to 13 s: a lone PUT takes less than a millisecond, a request is given up after seconds.
        let latencies = Latencies::new_with_constructor(|| Histogram::new(exponential_buckets(1e-4, 2.0, 18)));
        let in_flight = Gauge::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_request_duration_seconds", "Time to the answer's head", latencies.clone());
        registry.register("http_requests_in_flight", "Requests being worked on", in_flight.clone());
        Self { registry, requests, latencies, in_flight, known: RwLock::default() }
    }

    /// The registry, for what others count; before the router serves.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// A request begins.
    pub fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A request was answered.
    pub fn observe(&self, route: &'static str, method: &Method, status: StatusCode, elapsed: Duration) {
        let method = name_of(method);
        let route_handles = self.route(route, method);
        route_handles.latency.observe(elapsed.as_secs_f64());
        let statuses = route_handles.statuses.read().unwrap_or_else(PoisonError::into_inner);
        match statuses.iter().find(|(known, _)| *known == status) {
            Some((_, counter)) => {
                counter.inc();
            }
            None => {
                drop(statuses);
                let labels = [
                    ("route", route.to_owned()),
                    ("method", method.to_owned()),
                    ("status", status.as_str().to_owned()),
                ];
                let counter = self.requests.get_or_create_owned(&labels);
                counter.inc();
                let mut statuses = route_handles.statuses.write().unwrap_or_else(PoisonError::into_inner);
                if !statuses.iter().any(|(known, _)| *known == status) {
                    statuses.push((status, counter));
                }
            }
        }
    }

    /// The metrics in Prometheus' text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes it");
        text
    }

    fn route(&self, route: &'static str, method: &'static str) -> Arc<Route> {
        let key = (route, method);
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(known);
        }
        let latency = self.latencies.get_or_create_owned(&[("route", route), ("method", method)]);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(key).or_insert_with(|| Arc::new(Route { latency, statuses: RwLock::default() })))
    }
}

/// A request being worked on, until it is dropped.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Methods clients make up must not grow the metrics.
fn name_of(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "COPY" => "COPY",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_method_and_status() {
        let metrics = Metrics::new();
        let running = metrics.begin();
        for status in [StatusCode::OK, StatusCode::OK, StatusCode::NOT_FOUND] {
            metrics.observe("/{db}", &Method::GET, status, Duration::from_millis(1));
        }
        let text = metrics.encode();
        for line in [
            "quorate_http_requests_total{route=\"/{db}\",method=\"GET\",status=\"200\"} 2",
            "quorate_http_requests_total{route=\"/{db}\",method=\"GET\",status=\"404\"} 1",
            "quorate_http_request_duration_seconds_count{route=\"/{db}\",method=\"GET\"} 3",
            "quorate_http_requests_in_flight 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        drop(running);
        assert!(metrics.encode().contains("quorate_http_requests_in_flight 0"));
    }
}
