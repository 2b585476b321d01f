//! Natural batching: one queue for each shard and kind of request.
//!
//! If fewer batches are under way than the queue has lanes, a request goes at once; what arrives meanwhile leaves together as
//! the next batch. At rest nothing waits, and the busier the shard the larger its batches; a queue that gathers holds a
//! batch open a moment for those who were just answered (`gather`). Bounded in
//! bytes; when full, [`Refusal::Overloaded`] at once. Answers come in the order of the batch; who has stopped waiting
//! before its batch left is not sent at all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::attachment::{CHUNK_BYTES, Sent};
use common::command::{Bearer, Command, Op};
use common::ids::ShardId;
use common::metrics::{BATCH_REQUESTS, Histogram};
use common::query::Query;
use common::refusal::Refusal;
use common::validation::Defined;
use futures::future::BoxFuture;
use http::HeaderValue;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use super::gather::Gather;
use crate::telemetry::request;

/// Batches of writes under way at once. A batch costs a log entry, a sync and two messages on every replica, whatever
/// its size: one at a time makes them as large as they can be (measured at 64 connections: a seventh more writes).
pub const WRITE_LANES: usize = 1;
/// Batches of reads under way at once. With one the shard is idle while an answer travels; more make batches smaller.
pub const READ_LANES: usize = 2;
/// Requests in a batch. More would delay the first of them for the last.
const BATCH_LEN_MAX: usize = 512;
/// Bytes in a batch, unless a single request is larger.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What a query by selector counts as: a step of it may look at this much, and answer with it.
const FIND_BYTES: usize = 128 << 10;
/// What a step of making indexes counts as: it looks at this much and more, and writes about as much.
const BUILD_BYTES: usize = 512 << 10;

/// How much memory a request holds while it waits.
pub trait Weight {
    /// In bytes, roughly.
    fn bytes(&self) -> usize;
}

impl Weight for Command {
    fn bytes(&self) -> usize {
        weight(&self.op) + 128
    }
}

fn weight(op: &Op) -> usize {
    match op {
        Op::Edit(edit) => edit.body.json.len() + edit.doc.id.as_str().len(),
        Op::Graft(graft) => graft.body.json.len() + graft.doc.id.as_str().len() + 32 * graft.path.len(),
        Op::Local(local) => local.json.as_ref().map_or(0, |json| json.len()) + local.doc.id.as_str().len(),
        Op::DropDb { .. } => 0,
        Op::BuildIndexes { .. } => BUILD_BYTES,
        Op::AdoptIndexes { indexes, .. } => indexes.iter().map(|index| 64 + 2 * index.definition.shown.len()).sum(),
        Op::Compact { doc } => doc.id.as_str().len(),
        Op::Purge(purge) => purge.doc.id.as_str().len() + 32 * purge.revs.len(),
        Op::Atomic(atomic) => {
            atomic.edits.iter().map(|edit| edit.body.json.len() + edit.doc.id.as_str().len() + 128).sum()
        }
        Op::AdoptSlots { slots, .. } => 2 * slots.len(),
        Op::Attached(attached) => {
            let (doc, body) = (attached.write.doc(), attached.write.body());
            let path = if let Bearer::Graft(graft) = &attached.write { 32 * graft.path.len() } else { 0 };
            let attachments: usize = attached.attachments.iter().map(Sent::bytes).sum();
            doc.id.as_str().len() + body.json.len() + path + attachments
        }
        Op::PutChunk(chunk) => chunk.bytes.len() + chunk.doc.id.as_str().len(),
        Op::ForgetUploads { .. } => 0,
        Op::Validated(validated) => weight(&validated.op) + 16,
        Op::AdoptValidators { others, .. } => {
            let of = |defined: &Defined| defined.validators.iter().map(|one| one.ddoc.len() + 40).sum::<usize>();
            others.iter().map(|(_, defined)| of(defined) + 16).sum()
        }
        Op::KeepViews { signatures, .. } => 16 * signatures.len(),
    }
}

impl Weight for Query {
    fn bytes(&self) -> usize {
        match self {
            // Much work and a large answer: a few of them are a batch.
            Query::Find(find) => FIND_BYTES + find.selector.len(),
            Query::Chunk { .. } => CHUNK_BYTES,
            _ => 128,
        }
    }
}

/// Requests that travel together.
pub struct Batch<I> {
    /// The requests.
    pub items: Vec<I>,
    /// Since when the first of them has waited.
    pub since: Instant,
}

/// Sends a batch: an answer for each request, in order, or a refusal of all.
pub type Send<I, O> = Arc<dyn Fn(Batch<I>) -> BoxFuture<'static, Result<Vec<O>, Refusal>> + std::marker::Send + Sync>;

