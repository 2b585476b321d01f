//! What is counted on the way of requests: atomic additions, no lock, no allocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Buckets, Kind, Metric};

/// Only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many of something there are now. Clones count the same.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// One more until the answer is dropped.
    pub fn hold(&self) -> Held {
        self.0.fetch_add(1, Ordering::Relaxed);
        Held(self.clone())
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of what a [`Gauge`] counts.
#[derive(Debug)]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many were how large.
#[derive(Debug)]
pub struct Histogram {
    buckets: Buckets,
    /// One for each bound and one for what is larger than all.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment: the sum, and how many each bucket has, with its bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub(super) sum: f64,
    pub(super) count: u64,
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Nothing seen yet. Panics if `metric` is not a histogram: a slip in the code that the first test meets.
    pub fn of(metric: &'static Metric) -> Self {
        let Kind::Histogram(buckets) = metric.kind else { panic!("{} is not a histogram", metric.name) };
        let counts = (0..=buckets.bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { buckets, counts, sum: AtomicU64::new(0) }
    }

    /// Saw one of this size.
    pub fn see(&self, size: u64) {
        let at = self.buckets.bounds.partition_point(|bound| *bound < size);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(size, Ordering::Relaxed);
    }

    /// Saw one that took so long; for a histogram of seconds.
    pub fn took(&self, time: Duration) {
        self.see(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// As it is now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let Buckets { bounds, scale } = self.buckets;
        let bounds = bounds.iter().map(|bound| *bound as f64 / scale).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        Snapshot { sum: self.sum.load(Ordering::Relaxed) as f64 / scale, count, buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{BATCH_REQUESTS, HTTP_DURATION};

    #[test]
    fn sizes_fall_into_the_bucket_whose_bound_they_do_not_pass() {
        let histogram = Histogram::of(&BATCH_REQUESTS);
        for size in [1, 2, 3, 4, 5000] {
            histogram.see(size);
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[..4], [(1.0, 1), (2.0, 1), (4.0, 2), (8.0, 0)]);
        assert_eq!(snapshot.buckets.last(), Some(&(f64::INFINITY, 1)));
        assert_eq!((snapshot.sum, snapshot.count), (5010.0, 5));
    }

    #[test]
    fn times_are_counted_in_nanoseconds_and_shown_in_seconds() {
        let histogram = Histogram::of(&HTTP_DURATION);
        histogram.took(Duration::from_millis(500));
        assert_eq!(histogram.snapshot().sum, 0.5);
        assert_eq!(histogram.snapshot().buckets[0].0, 0.0001);
    }

    #[test]
    fn what_is_held_counts_until_it_is_dropped() {
        let gauge = Gauge::default();
        let (one, two) = (gauge.hold(), gauge.clone().hold());
        assert_eq!(gauge.get(), 2);
        drop((one, two));
        assert_eq!(gauge.get(), 0);
    }
}
