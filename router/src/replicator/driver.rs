//! Runs what is decided: looks at what is wanted and under way, has `schedule` decide, writes records, starts and stops.
//!
//! One task looks and writes; each replication has a task of its own. A router that could not tell for long that it
//! lives stops what it runs, since others are about to take it over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::backup::tally::RESTORE_MARK;
use common::ids::{DbUid, DocId};
use common::query::{Answer, Consistency, Query};
use common::refusal::Refusal;
use common::rev::Rev;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::docs::{self, Ending, Sorted, Wishes};
use super::mirror::Kept;
use super::record::Record;
use super::schedule::{self, Here, Job, Step};
use super::session::Report;
use super::stats::Progress;
use super::{Error, Inner, Wanted, Worker, once};
use crate::cluster::CATALOG_SHARD;

/// Longest time between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// How often a record tells how far its replication is.
const TELL_MS: u64 = 5_000;
/// A document that cannot be done is marked after this time: another router may know better.
const FAIL_AFTER: Duration = Duration::from_millis(300);

/// How a replication ended here.
struct Ended {
    id: String,
    wanted: Wanted,
    result: Result<Report, Error>,
    /// It was told to stop.
    stopped: bool,
}

type Records = BTreeMap<String, (Rev, Record, Instant)>;

/// The name of a record's document.
pub(super) fn key(id: &str) -> String {
    format!("job:{id}")
}

fn heart(router: Uuid) -> String {
    format!("router:{}", router.as_simple())
}

