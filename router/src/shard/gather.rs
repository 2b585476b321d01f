//! Decides how long a batch is held open for those who were just answered.
//!
//! Clients that ask again as soon as they are answered otherwise fall into two groups, one under way and one waiting,
//! and every batch has half the size it could have. So after a batch came back, the next one waits for as many as
//! usually come back at once, a fraction of the time that the batch took at most: what that costs one request, the
//! larger batches give back. A request that is alone never waits. No clock here: `batch` says what time it is.

use std::time::Duration;

use tokio::time::Instant;

/// The part of a batch's time that the next one is held open at most. Longer delays those who wait when the others do
/// not come; shorter leaves behind who was answered last.
const PART: u32 = 2;
/// Longest time. A shard whose batches take longer has other troubles than their number.
const OPEN_MAX: Duration = Duration::from_millis(5);
/// How much of what is known of the past a new batch replaces.
const LEARNING: f32 = 0.25;

/// The clients of one queue, as their habits show.
#[derive(Debug)]
pub(super) struct Gather {
    /// The share of those answered who ask again while they are waited for, as learned.
    share: f32,
    /// How many the last batch answered.
    answered: usize,
    /// How many came since.
    came: usize,
    /// How many the next batch waits for.
    wanted: usize,
    /// How long it does.
    until: Option<Instant>,
}

impl Gather {
    /// Nothing is known yet: it is tried once whether they come.
    pub(super) fn new() -> Self {
        Self { share: 1.0, answered: 0, came: 0, wanted: 0, until: None }
    }

    /// A batch that took `took` was answered at `now`, `answered` requests; `waiting` are there already.
    pub(super) fn answered(&mut self, now: Instant, took: Duration, answered: usize, waiting: usize) {
        if self.answered > 0 {
            let share = self.came.min(self.answered) as f32 / self.answered as f32;
            self.share += LEARNING * (share - self.share);
        }
        (self.answered, self.came) = (answered, 0);
        // Those who come back, rounded to the nearest: one who is late now and then is not waited for.
        self.wanted = waiting + (self.share * answered as f32).round() as usize;
        self.until = (answered + waiting > 1).then(|| now + (took / PART).min(OPEN_MAX));
    }

    /// A request came at `now`.
    pub(super) fn came(&mut self, now: Instant) {
        if self.until.is_some_and(|until| now < until) {
            self.came += 1;
        }
    }

    /// Until when a batch of those `waiting` is held open; `None` if it may leave.
    pub(super) fn holds(&self, now: Instant, waiting: usize) -> Option<Instant> {
        self.until.filter(|until| now < *until && waiting < self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(4);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn alone_a_request_is_never_held() {
        let (mut gather, now) = (Gather::new(), Instant::now());
        assert_eq!(gather.holds(now, 1), None);
        for _ in 0..10 {
            gather.answered(now, TOOK, 1, 0);
            gather.came(now);
            assert_eq!(gather.holds(now, 1), None);
        }
    }

    #[test]
    fn those_who_were_answered_are_waited_for_together_and_no_longer_than_a_part_of_the_time() {
        let (mut gather, now) = (Gather::new(), Instant::now());
        gather.answered(now, TOOK, 3, 2);
        let until = now + TOOK / PART;
        for waiting in 2..5 {
            assert_eq!(gather.holds(now, waiting), Some(until));
            gather.came(now);
        }
        assert_eq!(gather.holds(now, 5), None, "all are there");
        assert_eq!(gather.holds(until, 2), None, "long enough");
        gather.answered(now, ms(1000), 3, 0);
        assert_eq!(gather.holds(now, 1), Some(now + OPEN_MAX));
    }

    #[test]
    fn who_does_not_come_back_is_soon_not_waited_for_and_is_again_once_they_do() {
        let (mut gather, mut now) = (Gather::new(), Instant::now());
        let mut held = 0;
        for _ in 0..20 {
            gather.answered(now, TOOK, 8, 1);
            held += usize::from(gather.holds(now, 1).is_some());
            now += TOOK;
            (0..8).for_each(|_| gather.came(now));
        }
        assert!((1..15).contains(&held), "{held}");
        assert_eq!(gather.holds(now, 1), None);
        for _ in 0..20 {
            gather.answered(now, TOOK, 8, 0);
            (0..8).for_each(|_| gather.came(now));
        }
        assert!(gather.holds(now, 7).is_some());
    }
}
