//! Where the log was when: tells which entry is older than some time. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use common::ids::Index;

/// Between two marks. Larger lets what is old live longer.
const INTERVAL: Duration = Duration::from_secs(60);

/// Marks of one replica's log.
#[derive(Debug, Default)]
pub(crate) struct Marks(VecDeque<(Duration, Index)>);

impl Marks {
    /// Notes where the log is now. The entry that all of the log before it is older than `age`, if there is one.
    pub(crate) fn note(&mut self, now: Duration, applied: Index, age: Duration) -> Option<Index> {
        if self.0.back().is_none_or(|(at, _)| now >= *at + INTERVAL) {
            self.0.push_back((now, applied));
        }
        // The newest mark that is old enough stays in front.
        while self.0.get(1).is_some_and(|(at, _)| now >= *at + age) {
            self.0.pop_front();
        }
        self.0.front().filter(|(at, _)| now >= *at + age).map(|(_, index)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_is_known_to_the_minute() {
        let mut marks = Marks::default();
        let minute = |n: u64| Duration::from_secs(60 * n);
        let hour = minute(60);
        for n in 0..60 {
            assert_eq!(marks.note(minute(n), Index(10 * n), hour), None, "nothing is an hour old");
        }
        assert_eq!(marks.note(minute(60), Index(600), hour), Some(Index(0)));
        assert_eq!(marks.note(minute(60) + Duration::from_secs(30), Index(605), hour), Some(Index(0)));
        assert_eq!(marks.note(minute(61), Index(610), hour), Some(Index(10)));
        assert_eq!(marks.note(minute(500), Index(9000), hour), Some(Index(610)));
        assert!(marks.0.len() <= 2, "old marks are dropped");
    }
}
