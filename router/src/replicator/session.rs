//! One run of a replication: from where both ends agree to the end of the source's feed, or for ever.
//!
//! Batches are brought over side by side and counted in order. A checkpoint is written only behind batches that are
//! done, after the target has said that everything it acknowledged is durable, and over the revision that this run
//! knows: when somebody else runs the same replication, one of the two finds that out there and stops.

use std::time::{Duration, SystemTime};

use common::config;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::history::{self, Checkpoint, Session as Noted};
use super::peer::{Batch, Changes, Peer};
use super::spec::Spec;
use super::stats::{Progress, Stats};
use super::transfer::Ends;
use crate::cluster::catalog::Clock;

/// A source that does not wait for news, though asked to, is asked no more often than this.
const PACE: Duration = Duration::from_millis(500);

/// One run.
pub(super) struct Session<'a> {
    pub(super) spec: &'a Spec,
    pub(super) source: Peer,
    pub(super) target: Peer,
    /// The name of its checkpoints.
    pub(super) id: &'a str,
    pub(super) config: &'a config::Replicator,
    pub(super) progress: &'a Progress,
    pub(super) clock: &'a Clock,
    pub(super) stop: CancellationToken,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The checkpoint as it is at both ends.
    pub checkpoint: Checkpoint,
    /// Whether anything was noted by this run.
    pub changed: bool,
}

/// A batch that is being brought over; in the end the place behind it, and what was done.
type Transfer<'a> = BoxFuture<'a, Result<(Value, Stats), Error>>;

/// Where the reading of the feed stands.
struct Reading {
    since: Value,
    wait: bool,
    over: bool,
}

/// What is noted, and on what.
struct Notes {
    session: Noted,
    before: Vec<Noted>,
    /// Revisions of the checkpoints: at the source, at the target.
    revs: [Option<String>; 2],
    /// Everything before this has arrived.
    through: Value,
    /// This is noted at both ends.
    noted: Value,
    done: Stats,
    last: Instant,
}