/// Runs until this router ends.
pub(super) async fn run(inner: Arc<Inner>) {
    let cluster = loop {
        match inner.catalog.cluster_uuid().await {
            Ok(uuid) => break uuid,
            Err(error) => tracing::debug!(%error, "the replicator waits for the catalog"),
        }
        tokio::time::sleep(LOOK).await;
    };
    let mut driver = Driver {
        cluster,
        wishes: Wishes::default(),
        tasks: JoinSet::new(),
        beaten: Instant::now(),
        beat: 0,
        inner: inner.clone(),
    };
    while !inner.stop.is_cancelled() {
        if let Err(refusal) = driver.look().await {
            tracing::debug!(%refusal, "the replicator could not write its records");
        }
        tokio::select! {
            () = inner.stop.cancelled() => {}
            () = inner.news.notified() => {}
            Some(ended) = driver.tasks.join_next() => driver.ended(ended).await,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    // Each notes how far it is.
    while let Some(ended) = driver.tasks.join_next().await {
        driver.ended(ended).await;
    }
}

struct Driver {
    inner: Arc<Inner>,
    cluster: Uuid,
    wishes: Wishes,
    tasks: JoinSet<Ended>,
    /// When this router last told that it lives.
    beaten: Instant,
    beat: u64,
}

impl Driver {
    async fn look(&mut self) -> Result<(), Refusal> {
        let (Some(docs), Some(kept)) = (self.inner.docs.all(), self.inner.jobs.all()) else { return Ok(()) };
        let records = records(&kept);
        let holder = |id: &str| records.get(id).and_then(|(_, record, _)| record.doc.clone());
        let Sorted { mut wanted, failed } = self.wishes.sort(&self.inner, self.cluster, &docs, holder);
        wanted.extend(self.inner.asked().clone());
        self.beat(&records).await?;
        let steps = self.decide(&wanted, &docs, &records, &kept);
        let begins = steps.values().any(|step| *step == Step::Start) || !failed.is_empty();
        // What a restore is loading must not change before it was compared.
        let held = begins && is_being_restored(&self.inner).await?;
        for (id, step) in steps.into_iter().filter(|(_, step)| !(held && *step == Step::Start)) {
            let record = records.get(&id).map(|(rev, record, _)| (rev.clone(), record.clone()));
            self.step(&id, step, record, wanted.get(&id)).await?;
        }
        self.tell(&records).await?;
        for (doc, why) in failed.into_iter().filter(|_| !held) {
            let Some(kept) = docs.get(&doc).filter(|kept| kept.seen.elapsed() >= FAIL_AFTER) else { continue };
            if docs::note(&self.inner, &doc, &kept.rev, Ending::Failed(why.clone())).await? {
                tracing::warn!(doc, why, "a replication cannot be done");
            }
        }
        Ok(())
    }

    fn decide(
        &self,
        wanted: &BTreeMap<String, Wanted>,
        docs: &BTreeMap<String, Kept>,
        records: &Records,
        kept: &BTreeMap<String, Kept>,
    ) -> BTreeMap<String, Step> {
        let running = self.inner.running();
        let ids: std::collections::BTreeSet<&String> =
            records.keys().chain(wanted.keys()).chain(running.keys()).collect();
        let jobs: Vec<Job<'_>> = ids
            .into_iter()
            .map(|id| {
                let record = records.get(id);
                let wish = wanted.get(id);
                let since_doc = || wish.and_then(|wish| docs.get(&wish.doc.as_ref()?.0)).map(|kept| kept.seen);
                let since = record.map(|(_, _, seen)| *seen).or_else(since_doc);
                let holder = record.and_then(|(_, record, _)| record.holder);
                let heart = holder.and_then(|holder| kept.get(&heart(holder))).map(|kept| kept.seen);
                let sign = heart.max(record.map(|(_, _, seen)| *seen));
                Job {
                    id,
                    record: record.map(|(_, record, _)| record),
                    wanted: wish.is_some(),
                    doc_rev: wish.and_then(|wish| Some(wish.doc.as_ref()?.1.as_str())),
                    unchanged: since.map_or(Duration::ZERO, |since| since.elapsed()),
                    silent: sign.map_or(Duration::ZERO, |sign| sign.elapsed()),
                    running: running.get(id).map(|worker| worker.begun_ms),
                }
            })
            .collect();
        let config = &self.inner.config;
        let here = Here {
            me: self.inner.me,
            now_ms: self.inner.now_ms(),
            jobs_max: config.jobs_max,
            turn: Duration::from_secs(config.turn_s),
            takeover: self.takeover(),
        };
        schedule::decide(&here, &jobs)
    }

    fn takeover(&self) -> Duration {
        Duration::from_millis(self.inner.config.takeover_ms)
    }

    /// Tells the other routers that this one lives, while it holds something.
    async fn beat(&mut self, records: &Records) -> Result<(), Refusal> {
        let holds = records.values().any(|(_, record, _)| record.holder == Some(self.inner.me));
        if !holds {
            self.beaten = Instant::now();
            return Ok(());
        }
        if self.beat > 0 && self.beaten.elapsed() < self.takeover() / 5 {
            return Ok(());
        }
        let begun = Instant::now();
        let name = heart(self.inner.me);
        let known = self.inner.jobs.get(&name).map(|kept| kept.rev);
        let told = put(&self.inner, &name, known, &json!({ "beat": self.beat + 1 })).await;
        if matches!(told, Ok(true)) {
            (self.beaten, self.beat) = (begun, self.beat + 1);
        } else if self.beaten.elapsed() >= self.takeover() * 4 / 5 {
            tracing::warn!("this router could not tell for long that it lives: its replications stop");
            self.inner.running().values().for_each(|worker| worker.stop.cancel());
        }
        told.map(drop)
    }

    async fn step(
        &mut self,
        id: &str,
        step: Step,
        record: Option<(Rev, Record)>,
        wanted: Option<&Wanted>,
    ) -> Result<(), Refusal> {
        let (rev, record) = record.unzip();
        match (step, wanted, record) {
            (Step::Start, Some(wanted), record) => {
                let now_ms = self.inner.now_ms();
                let doc_rev = wanted.doc.as_ref().map(|(_, rev)| rev.clone());
                let record = record.unwrap_or_else(|| once::record(wanted, None, now_ms));
                let record =
                    Record { doc: wanted.doc.clone().unzip().0, ..record }.started(self.inner.me, doc_rev, now_ms);
                if write(&self.inner, id, rev, Some(&record)).await? {
                    self.start(id, wanted.clone(), &record);
                }
            }
            (Step::Release, ..) => {
                if let Some(worker) = self.inner.running().get_mut(id) {
                    worker.gives_way = true;
                    worker.stop.cancel();
                }
            }
            (Step::Drop, _, _) => {
                self.inner.running().get(id).inspect(|worker| worker.stop.cancel());
                if rev.is_some() {
                    write(&self.inner, id, rev, None).await?;
                }
            }
            (Step::Stop, _, _) => {
                self.inner.running().get(id).inspect(|worker| worker.stop.cancel());
                // One that was asked for here and is gone from the records was cancelled.
                if record_gone(&self.inner, id) {
                    self.inner.asked().remove(id);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, id: &str, wanted: Wanted, record: &Record) {
        let progress = Progress::from(record.stats.clone());
        let (stop, now_ms) = (self.inner.stop.child_token(), self.inner.now_ms());
        let worker = Worker {
            stop: stop.clone(),
            progress: progress.clone(),
            begun_ms: now_ms,
            told_ms: now_ms,
            gives_way: false,
        };
        self.inner.running().insert(id.to_owned(), worker);
        let (inner, id) = (self.inner.clone(), id.to_owned());
        tracing::info!(id, source = %record.source, target = %record.target, "a replication starts");
        self.tasks.spawn(async move {
            let result = inner.run(&wanted, &progress, stop.clone()).await;
            Ended { id, wanted, result, stopped: stop.is_cancelled() }
        });
    }

    /// Notes what became of a replication that ended here.
    async fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let ended = match ended {
            Ok(ended) => ended,
            // The process is ending: nothing else stops one from outside, and panics are caught within.
            Err(error) => return tracing::error!(%error, "a replication's task is gone"),
        };
        let Some(worker) = self.inner.running().remove(&ended.id) else { return };
        let stats = worker.progress.look();
        if ended.stopped && !worker.gives_way {
            return;
        }
        let id = ended.id.clone();
        if let Err(refusal) = self.close(ended, stats).await {
            // The record still says that it runs here, and it does not: it is started again.
            tracing::debug!(%refusal, id, "the end of a replication could not be noted");
        }
    }

    async fn close(&mut self, ended: Ended, stats: super::Stats) -> Result<(), Refusal> {
        let Ended { id, wanted, result, stopped } = ended;
        let Some((rev, record)) = find(&self.inner, &id) else { return Ok(()) };
        if record.holder != Some(self.inner.me) {
            return Ok(());
        }
        if stopped {
            let record = Record { stats, ..record }.released(self.inner.now_ms());
            return write(&self.inner, &id, Some(rev), Some(&record)).await.map(drop);
        }
        match result {
            Ok(_) => {
                tracing::info!(id, "a replication is complete");
                if let Some((doc, doc_rev)) = &wanted.doc
                    && let Ok(doc_rev) = Rev::parse(doc_rev)
                {
                    docs::note(&self.inner, doc, &doc_rev, Ending::Completed(stats)).await?;
                }
                write(&self.inner, &id, Some(rev), None).await.map(drop)
            }
            Err(error) => {
                tracing::warn!(id, %error, "a replication failed and will be tried again");
                let pause_max_ms = self.inner.config.backoff_max_s.saturating_mul(1_000);
                let record = Record { stats, ..record }.crashed(error.to_string(), pause_max_ms, self.inner.now_ms());
                write(&self.inner, &id, Some(rev), Some(&record)).await.map(drop)
            }
        }
    }

    /// Tells in the records how far the replications are that run here.
    async fn tell(&mut self, records: &Records) -> Result<(), Refusal> {
        let now_ms = self.inner.now_ms();
        for (id, (rev, record, _)) in records {
            let stats = {
                let mut running = self.inner.running();
                let Some(worker) = running.get_mut(id).filter(|worker| now_ms >= worker.told_ms + TELL_MS) else {
                    continue;
                };
                worker.told_ms = now_ms;
                worker.progress.look()
            };
            if stats != record.stats && record.holder == Some(self.inner.me) {
                write(&self.inner, id, Some(rev.clone()), Some(&Record { stats, ..record.clone() })).await?;
            }
        }
        Ok(())
    }
}

/// Whether a restore is writing documents of `_replicator`.
async fn is_being_restored(inner: &Inner) -> Result<bool, Refusal> {
    let id = DocId::parse(RESTORE_MARK).expect("a valid id");
    let query = Query::Local { db: DbUid::REPLICATOR, id };
    let (answer, _) = inner.cluster.read(CATALOG_SHARD, Consistency::Linearizable, query).await?;
    Ok(matches!(answer, Answer::Local(Some(_))))
}

fn records(kept: &BTreeMap<String, Kept>) -> Records {
    let read = |(name, kept): (&String, &Kept)| {
        let id = name.strip_prefix("job:")?.to_owned();
        let record = serde_json::from_slice(&kept.json).ok()?;
        Some((id, (kept.rev.clone(), record, kept.seen)))
    };
    kept.iter().filter_map(read).collect()
}

fn find(inner: &Inner, id: &str) -> Option<(Rev, Record)> {
    let kept = inner.jobs.get(&key(id))?;
    Some((kept.rev, serde_json::from_slice(&kept.json).ok()?))
}

fn record_gone(inner: &Inner, id: &str) -> bool {
    inner.jobs.get(&key(id)).is_none()
}

/// Writes a record over `rev`, or removes it; whether this did it.
pub(super) async fn write(inner: &Inner, id: &str, rev: Option<Rev>, record: Option<&Record>) -> Result<bool, Refusal> {
    let name = key(id);
    match (record, rev) {
        (Some(record), rev) => put(inner, &name, rev, record).await,
        (None, Some(rev)) => remove(inner, &name, rev).await,
        (None, None) => Ok(false),
    }
}

async fn put<T: serde::Serialize>(inner: &Inner, name: &str, rev: Option<Rev>, value: &T) -> Result<bool, Refusal> {
    let Ok(id) = DocId::parse(name) else { return Ok(false) };
    let Some(rev) = inner.system(DbUid::JOBS).put(&id, rev, value).await? else { return Ok(false) };
    let json = serde_json::to_vec(value).map_err(|error| Refusal::BadBatch(error.to_string()))?;
    inner.jobs.wrote(name, rev, Some(Bytes::from(json)));
    Ok(true)
}

async fn remove(inner: &Inner, name: &str, rev: Rev) -> Result<bool, Refusal> {
    let Ok(id) = DocId::parse(name) else { return Ok(false) };
    let gone = inner.system(DbUid::JOBS).delete(&id, rev.clone()).await?;
    if gone {
        inner.jobs.wrote(name, Rev { generation: rev.generation + 1, ..rev }, None);
    }
    Ok(gone)
}

/// Leaves what this router holds to the others, once its own runs have ended.
pub(super) async fn hand_over(inner: &Inner) {
    let patience = Instant::now() + Duration::from_secs(3);
    while !inner.running().is_empty() && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let Some(kept) = inner.jobs.all() else { return };
    for (id, (rev, record, _)) in records(&kept) {
        if record.holder != Some(inner.me) {
            continue;
        }
        // What a request asked for ends with the router that it asked.
        let left = record.doc.is_some().then(|| record.released(inner.now_ms()));
        if let Err(refusal) = write(inner, &id, Some(rev), left.as_ref()).await {
            return tracing::debug!(%refusal, "the replications are left to be taken over");
        }
    }
    let name = heart(inner.me);
    if let Some(kept) = inner.jobs.get(&name)
        && let Err(refusal) = remove(inner, &name, kept.rev).await
    {
        tracing::debug!(%refusal, "this router's sign of life stays");
    }
}
