//! What came out, for people and for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Op;

/// One combination of operation and connections.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The operation.
    pub op: &'static str,
    /// Connections.
    pub connections: usize,
    /// How long it ran, in seconds.
    pub seconds: f64,
    /// Requests answered well.
    pub requests: u64,
    /// Documents written or read, or rows of changes, a second.
    pub per_second: f64,
    /// Latency of a request, in microseconds.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// Longest.
    pub max_us: u64,
    /// Processor time of the servers and the load generator for each document or row, in microseconds, where it can be
    /// told.
    pub cpu_us: Option<f64>,
    /// Requests that were not answered well.
    pub errors: u64,
    /// The last of these.
    pub last_error: Option<String>,
}

impl Row {
    pub(super) fn new(
        op: Op,
        connections: usize,
        elapsed: Duration,
        latencies: &Histogram<u64>,
        items: u64,
        errors: u64,
        last_error: Option<String>,
    ) -> Self {
        Self {
            op: op.name(),
            connections,
            seconds: elapsed.as_secs_f64(),
            requests: latencies.len(),
            per_second: items as f64 / elapsed.as_secs_f64(),
            p50_us: latencies.value_at_quantile(0.5),
            p90_us: latencies.value_at_quantile(0.9),
            p99_us: latencies.value_at_quantile(0.99),
            p999_us: latencies.value_at_quantile(0.999),
            max_us: latencies.max(),
            cpu_us: None,
            errors,
            last_error,
        }
    }
}

/// The heading of the table, or one of its lines.
pub fn table(row: Option<&Row>) -> String {
    let Some(row) = row else {
        return format!(
            "{:<12} {:>5} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7}",
            "op", "conns", "per second", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms", "CPU us", "errors"
        );
    };
    let ms = |us: u64| format!("{:.2}", us as f64 / 1000.0);
    let line = format!(
        "{:<12} {:>5} {:>11.0} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7}",
        row.op,
        row.connections,
        row.per_second,
        ms(row.p50_us),
        ms(row.p90_us),
        ms(row.p99_us),
        ms(row.p999_us),
        ms(row.max_us),
        row.cpu_us.map_or_else(|| "-".to_owned(), |us| format!("{us:.1}")),
        row.errors
    );
    match &row.last_error {
        Some(error) => format!("{line}\n             last error: {error}"),
        None => line,
    }
}
