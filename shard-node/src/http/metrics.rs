//! `GET /_metrics`: numbers for Prometheus, taken when they are asked for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use common::state::Role;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::node::Node;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfShard {
    shard: u32,
}

type Numbers = Family<OfShard, Gauge<u64, AtomicU64>>;

pub(super) async fn metrics(State(node): State<Arc<Node>>) -> Response {
    let mut registry = Registry::with_prefix("quorate");
    let mut number = |name: &str, help: &str| {
        let numbers = Numbers::default();
        registry.register(name, help, numbers.clone());
        numbers
    };
    let primary = number("primary", "1 if this replica leads its shard");
    let healthy = number("healthy", "1 if this replica can serve");
    let term = number("term", "Raft's term");
    let last = number("last_index", "Index of the last log entry");
    let applied = number("applied_index", "Index of the last entry folded into the engine");
    let lag = number("lag_milliseconds", "How far this replica is behind what its primary told it");
    let fsyncs = number("wal_fsyncs", "Syncs of the log since the start");
    let written = number("wal_written_bytes", "Bytes written to the log since the start");
    let queue = number("write_queue_bytes", "Bytes of commands that wait to be proposed or committed");
    let engine = number("engine_bytes", "Size of the engine");
    for replica in node.replicas() {
        let of = OfShard { shard: replica.shard().0 };
        let state = replica.state();
        let set = |numbers: &Numbers, value: u64| _ = numbers.get_or_create(&of).set(value);
        set(&primary, u64::from(state.role == Role::Primary));
        set(&healthy, u64::from(state.healthy));
        set(&term, state.term.0);
        set(&last, state.last.index.0);
        set(&applied, state.applied.0);
        set(&lag, state.lag_ms);
        let log = replica.group().wal().stats();
        set(&fsyncs, log.fsyncs);
        set(&written, log.bytes_written);
        set(&queue, replica.queue_bytes() as u64);
        set(&engine, replica.group().engine().size_bytes());
    }
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
