//! Which router runs which replication. Pure: what is known comes in, steps go out.
//!
//! A replication belongs to the router that its record names, as long as that router gives signs of life. One that
//! belongs to nobody goes to whoever writes its name first; routers with less to do try sooner. No clock of another
//! machine is believed: a router is silent when what it writes has not changed for long enough by our own.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use uuid::Uuid;

use super::record::{Record, State};

/// How long a record whose document is gone is left to its holder, and to news that may be under way.
const ORPHAN: Duration = Duration::from_secs(5);
/// Within this time routers take turns to claim, so that they do not all write at once.
const SPREAD: Duration = Duration::from_millis(400);
/// A router without room waits so much longer before it claims than an idle one.
const LOADED: Duration = Duration::from_millis(1_000);

/// One replication as this router sees it.
#[derive(Debug, Clone)]
pub(crate) struct Job<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its record.
    pub record: Option<&'a Record>,
    /// Whether somebody (still) wants it, with what revision of the document, and whether it can be run here.
    pub wanted: bool,
    /// The revision of the document that wants it.
    pub doc_rev: Option<&'a str>,
    /// How long the record, or if there is none the wish, has been seen as it is.
    pub unchanged: Duration,
    /// How long its holder has been silent.
    pub silent: Duration,
    /// Whether it runs here, and since when in milliseconds.
    pub running: Option<u64>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Write our name into its record and run it.
    Start,
    /// Stop it and leave the record alone: it is somebody else's, or is wanted otherwise now.
    Stop,
    /// Stop it and let another one have its room.
    Release,
    /// Stop it and remove its record: nobody wants it.
    Drop,
}

/// What this router is, and goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here {
    /// Its name.
    pub me: Uuid,
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// Replications it runs at most.
    pub jobs_max: usize,
    /// How long one runs at least before it makes room.
    pub turn: Duration,
    /// A router silent for so long has lost what it held.
    pub takeover: Duration,
}

