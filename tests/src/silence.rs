//! How long a shard's writes were silent: pure arithmetic over the times of acknowledgements.

use std::time::Duration;

/// The longest time without an acknowledgement that began before `kill + began_within` and ended after the kill.
///
/// Not simply the first acknowledgement after the kill: answers already on their way arrive a moment after it, and
/// that is not what a client waits for. `acks` are times since any common start, sorted. `None` if no acknowledgement
/// came before or none after.
pub fn silence(acks: &[Duration], kill: Duration, began_within: Duration) -> Option<Duration> {
    let gaps = acks.windows(2).filter(|pair| pair[1] > kill && pair[0] < kill + began_within);
    gaps.map(|pair| pair[1] - pair[0]).max()
}

/// The longest time between `from` and `to` in which nothing was acknowledged. A silence that began before `from`
/// counts as a whole, and one that lasts counts up to `to`. `acks` as for [`silence`].
pub fn longest(acks: &[Duration], from: Duration, to: Duration) -> Duration {
    let before = acks.iter().rev().find(|at| **at <= from).copied().unwrap_or(from);
    let within = acks.iter().filter(|at| **at > from && **at < to).copied();
    let mut last = before;
    let mut longest = Duration::ZERO;
    for at in within.chain([to]) {
        longest = longest.max(at.saturating_sub(last));
        last = at;
    }
    longest
}

/// Percentiles of a few durations, by nearest rank.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(times: &[u64]) -> Vec<Duration> {
        times.iter().copied().map(Duration::from_millis).collect()
    }

    #[test]
    fn answers_on_their_way_do_not_shorten_the_silence() {
        let acks = ms(&[10, 20, 101, 640, 650, 2_000]);
        let found = silence(&acks, Duration::from_millis(100), Duration::from_millis(500));
        assert_eq!(found, Some(Duration::from_millis(539)));
        assert_eq!(silence(&acks[..2], Duration::from_millis(100), Duration::from_millis(500)), None);
    }

    #[test]
    fn the_longest_silence_begins_with_the_ack_before_and_may_last_to_the_end() {
        let acks = ms(&[10, 90, 300, 310, 500]);
        let longest = |from, to| longest(&acks, Duration::from_millis(from), Duration::from_millis(to)).as_millis();
        assert_eq!(longest(100, 600), 210);
        assert_eq!(longest(305, 2_000), 1_500);
        assert_eq!(longest(0, 50), 40);
        assert_eq!(super::longest(&[], Duration::ZERO, Duration::from_millis(7)).as_millis(), 7);
    }

    #[test]
    fn percentiles_take_the_nearest_rank() {
        let times = ms(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!([50, 90, 99].map(|p| percentile(&times, p).as_millis()), [5, 9, 10]);
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }
}
