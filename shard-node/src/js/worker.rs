//! A thread that makes calls: takes batches as they come and keeps the machines of the last few programs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::machine::{Machine, State};
use super::{Answer, Counts, Failure, Job, Limits, Program, Uncompiled, Verb};

/// Machines kept. Making one takes a millisecond or two; one that idles holds about a megabyte.
const KEPT_MAX: usize = 8;

/// Makes calls until nobody can ask for any.
pub(super) fn run(waiting: &Mutex<Receiver<Job>>, limits: Limits, counts: &Counts) {
    let mut worker = Worker { limits, counts, kept: Vec::new() };
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { program, verb, calls, reply }) = next else { return };
        if reply.is_closed() {
            continue;
        }
        // A panic here is a bug of ours. It must not end the thread, or in the end there would be none.
        let work = catch_unwind(AssertUnwindSafe(|| {
            let texts = calls.iter().map(|call| (call.function, &*call.text));
            worker.call(&program, verb, texts, &|| reply.is_closed())
        }));
        match work {
            // Whoever asked may be gone.
            Ok(answers) => drop(reply.send(answers)),
            Err(_) => worker.kept.clear(),
        }
    }
}

/// Whether the rest of a batch is not called behind a call that failed.
fn ends(verb: Verb, failure: &Failure) -> bool {
    match verb {
        // A document is left out.
        Verb::Map => false,
        // Each document is judged by itself. One that takes too long is as much as a batch may cost.
        Verb::Validate => matches!(failure, Failure::TooLong | Failure::TooLarge(_)),
        // Whoever asked has got their answer.
        Verb::Filter | Verb::Reduce => true,
    }
}

struct Worker<'a> {
    limits: Limits,
    counts: &'a Counts,
    /// By fingerprint, the one used last behind.
    kept: Vec<(u64, Arc<Program>, Machine)>,
}

impl Worker<'_> {
    fn call<'t>(
        &mut self,
        program: &Arc<Program>,
        verb: Verb,
        calls: impl Iterator<Item = (usize, &'t str)>,
        is_given_up: &dyn Fn() -> bool,
    ) -> Result<Vec<Answer>, Uncompiled> {
        let begun = Instant::now();
        let mut machine = self.take(program)?;
        let mut answers = Vec::new();
        for (function, text) in calls {
            if is_given_up() {
                break;
            }
            let (answer, state) = machine.call(verb, function, text);
            self.count(&answer);
            let over = answer.as_ref().is_err_and(|failure| ends(verb, failure));
            answers.push(answer);
            if state == State::Broken {
                machine = Machine::new(program, self.limits)?;
            }
            if over {
                break;
            }
        }
        self.counts.busy_us.add(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        if self.kept.len() >= KEPT_MAX {
            self.kept.remove(0);
        }
        self.kept.push((program.fingerprint(), program.clone(), machine));
        Ok(answers)
    }

    fn take(&mut self, program: &Arc<Program>) -> Result<Machine, Uncompiled> {
        let fingerprint = program.fingerprint();
        let at = self.kept.iter().position(|(known, kept, _)| *known == fingerprint && kept == program);
        match at {
            Some(at) => Ok(self.kept.remove(at).2),
            None => Machine::new(program, self.limits),
        }
    }

    fn count(&self, answer: &Answer) {
        self.counts.calls.inc();
        match answer {
            Ok(_) => {}
            Err(Failure::TooLong) => self.counts.too_long.inc(),
            Err(Failure::TooLarge(_)) => self.counts.too_large.inc(),
            Err(Failure::Threw(_) | Failure::Error { .. }) => self.counts.failed.inc(),
        }
    }
}
