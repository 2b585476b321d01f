//! The list of metrics, and whatever speaks of it: ARCHITECTURE.md, the dashboard, the alerts, Prometheus' targets.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use common::config::Config;
use common::metrics::{ALL, Kind};

const BEGIN: &str = "<!-- metrics: UPDATE=1 cargo test -p quorate-tests --test metrics -->\n";
const END: &str = "<!-- end of metrics -->";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn table() -> String {
    let mut table = "| metric | kind | labels | shown by | what it says |\n|---|---|---|---|---|\n".to_owned();
    for metric in ALL {
        let labels = metric.labels.join(", ");
        let (name, kind, on, help) = (metric.name, metric.kind.name(), metric.on.name(), metric.help);
        writeln!(table, "| `{name}` | {kind} | {labels} | {on} | {help} |").expect("a string takes it");
    }
    table
}

#[test]
fn the_architecture_lists_every_metric() {
    let text = read("ARCHITECTURE.md");
    let (before, rest) = text.split_once(BEGIN).expect("the table's beginning");
    let (is, after) = rest.split_once(END).expect("the table's end");
    let wanted = table();
    if std::env::var_os("UPDATE").is_some() {
        let text = format!("{before}{BEGIN}{wanted}{END}{after}");
        std::fs::write(root().join("ARCHITECTURE.md"), text).expect("written");
        return;
    }
    assert_eq!(is, wanted, "UPDATE=1 makes it anew");
}

/// All names that look like metrics of ours.
fn mentioned(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("quorate_") || word.starts_with("process_")).collect()
}

/// A name as queries use it: histograms have three.
fn is_shown(name: &str) -> bool {
    ALL.iter().any(|metric| match (metric.kind, name.strip_prefix(metric.name)) {
        (Kind::Histogram(_), Some(suffix)) => ["_bucket", "_sum", "_count"].contains(&suffix),
        (Kind::Counter | Kind::Gauge, Some(suffix)) => suffix.is_empty(),
        (_, None) => false,
    })
}

#[test]
fn the_dashboard_and_the_alerts_know_only_metrics_there_are() {
    for file in ["deploy/grafana.json", "deploy/alerts.yml", "deploy/alerts.test.yml"] {
        let text = read(file);
        let names = mentioned(&text);
        assert!(names.len() >= 5, "{file}: {names:?}");
        let unknown: Vec<_> = names.into_iter().filter(|name| !is_shown(name)).collect();
        assert!(unknown.is_empty(), "{file} has {unknown:?}, which nothing shows");
    }
}

#[test]
fn the_dashboard_shows_what_an_operator_asks_for() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("deploy/grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let queries = panel["targets"].as_array().expect("queries");
        let names = |query: &serde_json::Value| mentioned(query["expr"].as_str().expect("a query")).len();
        assert!(!queries.is_empty() && queries.iter().all(|query| names(query) > 0), "{}", panel["title"]);
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().expect("x") + place["w"].as_u64().expect("w") <= 24, "{}", panel["title"]);
    }
    let all = panels.iter().flat_map(|panel| panel["targets"].as_array()).flatten();
    let all: String = all.filter_map(|query| query["expr"].as_str()).collect();
    for wanted in [
        "quorate_shard_available",
        "quorate_http_request_duration_seconds_bucket",
        "quorate_http_requests_total",
        "quorate_elections_stood_total",
        "quorate_replica_lag_seconds",
        "quorate_log_sync_duration_seconds_bucket",
        "quorate_queue_bytes",
        "process_resident_memory_bytes",
        "quorate_disk_free_bytes",
    ] {
        assert!(all.contains(wanted), "{wanted}");
    }
}

#[test]
fn every_alert_the_operator_needs_is_there_and_tested() {
    let (rules, tests) = (read("deploy/alerts.yml"), read("deploy/alerts.test.yml"));
    for alert in [
        "QuorateNoPrimary",
        "QuorateReplicaLagging",
        "QuorateDiskNearlyFull",
        "QuorateElectionStorm",
        "QuorateReplicaDamaged",
    ] {
        assert!(rules.contains(&format!("alert: {alert}\n")), "{alert}");
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
    }
}

#[test]
fn prometheus_asks_every_process_of_the_compose_cluster_with_the_right_credentials() {
    let (prometheus, compose) = (read("deploy/prometheus.yml"), read("deploy/docker-compose.yml"));
    let config = Config::load(Some(&root().join("deploy/compose/cluster.toml")), &[]).expect("sound");
    for node in &config.node {
        assert!(prometheus.contains(&format!("\"{}\"", node.address)), "{}", node.address);
    }
    for router in ["r1", "r2"] {
        assert!(compose.contains(&format!("\n  {router}:\n")) && prometheus.contains(&format!("\"{router}:5984\"")));
    }
    let admin = config.admin.expect("an admin");
    assert!(prometheus.contains(&format!("username: {}\n", admin.name)));
    let secrets = read("deploy/make-secrets.sh");
    for file in ["cluster.secret", "admin.password"] {
        assert!(secrets.contains(file) && prometheus.contains(&format!("/run/secrets/{file}\n")), "{file}");
    }
}
