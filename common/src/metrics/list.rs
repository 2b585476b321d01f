//! The list. A new metric is a line here and a place that sets it.
//!
//! Names follow Prometheus' conventions: base units (seconds, bytes), the unit last, `_total` for what only grows.
//! Labels have few values, whatever clients send.

use super::{Buckets, Kind, Metric, On};

/// `N` bounds from `first` on, each twice the one before.
const fn doubling<const N: usize>(first: u64) -> [u64; N] {
    let mut bounds = [first; N];
    let mut at = 1;
    while at < N {
        bounds[at] = 2 * bounds[at - 1];
        at += 1;
    }
    bounds
}

/// Nanoseconds counted, seconds shown.
const fn seconds(bounds: &'static [u64]) -> Kind {
    Kind::Histogram(Buckets { bounds, scale: 1e9 })
}

const fn sizes(bounds: &'static [u64]) -> Kind {
    Kind::Histogram(Buckets { bounds, scale: 1.0 })
}

/// 100 µs to 13 s: a lone PUT takes less than a millisecond, a request is given up after seconds.
static REQUEST_TIMES: [u64; 18] = doubling(100_000);
/// 50 µs to 3.3 s: from a disk with a battery to one that is failing.
static SYNC_TIMES: [u64; 17] = doubling(50_000);
/// 1 to 1,024: the most that travel together.
static COUNTS: [u64; 11] = doubling(1);