/// A queue's handle.
pub struct Queue<I, O> {
    shared: Arc<Shared<I, O>>,
}

struct Shared<I, O> {
    shard: ShardId,
    bytes_max: usize,
    state: Mutex<State<I, O>>,
    filled: Notify,
    batches: Histogram,
}

struct State<I, O> {
    waiting: VecDeque<Job<I, O>>,
    gather: Option<Gather>,
    /// Waiting and under way.
    bytes: usize,
    /// Nothing is sent any more.
    closed: bool,
}

struct Job<I, O> {
    items: Items<I>,
    bytes: usize,
    since: Instant,
    /// The id of the request it is a part of, and its span.
    id: Option<HeaderValue>,
    span: Span,
    reply: Reply<O>,
}

type Reply<O> = oneshot::Sender<Result<Answers<O>, Refusal>>;

/// Most requests are alone, and need no allocation for that.
enum Items<I> {
    One(I),
    Many(Vec<I>),
}

enum Answers<O> {
    One(O),
    Many(Vec<O>),
}

/// A batch taken from the queue, and who waits for its parts.
struct Taken<I, O> {
    batch: Batch<I>,
    replies: Vec<(Count, Reply<O>)>,
    ids: Option<HeaderValue>,
    span: Span,
    bytes: usize,
}

enum Count {
    One,
    Many(usize),
}

impl<I: Weight + std::marker::Send + 'static, O: std::marker::Send + 'static> Queue<I, O> {
    /// A queue whose `lanes` run on `tasks` until `stop`.
    pub fn start(
        shard: ShardId,
        lanes: usize,
        gathers: bool,
        bytes_max: usize,
        send: Send<I, O>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let gather = gathers.then(Gather::new);
        let state = Mutex::new(State { waiting: VecDeque::new(), gather, bytes: 0, closed: false });
        let shared = Arc::new(Shared {
            shard,
            bytes_max,
            state,
            filled: Notify::new(),
            batches: Histogram::of(&BATCH_REQUESTS),
        });
        for _ in 0..lanes {
            let lane = lane(shared.clone(), send.clone());
            tasks.spawn(stop.clone().run_until_cancelled_owned(lane));
        }
        let (stop, closing) = (stop.clone(), shared.clone());
        tasks.spawn(async move {
            stop.cancelled().await;
            closing.close();
        });
        Self { shared }
    }

    /// Bytes of requests that wait or are under way.
    pub fn bytes(&self) -> usize {
        self.shared.lock().bytes
    }

    /// How many requests left together.
    pub fn batches(&self) -> &Histogram {
        &self.shared.batches
    }

    /// Sends one request with the next batch.
    pub async fn one(&self, item: I) -> Result<O, Refusal> {
        match self.push(Items::One(item))?.await {
            Ok(Ok(Answers::One(answer))) => Ok(answer),
            Ok(Err(refusal)) => Err(refusal),
            Ok(Ok(Answers::Many(_))) => unreachable!("a single request gets a single answer"),
            Err(_) => Err(self.cut_off()),
        }
    }

    /// Sends requests that stay together with the next batch.
    pub async fn many(&self, items: Vec<I>) -> Result<Vec<O>, Refusal> {
        match self.push(Items::Many(items))?.await {
            Ok(Ok(Answers::Many(answers))) => Ok(answers),
            Ok(Err(refusal)) => Err(refusal),
            Ok(Ok(Answers::One(_))) => unreachable!("several requests get several answers"),
            Err(_) => Err(self.cut_off()),
        }
    }

    fn push(&self, items: Items<I>) -> Result<oneshot::Receiver<Result<Answers<O>, Refusal>>, Refusal> {
        let bytes = match &items {
            Items::One(item) => item.bytes(),
            Items::Many(items) => items.iter().map(Weight::bytes).sum(),
        };
        let (reply, receiver) = oneshot::channel();
        let (id, span) = (request::current(), Span::current());
        let mut state = self.shared.lock();
        if state.closed {
            return Err(self.shared.stopping());
        }
        // One request is always let in, so that none is too large for an empty queue.
        if state.bytes > 0 && state.bytes + bytes > self.shared.bytes_max {
            return Err(Refusal::Overloaded { shard: self.shared.shard });
        }
        let since = Instant::now();
        state.bytes += bytes;
        state.waiting.push_back(Job { items, bytes, since, id, span, reply });
        if let Some(gather) = &mut state.gather {
            gather.came(since);
        }
        let held = state.held(since).is_some();
        drop(state);
        if !held {
            self.shared.filled.notify_one();
        }
        Ok(receiver)
    }

