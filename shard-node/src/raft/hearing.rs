//! What a follower heard of its primary: when, and how old what it has applied may be.
//!
//! Pure: `now` comes in. The age is a bound that holds whatever happens elsewhere: the primary says how long ago a
//! majority last answered it, and until then nobody else can have committed anything.

use std::time::Duration;

use tokio::time::Instant;

use crate::raft::types::LogId;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hearing {
    /// When the primary was last heard.
    at: Option<Instant>,
    /// The last index the primary said was committed.
    commit: Option<LogId>,
    /// A point in the log, and the time at which it was all that was committed anywhere.
    goal: Option<(Option<LogId>, Instant)>,
    /// What is applied has everything that was committed at this time.
    fresh_at: Option<Instant>,
}

impl Hearing {
    /// The primary was heard at `now`. It had committed up to `commit`, and a majority had answered it at `quorum_age`
    /// before.
    pub(crate) fn heard(&mut self, now: Instant, commit: Option<LogId>, quorum_age: Duration, applied: Option<LogId>) {
        self.at = Some(now);
        self.commit = self.commit.max(commit);
        self.reach(applied);
        if self.goal.is_none() {
            self.goal = now.checked_sub(quorum_age).map(|then| (commit, then));
            self.reach(applied);
        }
    }

    /// A primary was heard without saying what it had committed.
    pub(crate) fn alive(&mut self, now: Instant) {
        self.at = Some(now);
    }

    fn reach(&mut self, applied: Option<LogId>) {
        if let Some((goal, then)) = self.goal
            && applied >= goal
        {
            self.fresh_at = Some(then);
            self.goal = None;
        }
    }

    /// How long ago the primary was heard.
    pub(crate) fn silence(&self, now: Instant) -> Option<Duration> {
        self.at.map(|at| now.saturating_duration_since(at))
    }

    /// The last index known to be committed.
    pub(crate) fn commit(&self) -> Option<LogId> {
        self.commit
    }

    /// How long what the primary said was committed is not applied here; zero when all of it is.
    pub(crate) fn behind(&mut self, now: Instant, applied: Option<LogId>) -> Duration {
        self.reach(applied);
        self.goal.map_or(Duration::ZERO, |(_, then)| now.saturating_duration_since(then))
    }

    /// How old what is applied may be; `None` if nothing is known.
    pub(crate) fn age(&mut self, now: Instant, applied: Option<LogId>) -> Option<Duration> {
        self.reach(applied);
        self.fresh_at.map(|then| now.saturating_duration_since(then))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::log_id;
    use crate::wal;

    fn id(index: u64) -> Option<LogId> {
        Some(log_id(wal::LogId { term: 1, leader: 1, index }))
    }

    #[test]
    fn age_counts_from_the_quorum_of_what_is_applied() {
        let start = Instant::now() + Duration::from_secs(10);
        let at = |ms| start + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let mut hearing = Hearing::default();
        assert_eq!(hearing.age(at(0), id(9)), None);
        hearing.heard(at(0), id(5), ms(40), id(5));
        assert_eq!(hearing.age(at(10), id(5)), Some(ms(50)));
        assert_eq!(hearing.behind(at(10), id(5)), ms(0));
        hearing.heard(at(50), id(8), ms(0), id(6));
        hearing.heard(at(100), id(9), ms(0), id(7));
        assert_eq!(hearing.age(at(120), id(7)), Some(ms(160)), "5 was all there was 40 ms before the first message");
        assert_eq!(hearing.behind(at(120), id(7)), ms(70));
        assert_eq!(hearing.age(at(130), id(8)), Some(ms(80)));
        assert_eq!(hearing.behind(at(130), id(8)), ms(0), "until the next message nothing says that there is a 9");
        assert_eq!(hearing.silence(at(130)), Some(ms(30)));
        assert_eq!(hearing.commit(), id(9));
    }
}
