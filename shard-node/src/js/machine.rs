//! One JavaScript runtime with the functions of one design document in it.
//!
//! Nothing but text goes in and comes out. What a call gives depends on its arguments alone, see `prelude.js`; a
//! machine that was stopped in the middle of something, or was left unclean, says so and must be thrown away.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use rquickjs::context::EvalOptions;
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Function, Object, Persistent, Runtime};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Answer, Failure, Limits, Program, Uncompiled, Verb};

const PRELUDE: &str = include_str!("prelude.js");

/// Whether a machine can be used again after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Clean,
    Broken,
}

/// How much a call may still do.
#[derive(Debug, Default)]
struct Budget {
    /// The engine asks once for some ten thousand calls and turns of loops: unlike time, equal on every replica.
    steps_left: Cell<u64>,
    until: Cell<Option<Instant>>,
    exhausted: Cell<bool>,
}

impl Budget {
    fn renew(&self, limits: &Limits) {
        self.steps_left.set(limits.steps);
        self.until.set(Some(Instant::now() + limits.time));
        self.exhausted.set(false);
    }

    /// Whether to stop.
    fn ask(&self) -> bool {
        let left = self.steps_left.get();
        self.steps_left.set(left.saturating_sub(1));
        let over = left == 0 || self.until.get().is_some_and(|until| Instant::now() >= until);
        if over {
            self.exhausted.set(true);
        }
        over
    }
}

/// See the module.
pub(super) struct Machine {
    limits: Limits,
    budget: Rc<Budget>,
    entries: Persistent<Object<'static>>,
    context: Context,
}

/// What the prelude answers.
#[derive(Deserialize)]
struct Told<'t> {
    #[serde(borrow)]
    ok: Option<&'t RawValue>,
    failed: Option<Failed>,
    #[serde(default)]
    log: Vec<String>,
    #[serde(default)]
    unclean: bool,
}

#[derive(Deserialize)]
struct Failed {
    name: Option<String>,
    message: Option<String>,
    thrown: Option<Box<RawValue>>,
}

impl Machine {
    /// A machine with all functions of `program`. Errors with the first that is none.
    pub(super) fn new(program: &Program, limits: Limits) -> Result<Self, Uncompiled> {
        let broken = |error: rquickjs::Error| Uncompiled { at: 0, reason: error.to_string() };
        let runtime = Runtime::new().map_err(broken)?;
        runtime.set_memory_limit(limits.memory_bytes);
        runtime.set_max_stack_size(limits.stack_bytes);
        let budget = Rc::new(Budget::default());
        let asked = budget.clone();
        runtime.set_interrupt_handler(Some(Box::new(move || asked.ask())));
        let context = Context::full(&runtime).map_err(broken)?;
        budget.renew(&limits);
        let entries = context.with(|ctx| -> Result<_, Uncompiled> {
            let failed = |error: CaughtError<'_>| Uncompiled { at: 0, reason: said(&error) };
            let mut options = EvalOptions::default();
            options.strict = false;
            let entries: Object<'_> = ctx.eval_with_options(PRELUDE, options).catch(&ctx).map_err(failed)?;
            let design: Function<'_> = entries.get("design").catch(&ctx).map_err(failed)?;
            design.call::<_, ()>((&*program.design,)).catch(&ctx).map_err(failed)?;
            let compile: Function<'_> = entries.get("compile").catch(&ctx).map_err(failed)?;
            for (at, code) in program.functions.iter().enumerate() {
                budget.renew(&limits);
                let compiled = compile.call::<_, ()>((&**code,)).catch(&ctx);
                compiled.map_err(|error| Uncompiled { at, reason: said(&error) })?;
            }
            Ok(Persistent::save(&ctx, entries))
        })?;
        Ok(Self { limits, budget, entries, context })
    }

    /// Calls the function at `at` with `text`: the arguments as a JSON array, or the document to be mapped.
    pub(super) fn call(&self, verb: Verb, at: usize, text: &str) -> (Answer, State) {
        self.budget.renew(&self.limits);
        let (answer, state) = self.context.with(|ctx| {
            let called = self.within(&ctx, verb, at, text).catch(&ctx);
            match called {
                Ok(told) => read(&told),
                Err(_) if self.budget.exhausted.get() => (Err(Failure::TooLong), State::Broken),
                // Out of memory or of stack, where the prelude could not catch it.
                Err(error) => (Err(Failure::TooLarge(said(&error))), State::Broken),
            }
        });
        // Jobs of promises are never done, and must not pile up.
        (answer, if self.context.runtime().is_job_pending() { State::Broken } else { state })
    }

    fn within<'js>(&self, ctx: &Ctx<'js>, verb: Verb, at: usize, text: &str) -> rquickjs::Result<String> {
        let entries = self.entries.clone().restore(ctx)?;
        let entry: Function<'js> = entries.get(verb.entry())?;
        entry.call((at, text))
    }
}

fn read(told: &str) -> (Answer, State) {
    let told: Told<'_> = match serde_json::from_str(told) {
        Ok(told) => told,
        Err(error) => return (Err(Failure::TooLarge(error.to_string())), State::Broken),
    };
    for line in &told.log {
        tracing::info!(line, "a function of a design document");
    }
    let state = if told.unclean { State::Broken } else { State::Clean };
    let answer = match (told.ok, told.failed) {
        (Some(ok), None) => Ok(ok.get().to_owned()),
        (_, Some(Failed { name: Some(name), message, .. })) => {
            let message = message.unwrap_or_default();
            match (&*name, &*message) {
                ("InternalError", "out of memory") => return (Err(Failure::TooLarge(message)), State::Broken),
                _ => Err(Failure::Error { name, message }),
            }
        }
        (_, Some(failed)) => {
            Err(Failure::Threw(failed.thrown.map_or_else(|| "null".to_owned(), |raw| raw.get().to_owned())))
        }
        (None, None) => Err(Failure::Threw("null".to_owned())),
    };
    (answer, state)
}

fn said(error: &CaughtError<'_>) -> String {
    match error {
        CaughtError::Exception(exception) => {
            let name: Option<String> = exception.get("name").ok();
            let message = exception.message().unwrap_or_default();
            format!("{}: {message}", name.unwrap_or_else(|| "Error".to_owned()))
        }
        other => other.to_string(),
    }
}
