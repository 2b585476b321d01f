//! Merges the shards' parts of a view by their places. No waiting: it says which shards must be asked on.

use std::cmp::Ordering;
use std::collections::VecDeque;

use bytes::Bytes;
use common::ids::ShardId;
use common::view::{ViewGroup, ViewRow};

/// Something with a place: the number of its range, and bytes that sort.
pub(super) trait Placed {
    fn at(&self) -> (u32, &Bytes);
}

impl Placed for ViewRow {
    fn at(&self) -> (u32, &Bytes) {
        (self.span, &self.place)
    }
}

impl Placed for ViewGroup {
    fn at(&self) -> (u32, &Bytes) {
        (self.span, &self.place)
    }
}

/// The parts of a view, one a shard.
pub(super) struct Merge<T> {
    descending: bool,
    parts: Vec<Part<T>>,
}

struct Part<T> {
    shard: ShardId,
    rows: VecDeque<T>,
    /// Where to ask on, if the part goes on.
    resume: Option<(u32, Bytes)>,
}

impl<T: Placed> Merge<T> {
    pub(super) fn new(shards: &[ShardId], descending: bool) -> Self {
        let part = |shard: &ShardId| Part { shard: *shard, rows: VecDeque::new(), resume: None };
        Self { descending, parts: shards.iter().map(part).collect() }
    }

    /// Adds what a shard has next.
    pub(super) fn add(&mut self, shard: ShardId, rows: Vec<T>, resume: Option<(u32, Bytes)>) {
        let Some(part) = self.parts.iter_mut().find(|part| part.shard == shard) else { return };
        part.rows.extend(rows);
        part.resume = resume;
    }

    /// The shards whose rows have run out before their end, and where to ask on.
    pub(super) fn starved(&self) -> Vec<(ShardId, (u32, Bytes))> {
        let dry = self.parts.iter().filter(|part| part.rows.is_empty());
        dry.filter_map(|part| Some((part.shard, part.resume.clone()?))).collect()
    }

    /// The next in order. Only right while nothing is starved.
    pub(super) fn pop(&mut self) -> Option<T> {
        let heads = self.parts.iter().enumerate().filter_map(|(at, part)| Some((at, part.rows.front()?.at())));
        let (at, _) = heads.min_by(|(_, a), (_, b)| self.order(*a, *b))?;
        self.parts[at].rows.pop_front()
    }

    /// The next, if it stands at this very place.
    pub(super) fn pop_equal(&mut self, span: u32, place: &Bytes) -> Option<T> {
        let same = |part: &&mut Part<T>| part.rows.front().is_some_and(|row| row.at() == (span, place));
        self.parts.iter_mut().find(same)?.rows.pop_front()
    }

    fn order(&self, a: (u32, &Bytes), b: (u32, &Bytes)) -> Ordering {
        let places = a.1.cmp(b.1);
        a.0.cmp(&b.0).then(if self.descending { places.reverse() } else { places })
    }
}

#[cfg(test)]
mod tests {
    use common::view::Partial;

    use super::*;

    fn group(span: u32, place: &'static str) -> ViewGroup {
        ViewGroup { span, place: place.into(), key: "null".into(), partial: Partial::Count(1) }
    }

    fn drain(merge: &mut Merge<ViewGroup>) -> Vec<(u32, String)> {
        let row = |row: ViewGroup| (row.span, String::from_utf8_lossy(&row.place).into_owned());
        std::iter::from_fn(|| merge.pop()).map(row).collect()
    }

    #[test]
    fn parts_come_out_by_range_and_place_both_ways() {
        let shards = [ShardId(0), ShardId(1)];
        let mut merge = Merge::new(&shards, false);
        merge.add(ShardId(0), vec![group(0, "a"), group(0, "c"), group(1, "a")], None);
        merge.add(ShardId(1), vec![group(0, "b"), group(1, "0")], None);
        let wanted = [(0, "a"), (0, "b"), (0, "c"), (1, "0"), (1, "a")].map(|(span, place)| (span, place.to_owned()));
        assert_eq!(drain(&mut merge), wanted);
        let mut merge = Merge::new(&shards, true);
        merge.add(ShardId(0), vec![group(0, "c"), group(0, "a")], None);
        merge.add(ShardId(1), vec![group(0, "b"), group(1, "z")], None);
        let wanted = [(0, "c"), (0, "b"), (0, "a"), (1, "z")].map(|(span, place)| (span, place.to_owned()));
        assert_eq!(drain(&mut merge), wanted);
    }

    #[test]
    fn a_part_that_ran_dry_is_asked_on_from_where_it_stopped() {
        let mut merge = Merge::new(&[ShardId(0), ShardId(1)], false);
        merge.add(ShardId(0), vec![group(0, "a")], Some((0, "a".into())));
        merge.add(ShardId(1), vec![group(0, "a"), group(0, "c")], None);
        assert!(merge.starved().is_empty());
        assert_eq!(merge.pop().map(|row| row.place), Some("a".into()));
        assert_eq!(merge.starved(), [(ShardId(0), (0, "a".into()))]);
        merge.add(ShardId(0), Vec::new(), None);
        assert_eq!(merge.pop_equal(0, &"a".into()).map(|row| row.place), Some("a".into()));
        assert_eq!(merge.pop_equal(0, &"a".into()), None);
        assert_eq!(drain(&mut merge), [(0, "c".to_owned())]);
    }
}
