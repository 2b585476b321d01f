//! Requests by route, method and status, and how long they took.
//!
//! Counting is on the way of every request: after the first one of a route and method it is a read lock that nobody
//! writes to any more, one look-up, and three atomic additions.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::{Method, StatusCode};

use super::{Counter, Gauge, HTTP_DURATION, HTTP_IN_FLIGHT, HTTP_REQUESTS, Held, Histogram, Sheet};

/// Statuses have three digits and begin with 1 to 5; what else a handler makes up counts as 599.
const STATUS_MIN: u16 = 100;
const STATUS_MAX: u16 = 599;

/// See the module.
#[derive(Debug, Default)]
pub struct Requests {
    in_flight: Gauge,
    known: RwLock<HashMap<(&'static str, &'static str), Arc<Route>>>,
}

/// What is counted of one route and method.
#[derive(Debug)]
struct Route {
    times: Histogram,
    statuses: Vec<Counter>,
}

impl Requests {
    /// A request begins; it is under way until the answer is dropped.
    pub fn begin(&self) -> Held {
        self.in_flight.hold()
    }

    /// A request was answered. `route` is a pattern, of which there are few.
    pub fn answered(&self, route: &'static str, method: &Method, status: StatusCode, elapsed: Duration) {
        let route = self.route((route, name_of(method)));
        route.times.took(elapsed);
        let at = status.as_u16().clamp(STATUS_MIN, STATUS_MAX) - STATUS_MIN;
        route.statuses[usize::from(at)].inc();
    }

    /// Writes down what was counted.
    pub fn measure(&self, sheet: &mut Sheet) {
        sheet.set(&HTTP_IN_FLIGHT, &[], self.in_flight.get());
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        for ((route, method), counted) in known.iter() {
            sheet.set(&HTTP_DURATION, &[route, method], &counted.times);
            for (status, counter) in (STATUS_MIN..).zip(&counted.statuses).filter(|(_, counter)| counter.get() > 0) {
                sheet.set(&HTTP_REQUESTS, &[route, method, &status.to_string()], counter.get());
            }
        }
    }

    fn route(&self, key: (&'static str, &'static str)) -> Arc<Route> {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Arc::clone(known);
        }
        let statuses = || (STATUS_MIN..=STATUS_MAX).map(|_| Counter::default()).collect();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let route = known.entry(key);
        Arc::clone(
            route.or_insert_with(|| Arc::new(Route { times: Histogram::of(&HTTP_DURATION), statuses: statuses() })),
        )
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
    use crate::metrics::Format;

    #[test]
    fn requests_are_counted_by_route_method_and_status() {
        let requests = Requests::default();
        let running = requests.begin();
        for status in [StatusCode::OK, StatusCode::OK, StatusCode::NOT_FOUND] {
            requests.answered("/{db}", &Method::GET, status, Duration::from_millis(1));
        }
        let strange = Method::from_bytes(b"STRANGE").expect("a token");
        requests.answered("/{db}", &strange, StatusCode::METHOD_NOT_ALLOWED, Duration::from_secs(60));
        let text = |requests: &Requests| {
            let mut sheet = Sheet::default();
            requests.measure(&mut sheet);
            sheet.text(Format::Classic)
        };
        for line in [
            "quorate_http_requests_total{route=\"/{db}\",method=\"GET\",status=\"200\"} 2",
            "quorate_http_requests_total{route=\"/{db}\",method=\"GET\",status=\"404\"} 1",
            "quorate_http_requests_total{route=\"/{db}\",method=\"other\",status=\"405\"} 1",
            "quorate_http_request_duration_seconds_count{route=\"/{db}\",method=\"GET\"} 3",
            "quorate_http_request_duration_seconds_bucket{le=\"+Inf\",route=\"/{db}\",method=\"other\"} 1",
            "quorate_http_requests_in_flight 1",
        ] {
            assert!(text(&requests).contains(line), "{line} in\n{}", text(&requests));
        }
        drop(running);
        assert!(text(&requests).contains("quorate_http_requests_in_flight 0"));
    }
}