impl Session<'_> {
    /// Runs to the end of the feed; a continuous one until it is stopped.
    pub(super) async fn run(&self) -> Result<Report, Error> {
        self.open().await?;
        let mut notes = self.start().await?;
        let (interval, workers) = (self.interval(), self.spec.workers.max(1));
        let reading = Reading { since: notes.through.clone(), wait: false, over: false };
        let mut done = self.batches(reading).try_buffered(workers).boxed();
        let ended = loop {
            let due = notes.last + interval;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break Ok(()),
                next = done.next() => match next {
                    None => break Ok(()),
                    Some(Err(error)) => break Err(error),
                    Some(Ok((seq, stats))) => self.passed(&mut notes, seq, &stats),
                },
                () = tokio::time::sleep_until(due), if notes.through != notes.noted => {}
            }
            if notes.last.elapsed() >= interval && notes.through != notes.noted {
                self.note(&mut notes).await?;
            }
        };
        // What has arrived need not be brought again, whatever ended this.
        let noted = if notes.through == notes.noted { Ok(()) } else { self.note(&mut notes).await };
        ended.and(noted)?;
        Ok(self.report(notes))
    }

    /// The feed's pages, each to be brought over.
    fn batches(&self, reading: Reading) -> BoxStream<'_, Result<Transfer<'_>, Error>> {
        let pages = stream::try_unfold(reading, |reading| self.page(reading).boxed());
        let transfer = |batch: Batch| {
            let ends = Ends { source: &self.source, target: &self.target };
            async move { ends.transfer(&batch).await.map(|stats| (batch.last_seq, stats)) }.boxed()
        };
        pages.map_ok(transfer).boxed()
    }

    /// Finds both ends, or makes the target.
    async fn open(&self) -> Result<(), Error> {
        if !self.source.exists().await? {
            return Err(Error::NoDatabase(self.source.shown.clone()));
        }
        if self.target.exists().await? {
            return Ok(());
        }
        match self.spec.create_target {
            true => self.target.create(&self.spec.create_target_params).await,
            false => Err(Error::NoDatabase(self.target.shown.clone())),
        }
    }

    async fn start(&self) -> Result<Notes, Error> {
        let (mut revs, mut start) = ([None, None], history::Start { seq: None, history: Vec::new() });
        if self.spec.use_checkpoints {
            let (source, source_rev) = self.source.checkpoint(self.id).await?;
            let (target, target_rev) = self.target.checkpoint(self.id).await?;
            start = history::common_start(&source, &target);
            revs = [source_rev, target_rev];
        }
        let since = start.seq.or_else(|| self.spec.since_seq.clone()).unwrap_or_else(|| Value::from(0));
        let session = Noted {
            session_id: format!("{:032x}", rand::random::<u128>()),
            start_time: self.now(),
            start_last_seq: since.clone(),
            ..Noted::default()
        };
        self.progress.note(|stats| {
            (stats.source_seq, stats.through_seq) = (since.clone(), since.clone());
            stats.checkpointed_source_seq = since.clone();
        });
        let (through, noted) = (since.clone(), since);
        Ok(Notes { session, before: start.history, revs, through, noted, done: Stats::default(), last: Instant::now() })
    }

    /// The next page of the source's feed, and where to go on.
    async fn page(&self, reading: Reading) -> Result<Option<(Batch, Reading)>, Error> {
        let Reading { since, wait, over } = reading;
        if over {
            return Ok(None);
        }
        let asked = Instant::now();
        let batch = self.source.changes(Changes { spec: self.spec, since: &since, wait }).await?;
        if wait && batch.rows.is_empty() && asked.elapsed() < PACE {
            tokio::time::sleep(PACE).await;
        }
        self.progress.note(|stats| {
            stats.source_seq = batch.last_seq.clone();
            stats.changes_pending = batch.pending.or(stats.changes_pending);
        });
        // A page that is not full is the end of what there is now.
        let at_end = batch.rows.len() < self.spec.batch;
        let next = Reading {
            since: batch.last_seq.clone(),
            wait: self.spec.continuous && at_end,
            over: !self.spec.continuous && at_end,
        };
        Ok(Some((batch, next)))
    }

    fn passed(&self, notes: &mut Notes, seq: Value, stats: &Stats) {
        notes.done.add(stats);
        self.progress.note(|all| {
            all.add(stats);
            all.through_seq = seq.clone();
        });
        notes.through = seq;
    }

    /// Notes at both ends that everything up to now has arrived.
    async fn note(&self, notes: &mut Notes) -> Result<(), Error> {
        notes.last = Instant::now();
        if !self.spec.use_checkpoints {
            notes.noted = notes.through.clone();
            return Ok(());
        }
        self.target.commit().await?;
        notes.session.end_time = self.now();
        notes.session.recorded_seq = notes.through.clone();
        notes.session.end_last_seq = notes.through.clone();
        notes.session = notes.session.clone().counted(&notes.done);
        let checkpoint = Checkpoint::of(notes.session.clone(), &notes.before);
        for (peer, rev) in [&self.source, &self.target].into_iter().zip(&mut notes.revs) {
            *rev = Some(self.note_at(peer, &checkpoint, rev.as_deref()).await?);
        }
        notes.noted = notes.through.clone();
        self.progress.note(|stats| stats.checkpointed_source_seq = notes.noted.clone());
        Ok(())
    }

    async fn note_at(&self, peer: &Peer, checkpoint: &Checkpoint, rev: Option<&str>) -> Result<String, Error> {
        if let Some(rev) = peer.note(self.id, checkpoint, rev).await? {
            return Ok(rev);
        }
        // A first try whose answer was lost has written the very same.
        match peer.checkpoint(self.id).await? {
            (there, Some(rev)) if &there == checkpoint => Ok(rev),
            _ => Err(Error::Overtaken(peer.shown.clone())),
        }
    }

    fn report(&self, notes: Notes) -> Report {
        let session = notes.session.counted(&notes.done);
        let changed = session.start_last_seq != notes.through;
        let session = Noted {
            end_last_seq: notes.through.clone(),
            recorded_seq: notes.through.clone(),
            end_time: if session.end_time.is_empty() { self.now() } else { session.end_time.clone() },
            ..session
        };
        Report { checkpoint: Checkpoint::of(session, &notes.before), changed }
    }

    fn interval(&self) -> Duration {
        let own = Duration::from_millis(self.config.checkpoint_interval_ms);
        self.spec.checkpoint_interval.unwrap_or(own).max(Duration::from_millis(100))
    }

    /// As CouchDB writes times in checkpoints.
    fn now(&self) -> String {
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_millis((self.clock)()))
    }
}
