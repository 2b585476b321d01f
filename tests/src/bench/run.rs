//! Runs the combinations, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::target::{Target, Worker};
use super::{Kind, Op, Options, Row};
use crate::Result;
use crate::process::cpu_of;

/// Connections that write the documents for reads.
const LOADERS: u64 = 16;
/// Documents in one request of these.
const LOAD_BATCH: u64 = 100;
/// Latencies above a minute are all the same.
const LATENCY_MAX_US: u64 = 60_000_000;
/// A worker that meets so many errors in a row stops; the row tells the last one.
const ERRORS_IN_A_ROW_MAX: u32 = 20;

/// What one connection measured.
struct Tally {
    histogram: Histogram<u64>,
    items: u64,
    errors: u64,
    last_error: Option<String>,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self { histogram: Histogram::new_with_max(LATENCY_MAX_US, 3)?, items: 0, errors: 0, last_error: None })
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        self.histogram.add(&other.histogram)?;
        self.items += other.items;
        self.errors += other.errors;
        self.last_error = other.last_error.or(self.last_error.take());
        Ok(())
    }
}

/// Measures all combinations; each row is given to `show` as soon as it is there.
pub async fn run(options: &Options, mut show: impl FnMut(&Row)) -> Result<Vec<Row>> {
    let ops = options.ops.iter().copied().filter(|op| supported(options.kind, *op));
    let combinations: Vec<(Op, usize)> = ops.flat_map(|op| options.connections.iter().map(move |n| (op, *n))).collect();
    let target = Arc::new(Target::new(options));
    target.prepare().await?;
    let bar = progress_bar(options, combinations.len());
    if combinations.iter().any(|(op, _)| op.reads()) {
        bar.set_message(format!("writing {} documents", options.docs));
        load(&target, options.docs).await?;
    }
    if combinations.iter().any(|(op, _)| *op == Op::Find) {
        bar.set_message("making an index");
        target.make_index().await?;
    }
    let mut rows = Vec::new();
    for (number, (op, connections)) in (1u64..).zip(combinations) {
        bar.set_message(format!("{} with {connections} connections", op.name()));
        let row = measure(&target, options, op, connections, number, &bar).await?;
        bar.suspend(|| show(&row));
        rows.push(row);
    }
    bar.finish_and_clear();
    Ok(rows)
}

fn supported(kind: Kind, op: Op) -> bool {
    kind != Kind::Etcd || matches!(op, Op::Put | Op::Get)
}

fn progress_bar(options: &Options, combinations: usize) -> ProgressBar {
    if options.json {
        return ProgressBar::hidden();
    }
    // A tenth of a second is a step.
    let steps = options.seconds * 10.0 * combinations as f64;
    let bar = ProgressBar::new(steps as u64);
    let style = ProgressStyle::with_template("{bar:30} {percent:>3}% {elapsed} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

async fn load(target: &Arc<Target>, docs: u64) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for number in 0..LOADERS {
        let (target, next) = (target.clone(), next.clone());
        tasks.spawn(async move {
            let mut worker = target.worker(0, usize::try_from(number)?).await?;
            loop {
                let from = next.fetch_add(LOAD_BATCH, Ordering::Relaxed);
                if from >= docs {
                    return Ok::<(), crate::Error>(());
                }
                target.load(&mut worker, from..docs.min(from + LOAD_BATCH)).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn measure(
    target: &Arc<Target>,
    options: &Options,
    op: Op,
    connections: usize,
    row: u64,
    bar: &ProgressBar,
) -> Result<Row> {
    let mut workers = Vec::new();
    for number in 0..connections {
        workers.push(target.worker(row, number).await?);
    }
    let cpu_before = cpu(&options.pids);
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(options.seconds);
    let mut tasks = JoinSet::new();
    for worker in workers {
        tasks.spawn(work(target.clone(), worker, op, until));
    }
    let ticker = tick(bar, until);
    let mut total = Tally::new()?;
    let gather = async {
        while let Some(ended) = tasks.join_next().await {
            total.merge(ended??)?;
        }
        Ok::<(), crate::Error>(())
    };
    let (gathered, ()) = futures::join!(gather, ticker);
    gathered?;
    let elapsed = started.elapsed();
    let mut row = Row::new(op, connections, elapsed, &total.histogram, total.items, total.errors, total.last_error);
    let used = cpu(&options.pids).saturating_sub(cpu_before);
    row.cpu_us = (!options.pids.is_empty()).then(|| used.as_secs_f64() * 1e6 / total.items.max(1) as f64);
    Ok(row)
}

/// Processor time of the servers and of this process.
fn cpu(pids: &[u32]) -> Duration {
    pids.iter().copied().chain([std::process::id()]).filter_map(cpu_of).sum()
}

async fn tick(bar: &ProgressBar, until: Instant) {
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bar.inc(1);
    }
}

async fn work(target: Arc<Target>, mut worker: Worker, op: Op, until: Instant) -> Result<Tally> {
    let mut tally = Tally::new()?;
    let mut errors_in_a_row = 0;
    let mut before = Instant::now();
    while before < until && errors_in_a_row < ERRORS_IN_A_ROW_MAX {
        let done = target.act(&mut worker, op).await;
        let after = Instant::now();
        match done {
            Ok(items) => {
                errors_in_a_row = 0;
                tally.items += items;
                let us = u64::try_from((after - before).as_micros()).unwrap_or(LATENCY_MAX_US);
                tally.histogram.saturating_record(us);
            }
            Err(error) => {
                errors_in_a_row += 1;
                tally.errors += 1;
                tally.last_error = Some(error.to_string());
                // The connection may be in any state now; a server that is gone ends this worker's row.
                if let Err(error) = worker.recover().await {
                    tally.last_error = Some(error.to_string());
                    break;
                }
            }
        }
        before = after;
    }
    Ok(tally)
}