macro_rules! metrics {
    ($($id:ident: $kind:expr, $on:ident, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        $(#[doc = $help] pub static $id: Metric =
            Metric { name: $name, kind: $kind, on: On::$on, labels: &[$($label),*], help: $help };)*
        /// All of them, in the order in which they are shown.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    HTTP_REQUESTS: Kind::Counter, Both, "quorate_http_requests_total", ["route", "method", "status"],
        "Requests answered";
    HTTP_DURATION: seconds(&REQUEST_TIMES), Both, "quorate_http_request_duration_seconds", ["route", "method"],
        "Time from a request's head to its answer's head";
    HTTP_IN_FLIGHT: Kind::Gauge, Both, "quorate_http_requests_in_flight", [],
        "Requests whose answer has not begun";
    FEED_READERS: Kind::Gauge, Router, "quorate_feed_readers", ["feed"],
        "Feeds being sent to clients, those that wait for changes included";
    SHARD_AVAILABLE: Kind::Gauge, Router, "quorate_shard_available", ["shard"],
        "1 if this router knows the shard's primary, reaches it, and it has its majority";
    NODE_REACHABLE: Kind::Gauge, Router, "quorate_node_reachable", ["node"],
        "1 if the node answers this router's probes";
    PROMOTIONS: Kind::Counter, Router, "quorate_promotions_total", ["shard"],
        "Replicas that stood for election because this router asked them to";
    BATCH_REQUESTS: sizes(&COUNTS), Router, "quorate_batch_requests", ["shard", "kind"],
        "Requests that left together to a shard";
    QUEUE_BYTES: Kind::Gauge, Router, "quorate_queue_bytes", ["shard", "kind"],
        "Bytes of requests that wait for a shard or are under way to it";
    REPLICA_ROLE: Kind::Gauge, Node, "quorate_replica_role", ["node", "shard", "role"],
        "1 for the role the replica has now, 0 for the others";
    REPLICA_HEALTHY: Kind::Gauge, Node, "quorate_replica_healthy", ["node", "shard"],
        "1 if the replica can serve: not damaged, not stopping, its disk not full";
    REPLICA_TERM: Kind::Gauge, Node, "quorate_replica_term", ["node", "shard"],
        "The term the replica is in";
    REPLICA_LAST_INDEX: Kind::Gauge, Node, "quorate_replica_last_index", ["node", "shard"],
        "Index of the last entry of its log";
    REPLICA_COMMITTED_INDEX: Kind::Gauge, Node, "quorate_replica_committed_index", ["node", "shard"],
        "Index of the last entry it knows to be committed";
    REPLICA_APPLIED_INDEX: Kind::Gauge, Node, "quorate_replica_applied_index", ["node", "shard"],
        "Index of the last entry folded into its engine";
    REPLICA_LAG_ENTRIES: Kind::Gauge, Node, "quorate_replica_lag_entries", ["node", "shard"],
        "Entries it knows to be committed and has not folded into its engine";
    REPLICA_LAG: Kind::Gauge, Node, "quorate_replica_lag_seconds", ["node", "shard"],
        "How long the replica is behind what its primary told it; 0 on the primary";
    REPLICA_HEARD: Kind::Gauge, Node, "quorate_replica_heard_seconds", ["node", "shard"],
        "Time since it heard its primary, on the primary since a majority answered; missing if never";
    PEER_MISSING: Kind::Gauge, Node, "quorate_peer_missing_entries", ["node", "shard", "peer"],
        "On the primary: entries of its log that the replica on the peer does not have on disk yet";
    ELECTIONS_STOOD: Kind::Counter, Node, "quorate_elections_stood_total", ["node", "shard"],
        "Elections in which the replica stood";
    ELECTIONS_WON: Kind::Counter, Node, "quorate_elections_won_total", ["node", "shard"],
        "Elections the replica won";
    WRITE_QUEUE_BYTES: Kind::Gauge, Node, "quorate_write_queue_bytes", ["node", "shard"],
        "Bytes of commands that wait to be proposed or committed";
    ENTRY_COMMANDS: sizes(&COUNTS), Node, "quorate_log_entry_commands", ["node", "shard"],
        "Commands packed into one log entry";
    READ_ROUND: sizes(&COUNTS), Node, "quorate_read_round_batches", ["node", "shard"],
        "Batches of linearizable reads that shared one confirmation by the majority";
    LOG_SYNC: seconds(&SYNC_TIMES), Node, "quorate_log_sync_duration_seconds", ["node", "shard"],
        "Time of one fsync of the log";
    LOG_WRITTEN: Kind::Counter, Node, "quorate_log_written_bytes_total", ["node", "shard"],
        "Bytes written to the log";
    LOG_BYTES: Kind::Gauge, Node, "quorate_log_bytes", ["node", "shard"],
        "Bytes of log behind the purge point";
    LOG_SEGMENTS: Kind::Gauge, Node, "quorate_log_segments", ["node", "shard"],
        "Segment files of the log";
    ENGINE_BYTES: Kind::Gauge, Node, "quorate_engine_bytes", ["node", "shard", "engine"],
        "Size of the replica's engine";
    FEED_WAITERS: Kind::Gauge, Node, "quorate_feed_waiters", ["node", "shard"],
        "Requests that wait here for changes";
    VIEW_DOCUMENTS: Kind::Counter, Node, "quorate_view_documents_total", ["node", "shard"],
        "Documents put to the map functions of views, to bring indexes up to date";
    SNAPSHOTS_UNDER_WAY: Kind::Gauge, Node, "quorate_snapshots_under_way", ["node", "shard", "direction"],
        "Snapshots being sent to other replicas, or received from the primary";
    SNAPSHOT_BYTES: Kind::Counter, Node, "quorate_snapshot_bytes_total", ["node", "shard", "direction"],
        "Bytes of snapshots sent or received; grows while one is under way";
    SNAPSHOTS: Kind::Counter, Node, "quorate_snapshots_total", ["node", "shard", "direction"],
        "Snapshots sent and taken, or received and installed, to the end";
    DAMAGED_FOLDERS: Kind::Gauge, Node, "quorate_replica_damaged_folders", ["node", "shard"],
        "Folders of damaged replicas that were set aside and can be deleted once somebody has looked at them";
    DISK_FREE: Kind::Gauge, Node, "quorate_disk_free_bytes", ["node"],
        "Room for this process on the disk under its data";
    DISK_SIZE: Kind::Gauge, Node, "quorate_disk_size_bytes", ["node"],
        "Size of the disk under its data";
    JS_CALLS: Kind::Counter, Both, "quorate_js_calls_total", ["outcome"],
        "Calls of functions of design documents, by what became of them: ok, failed, too_long or too_large";
    JS_BUSY: Kind::Counter, Both, "quorate_js_busy_seconds_total", [],
        "Time spent in functions of design documents, over all threads";
    JS_REFUSED: Kind::Counter, Both, "quorate_js_refused_total", [],
        "Batches of calls that were refused because too many waited";
    BUILD_INFO: Kind::Gauge, Both, "quorate_build_info", ["version"],
        "1; its label tells which version this is";
    PROCESS_RESIDENT: Kind::Gauge, Both, "process_resident_memory_bytes", [],
        "Memory of the process in use";
    PROCESS_VIRTUAL: Kind::Gauge, Both, "process_virtual_memory_bytes", [],
        "Address space of the process";
    PROCESS_CPU: Kind::Counter, Both, "process_cpu_seconds_total", [],
        "Processor time the process has used";
    PROCESS_FDS: Kind::Gauge, Both, "process_open_fds", [],
        "File descriptors the process has open";
    PROCESS_FDS_MAX: Kind::Gauge, Both, "process_max_fds", [],
        "File descriptors the process may open";
    PROCESS_THREADS: Kind::Gauge, Both, "process_threads", [],
        "Threads of the process";
    PROCESS_START: Kind::Gauge, Both, "process_start_time_seconds", [],
        "When the process started, in seconds since 1970";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_helps_follow_the_conventions() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "each name once");
        for Metric { name, kind, labels, help, .. } in ALL {
            assert!(name.starts_with("quorate_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(matches!(kind, Kind::Counter), name.ends_with("_total"), "{name}");
            let banned = ["milli", "micro", "nano", "kilo", "mega", "_ms", "percent"];
            assert!(!banned.iter().any(|unit| name.contains(unit)), "{name} is not in a base unit");
            assert!(help.len() > 10 && !help.ends_with('.'), "{name}: {help}");
            let labels: BTreeSet<_> = labels.iter().collect();
            assert!(!labels.contains(&"le") && !labels.contains(&"instance"), "{name}: reserved labels");
            if let Kind::Histogram(buckets) = kind {
                assert!(buckets.bounds.windows(2).all(|pair| pair[0] < pair[1]), "{name}");
            }
        }
    }
}