/// Decides about all replications.
pub(crate) fn decide(here: &Here, jobs: &[Job<'_>]) -> BTreeMap<String, Step> {
    let mut steps = BTreeMap::new();
    let mut running = jobs.iter().filter(|job| job.running.is_some()).count();
    let mut ready: Vec<&Job<'_>> = Vec::new();
    for job in jobs {
        match here.about(job, running) {
            Some(Step::Start) => ready.push(job),
            Some(step) => {
                running -= usize::from(job.running.is_some());
                steps.insert(job.id.to_owned(), step);
            }
            None => {}
        }
    }
    // Whoever has waited longest comes first; what never ran has waited for ever.
    ready.sort_by_key(|job| (job.record.map_or(0, |record| record.since_ms), job.id));
    let room = here.jobs_max.saturating_sub(running);
    steps.extend(ready.iter().take(room).map(|job| (job.id.to_owned(), Step::Start)));
    let waiting = ready.len().saturating_sub(room);
    steps.extend(here.make_room(jobs, waiting, &steps).into_iter().map(|id| (id, Step::Release)));
    steps
}

impl Here {
    fn about(&self, job: &Job<'_>, running: usize) -> Option<Step> {
        let Some(record) = job.record else {
            return match (job.wanted, job.running) {
                (true, None) if self.is_turn(job.id, job.unchanged, running) => Some(Step::Start),
                (_, Some(_)) => Some(Step::Stop),
                _ => None,
            };
        };
        let changed = job.wanted && record.doc_rev.as_deref() != job.doc_rev;
        let rested = record.state != State::Crashing || record.retry_at_ms <= self.now_ms || changed;
        match record.holder {
            Some(holder) if holder == self.me => match (job.wanted, job.running) {
                (false, _) => Some(Step::Drop),
                (true, Some(_)) if changed => Some(Step::Stop),
                (true, Some(_)) => None,
                (true, None) => rested.then_some(Step::Start),
            },
            _ if job.running.is_some() => Some(Step::Stop),
            Some(_) if job.silent < self.takeover => None,
            Some(_) if job.wanted => {
                (rested && self.is_turn(job.id, job.silent - self.takeover, running)).then_some(Step::Start)
            }
            None if job.wanted => self.is_turn(job.id, job.unchanged, running).then_some(Step::Start),
            _ => (job.unchanged >= ORPHAN).then_some(Step::Drop),
        }
    }

    /// Whether it is this router's turn to claim something that has been free for so long.
    fn is_turn(&self, id: &str, free: Duration, running: usize) -> bool {
        let mut hasher = DefaultHasher::new();
        (id, self.me).hash(&mut hasher);
        let spread = SPREAD.mul_f64(f64::from(u16::try_from(hasher.finish() % 1_000).unwrap_or(0)) / 1_000.0);
        let load = LOADED.mul_f64((running as f64 / self.jobs_max.max(1) as f64).min(1.0));
        free >= spread + load
    }

    /// Those that have run longest, if their turn is over.
    fn make_room(&self, jobs: &[Job<'_>], waiting: usize, steps: &BTreeMap<String, Step>) -> Vec<String> {
        let turn_ms = u64::try_from(self.turn.as_millis()).unwrap_or(u64::MAX);
        let mut long: Vec<(u64, &str)> = jobs
            .iter()
            .filter(|job| !steps.contains_key(job.id))
            // What a request asked for is known here alone, and what ends by itself makes room by itself.
            .filter(|job| job.record.is_some_and(|record| record.continuous && record.doc.is_some()))
            .filter_map(|job| Some((job.running?, job.id)))
            .filter(|(since, _)| self.now_ms.saturating_sub(*since) >= turn_ms)
            .collect();
        long.sort_unstable();
        long.into_iter().take(waiting).map(|(_, id)| id.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replicator::record::tests::record;

    const ME: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);
    const LONG: Duration = Duration::from_secs(3600);
    const HERE: Here = Here {
        me: ME,
        now_ms: 1_000_000,
        jobs_max: 2,
        turn: Duration::from_secs(60),
        takeover: Duration::from_secs(10),
    };

    fn job<'a>(id: &'a str, record: Option<&'a Record>) -> Job<'a> {
        Job { id, record, wanted: true, doc_rev: None, unchanged: LONG, silent: Duration::ZERO, running: None }
    }

    fn step(job: Job<'_>) -> Option<Step> {
        decide(&HERE, &[job]).into_values().next()
    }

    #[test]
    fn a_replication_belongs_to_its_holder_until_that_is_silent() {
        assert_eq!(step(job("a", None)), Some(Step::Start));
        assert_eq!(step(Job { unchanged: Duration::ZERO, running: None, ..job("a", None) }), None, "not all at once");
        let theirs = record(Some("d"), Some(OTHER), State::Running);
        assert_eq!(step(job("a", Some(&theirs))), None);
        assert_eq!(step(Job { running: Some(5), ..job("a", Some(&theirs)) }), Some(Step::Stop));
        assert_eq!(step(Job { silent: LONG, ..job("a", Some(&theirs)) }), Some(Step::Start));
        assert_eq!(step(Job { silent: LONG, wanted: false, ..job("a", Some(&theirs)) }), Some(Step::Drop));
        let mine = record(Some("d"), Some(ME), State::Running);
        assert_eq!(step(job("a", Some(&mine))), Some(Step::Start), "after this process lost heart");
        assert_eq!(step(Job { running: Some(5), ..job("a", Some(&mine)) }), None);
        assert_eq!(step(Job { wanted: false, running: Some(5), ..job("a", Some(&mine)) }), Some(Step::Drop));
        let other_text = Job { doc_rev: Some("2-x"), running: Some(5), ..job("a", Some(&mine)) };
        assert_eq!(step(other_text), Some(Step::Stop), "the document has changed: it starts anew");
        assert_eq!(step(Job { running: Some(5), ..job("a", None) }), Some(Step::Stop), "it was cancelled elsewhere");
    }

    #[test]
    fn a_failing_one_waits_for_its_time_or_a_changed_document() {
        let mut failing = record(Some("d"), Some(ME), State::Crashing);
        failing.retry_at_ms = HERE.now_ms + 1;
        assert_eq!(step(job("a", Some(&failing))), None);
        assert_eq!(step(Job { doc_rev: Some("2-x"), ..job("a", Some(&failing)) }), Some(Step::Start));
        failing.holder = Some(OTHER);
        assert_eq!(step(Job { silent: LONG, ..job("a", Some(&failing)) }), None);
        failing.retry_at_ms = HERE.now_ms;
        assert_eq!(step(Job { silent: LONG, ..job("a", Some(&failing)) }), Some(Step::Start));
    }

    #[test]
    fn what_nobody_wants_is_dropped_when_the_news_must_have_arrived() {
        let free = record(Some("d"), None, State::Pending);
        let unwanted = Job { wanted: false, ..job("a", Some(&free)) };
        assert_eq!(step(Job { unchanged: ORPHAN / 2, ..unwanted.clone() }), None);
        assert_eq!(step(unwanted), Some(Step::Drop));
    }

    #[test]
    fn those_that_wait_get_the_room_of_those_whose_turn_is_over() {
        let mine = record(Some("d"), Some(ME), State::Running);
        let mut waiting = record(Some("d"), None, State::Pending);
        waiting.since_ms = 7;
        let run = |id, since| Job { running: Some(since), ..job(id, Some(&mine)) };
        let jobs = [run("a", 10), run("b", 5), job("c", Some(&waiting)), job("new", None)];
        let steps = decide(&HERE, &jobs);
        let released: Vec<_> = steps.iter().map(|(id, step)| (id.as_str(), step)).collect();
        assert_eq!(released, [("a", &Step::Release), ("b", &Step::Release)]);
        let fresh = HERE.now_ms - 1;
        assert_eq!(decide(&HERE, &[run("a", fresh), run("b", fresh), job("c", Some(&waiting))]), BTreeMap::new());
        let room = decide(&HERE, &[run("a", fresh), job("c", Some(&waiting)), job("new", None)]);
        assert_eq!(room, BTreeMap::from([("new".to_owned(), Step::Start)]), "what never ran comes first");
        let asked = Record { doc: None, ..mine.clone() };
        let once = |id| Job { running: Some(5), ..job(id, Some(&asked)) };
        assert_eq!(decide(&HERE, &[once("a"), once("b"), job("c", Some(&waiting))]), BTreeMap::new());
    }

    #[test]
    fn a_router_never_runs_more_than_it_may() {
        let free: Vec<Record> = (0..10).map(|_| record(Some("d"), None, State::Pending)).collect();
        let ids: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        let jobs: Vec<Job<'_>> = ids.iter().zip(&free).map(|(id, record)| job(id, Some(record))).collect();
        assert_eq!(decide(&HERE, &jobs).len(), HERE.jobs_max);
    }
}
