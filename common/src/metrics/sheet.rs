//! One scrape: the numbers as they are now, in the order of the list, written in one of Prometheus' text formats.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::count::{Histogram, Snapshot};
use super::list::ALL;
use super::{Kind, Metric};

/// How a scrape is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// What every tool reads.
    Classic,
    /// What Prometheus asks for by `Accept: application/openmetrics-text`.
    OpenMetrics,
}

/// The numbers of one scrape.
#[derive(Debug)]
pub struct Sheet {
    /// For each metric of the list, its rows.
    rows: Vec<Vec<Row>>,
}

#[derive(Debug)]
struct Row {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

/// A number, or a histogram.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// Any number.
    Real(f64),
    /// A histogram at this moment.
    Histogram(Snapshot),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Value::Whole(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Real(value)
    }
}

impl From<&Histogram> for Value {
    fn from(histogram: &Histogram) -> Self {
        Value::Histogram(histogram.snapshot())
    }
}

impl Default for Sheet {
    fn default() -> Self {
        Self { rows: ALL.iter().map(|_| Vec::new()).collect() }
    }
}

impl Format {
    /// What a client with this `Accept` header reads.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Format::OpenMetrics,
            _ => Format::Classic,
        }
    }

    /// The content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Sheet {
    /// Writes down one number; `labels` are values in the order of the metric's labels. Panics if there are more or
    /// fewer, or the metric is not in the list: slips in the code that the first scrape of a test meets.
    pub fn set(&mut self, metric: &'static Metric, labels: &[&str], value: impl Into<Value>) {
        let at = ALL.iter().position(|known| known.name == metric.name).expect("only the list makes metrics");
        assert_eq!(metric.labels.len(), labels.len(), "labels of {}", metric.name);
        let labels = metric.labels.iter().zip(labels).map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.rows[at].push(Row { labels, value: value.into() });
    }

    /// The text of the scrape.
    pub fn text(self, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes it");
        match format {
            Format::OpenMetrics => text,
            Format::Classic => classic(&text),
        }
    }
}

impl Collector for Sheet {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for (metric, rows) in ALL.iter().zip(&self.rows).filter(|(_, rows)| !rows.is_empty()) {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram(_) => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(family(metric), metric.help, None, kind)?;
            for row in rows.iter().filter(|row| !row.labels.is_empty()) {
                Encoded { metric, value: &row.value }.encode(family.encode_family(&row.labels)?)?;
            }
            if let [Row { labels, value }] = &rows[..]
                && labels.is_empty()
            {
                Encoded { metric, value }.encode(family)?;
            }
        }
        Ok(())
    }
}

/// OpenMetrics calls a counter by its name without `_total`.
fn family(metric: &Metric) -> &'static str {
    metric.name.strip_suffix("_total").unwrap_or(metric.name)
}

struct Encoded<'a> {
    metric: &'static Metric,
    value: &'a Value,
}

impl EncodeMetric for Encoded<'_> {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        match (self.metric.kind, self.value) {
            (Kind::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
            (Kind::Counter, Value::Real(value)) => encoder.encode_counter::<NoLabelSet, _, u64>(value, None),
            (Kind::Gauge, Value::Whole(value)) => encoder.encode_gauge(value),
            (Kind::Gauge, Value::Real(value)) => encoder.encode_gauge(value),
            (Kind::Histogram(_), Value::Histogram(Snapshot { sum, count, buckets })) => {
                encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
            }
            // A histogram set as a number, or the other way round: not shown rather than shown wrong.
            _ => Err(fmt::Error),
        }
    }

    fn metric_type(&self) -> MetricType {
        match self.metric.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram(_) => MetricType::Histogram,
        }
    }
}

/// OpenMetrics' text as the older format has it: counters are called by their whole name, and there is no end mark.
fn classic(text: &str) -> String {
    let is_counter = |name: &str| ALL.iter().any(|m| matches!(m.kind, Kind::Counter) && family(m) == name);
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if is_counter(name) => {
                out.extend(["# ", what, " ", name, "_total ", rest]);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{BATCH_REQUESTS, ELECTIONS_WON, PROCESS_CPU, REPLICA_LAG};

    fn sheet() -> Sheet {
        let mut sheet = Sheet::default();
        sheet.set(&REPLICA_LAG, &["n1", "0"], 1.5);
        sheet.set(&ELECTIONS_WON, &["n\"1", "0"], 3);
        sheet.set(&PROCESS_CPU, &[], 0.25);
        let histogram = Histogram::of(&BATCH_REQUESTS);
        histogram.see(2);
        sheet.set(&BATCH_REQUESTS, &["0", "write"], &histogram);
        sheet
    }

    #[test]
    fn both_formats_say_the_same() {
        let open = sheet().text(Format::OpenMetrics);
        let classic = sheet().text(Format::Classic);
        assert!(open.ends_with("# EOF\n") && !classic.contains("EOF"));
        assert!(open.contains("# TYPE quorate_elections_won counter\n"), "{open}");
        assert!(classic.contains("# TYPE quorate_elections_won_total counter\n"), "{classic}");
        assert!(classic.contains("# HELP quorate_elections_won_total Elections the replica won"), "{classic}");
        for line in [
            "quorate_replica_lag_seconds{node=\"n1\",shard=\"0\"} 1.5\n",
            "quorate_elections_won_total{node=\"n\\\"1\",shard=\"0\"} 3\n",
            "process_cpu_seconds_total 0.25\n",
            "quorate_batch_requests_bucket{le=\"1.0\",shard=\"0\",kind=\"write\"} 0\n",
            "quorate_batch_requests_bucket{le=\"2.0\",shard=\"0\",kind=\"write\"} 1\n",
            "quorate_batch_requests_bucket{le=\"+Inf\",shard=\"0\",kind=\"write\"} 1\n",
            "quorate_batch_requests_sum{shard=\"0\",kind=\"write\"} 2.0\n",
        ] {
            assert!(open.contains(line) && classic.contains(line), "{line} in\n{open}");
        }
    }

    #[test]
    fn the_newer_format_goes_to_those_who_ask_for_it() {
        assert_eq!(Format::accepted(None), Format::Classic);
        assert_eq!(Format::accepted(Some("*/*")), Format::Classic);
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
        assert_eq!(Format::accepted(Some(prometheus)), Format::OpenMetrics);
    }
}
