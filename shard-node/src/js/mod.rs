//! Runs the JavaScript functions of design documents, away from everything else.
//!
//! Promises that a function sees its arguments and nothing more (no files, no sockets, no timers, nothing left of an
//! earlier call), and that it ends: a call has limits on its steps, its time, its memory and its depth. Calls run on
//! threads of their own, a bounded number of them with a bounded queue in front, so that no request waits behind a
//! function that it has not asked for.

mod machine;
#[cfg(test)]
mod tests;
mod worker;

use std::hash::{Hash, Hasher};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use common::metrics::{Counter, JS_BUSY, JS_CALLS, JS_REFUSED, Sheet};
use tokio::sync::oneshot;

/// Batches that wait at most. More would be answered long after their askers have gone.
const WAITING_MAX: usize = 256;
/// Threads at most: one less than there are cores, so that replicas go on, and not many, since each holds runtimes.
const THREADS_MAX: usize = 8;
/// Stack of a thread. The engine's own limit must be well below.
const THREAD_STACK_BYTES: usize = 8 << 20;

/// What one call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps, in units of some ten thousand calls and turns of loops. Equal on every replica, so that a document that
    /// is too much for a function is so everywhere.
    pub steps: u64,
    /// Time, for what takes few steps and long ones. Far more than the steps usually take.
    pub time: Duration,
    /// Memory, that of all functions of the design document included.
    pub memory_bytes: usize,
    /// Stack.
    pub stack_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // About a quarter of a second of an empty loop; a document of 8 MiB, read.
        Self { steps: 2_000, time: Duration::from_secs(2), memory_bytes: 96 << 20, stack_bytes: 1 << 20 }
    }
}

/// Functions that are compiled together, and the design document they are of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program {
    /// JSON text of what `require` finds modules in, and what `this` is: a design document or a part of it.
    pub design: Box<str>,
    /// The texts of the functions.
    pub functions: Vec<Box<str>>,
}

/// What a function is called as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// With a document; gives what it emitted: `[[key,value],…]`.
    Map,
    /// With `[document, request]`; gives `true` or `false`.
    Filter,
    /// With `[new, old, userCtx, secObj]`; gives `true`, or fails with what it threw.
    Validate,
    /// With `[keys, values, rereduce]`; gives the value.
    Reduce,
}

impl Verb {
    fn entry(self) -> &'static str {
        match self {
            Verb::Map => "map",
            Verb::Filter => "filter",
            Verb::Validate => "validate",
            Verb::Reduce => "reduce",
        }
    }
}

/// Why a call gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The function threw something that is no error: its JSON text.
    #[error("it threw {0}")]
    Threw(String),
    /// The function failed.
    #[error("{name}: {message}")]
    Error {
        /// The kind of error, such as `TypeError`.
        name: String,
        /// What it says.
        message: String,
    },
    /// It was stopped.
    #[error("it took too long")]
    TooLong,
    /// It needed more memory or stack than it may have.
    #[error("it needed too much memory: {0}")]
    TooLarge(String),
}

/// What a call gave: JSON text.
pub type Answer = Result<String, Failure>;

/// A text that is no function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Uncompiled {
    /// Which of the program's functions.
    pub at: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Why a batch of calls was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A function is none.
    #[error(transparent)]
    Uncompiled(#[from] Uncompiled),
    /// Too much waits; try again after a moment.
    #[error("too many functions wait to be called")]
    Busy,
    /// A thread ended in the middle: a bug.
    #[error("the thread of a function ended")]
    Lost,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which function of the program.
    pub function: usize,
    /// The document, or a JSON array of arguments. Shared: several functions are called with one document.
    pub text: Arc<str>,
}

/// Counts, for those who watch.
#[derive(Default)]
pub struct Counts {
    /// Calls made.
    pub calls: Counter,
    /// Microseconds spent in calls.
    pub busy_us: Counter,
    /// Calls that were stopped because they took too long.
    pub too_long: Counter,
    /// Calls that needed too much memory or stack.
    pub too_large: Counter,
    /// Calls in which the function failed.
    pub failed: Counter,
    /// Batches that were refused because too many waited.
    pub refused: Counter,
}

struct Job {
    program: Arc<Program>,
    verb: Verb,
    calls: Vec<Call>,
    reply: oneshot::Sender<Result<Vec<Answer>, Uncompiled>>,
}

/// A handle to the threads; they end with the last handle.
#[derive(Clone)]
pub struct Sandbox {
    jobs: SyncSender<Job>,
    counts: Arc<Counts>,
}

/// The sandbox that a process has: its nodes and its router share it, since cores are what it is bounded by.
static SHARED: LazyLock<Sandbox> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Sandbox::start(cores.saturating_sub(1).clamp(1, THREADS_MAX), Limits::default())
});

impl Sandbox {
    /// That of this process. Its threads are started at the first use.
    pub fn shared() -> &'static Sandbox {
        &SHARED
    }

    /// One of its own.
    pub fn start(threads: usize, limits: Limits) -> Self {
        let (jobs, waiting) = sync_channel(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        let counts = Arc::new(Counts::default());
        for number in 0..threads {
            let (waiting, counts) = (waiting.clone(), counts.clone());
            let thread = std::thread::Builder::new().name(format!("js-{number}")).stack_size(THREAD_STACK_BYTES);
            if let Err(error) = thread.spawn(move || worker::run(&waiting, limits, &counts)) {
                tracing::error!(%error, "a thread for functions of design documents did not start");
            }
        }
        Self { jobs, counts }
    }

    /// What it counts.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Makes calls, in order; an answer for each. Filters and reduces end with the first that fails, validations with the
    /// first that is stopped.
    pub async fn call(&self, program: Arc<Program>, verb: Verb, calls: Vec<Call>) -> Result<Vec<Answer>, Error> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(Job { program, verb, calls, reply }).map_err(|error| match error {
            TrySendError::Full(_) => {
                self.counts.refused.inc();
                Error::Busy
            }
            TrySendError::Disconnected(_) => Error::Lost,
        })?;
        Ok(answer.await.map_err(|_| Error::Lost)??)
    }

    /// Whether all functions of a program are functions; the first that is none.
    pub async fn check(&self, program: Arc<Program>) -> Result<(), Error> {
        self.call(program, Verb::Map, Vec::new()).await.map(drop)
    }
}

/// Writes down what this process's sandbox counts.
pub fn measure(sheet: &mut Sheet) {
    let counts = Sandbox::shared().counts();
    let stopped = [("failed", &counts.failed), ("too_long", &counts.too_long), ("too_large", &counts.too_large)];
    let mut fine = counts.calls.get();
    for (outcome, count) in stopped {
        fine = fine.saturating_sub(count.get());
        sheet.set(&JS_CALLS, &[outcome], count.get());
    }
    sheet.set(&JS_CALLS, &["ok"], fine);
    sheet.set(&JS_BUSY, &[], counts.busy_us.get() as f64 / 1e6);
    sheet.set(&JS_REFUSED, &[], counts.refused.get());
}

impl Program {
    fn fingerprint(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}