    /// The router stopped while the batch was under way.
    fn cut_off(&self) -> Refusal {
        Refusal::UnknownOutcome { shard: self.shared.shard }
    }
}

impl<I, O> Shared<I, O> {
    fn lock(&self) -> MutexGuard<'_, State<I, O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> Refusal {
        Refusal::OutOfService { shard: self.shard, reason: "the router is stopping".to_owned() }
    }

    /// Refuses what waits and what comes.
    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for job in state.waiting.drain(..) {
            let _ = job.reply.send(Err(self.stopping()));
        }
    }

    /// The next batch, as soon as there is one.
    async fn next(&self) -> Taken<I, O> {
        loop {
            let (taken, held) = self.lock().next(Instant::now());
            if let Some(taken) = taken {
                return taken;
            }
            match held {
                // Late or early, the next look decides.
                Some(until) => _ = tokio::time::timeout_at(until, self.filled.notified()).await,
                None => self.filled.notified().await,
            }
            // The request that woke us is often the first of many whose tasks are ready to run: let those run before
            // the batch is closed. With nothing else to do this comes back within a microsecond or two.
            tokio::task::yield_now().await;
        }
    }
}

impl<I, O> State<I, O> {
    /// The next batch, or until when it is held open.
    fn next(&mut self, now: Instant) -> (Option<Taken<I, O>>, Option<Instant>) {
        match self.held(now) {
            Some(until) => (None, Some(until)),
            None => (self.take(), None),
        }
    }

    fn held(&self, now: Instant) -> Option<Instant> {
        self.gather.as_ref()?.holds(now, self.waiting.len())
    }

    fn take(&mut self) -> Option<Taken<I, O>> {
        let expected = self.waiting.len().min(BATCH_LEN_MAX);
        let mut items = Vec::with_capacity(expected);
        let mut replies = Vec::with_capacity(expected);
        let mut since = None;
        let (mut ids, mut span) = (Vec::with_capacity(expected), None);
        let mut bytes = 0;
        while let Some(job) = self.waiting.front() {
            let len = match &job.items {
                Items::One(_) => 1,
                Items::Many(items) => items.len(),
            };
            let full = items.len() + len > BATCH_LEN_MAX || bytes + job.bytes > BATCH_BYTES_MAX;
            if full && !items.is_empty() {
                break;
            }
            let job = self.waiting.pop_front().expect("just seen");
            if job.reply.is_closed() {
                self.bytes -= job.bytes;
                continue;
            }
            bytes += job.bytes;
            since.get_or_insert(job.since);
            ids.extend(job.id);
            span.get_or_insert(job.span);
            match job.items {
                Items::One(item) => {
                    items.push(item);
                    replies.push((Count::One, job.reply));
                }
                Items::Many(more) => {
                    replies.push((Count::Many(more.len()), job.reply));
                    items.extend(more);
                }
            }
        }
        let (ids, span) = (request::joined(&ids), span.unwrap_or_else(Span::none));
        since.map(|since| Taken { batch: Batch { items, since }, replies, ids, span, bytes })
    }
}

async fn lane<I, O>(shared: Arc<Shared<I, O>>, send: Send<I, O>) {
    loop {
        let Taken { batch, replies, ids, span, bytes } = shared.next().await;
        let expected = batch.items.len();
        shared.batches.see(expected as u64);
        let begun = Instant::now();
        let mut answer = request::within_any(ids, send(batch)).instrument(span).await;
        if answer.as_ref().is_ok_and(|answers| answers.len() != expected) {
            answer = Err(Refusal::UnknownOutcome { shard: shared.shard });
        }
        let now = Instant::now();
        let mut state = shared.lock();
        state.bytes -= bytes;
        let waiting = state.waiting.len();
        if let Some(gather) = &mut state.gather {
            gather.answered(now, now - begun, replies.len(), waiting);
        }
        drop(state);
        deliver(replies, answer);
    }
}

/// Who has gone meanwhile is passed over: nobody is left to be told.
fn deliver<O>(replies: Vec<(Count, Reply<O>)>, answer: Result<Vec<O>, Refusal>) {
    match answer {
        Ok(answers) => {
            let mut answers = answers.into_iter();
            for (count, reply) in replies {
                let part = match count {
                    Count::One => Answers::One(answers.next().expect("as many answers as requests")),
                    Count::Many(len) => Answers::Many(answers.by_ref().take(len).collect()),
                };
                let _ = reply.send(Ok(part));
            }
        }
        Err(refusal) => {
            for (_, reply) in replies {
                let _ = reply.send(Err(refusal.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
