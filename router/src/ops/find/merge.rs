//! Merges what the shards find, each in order, into one order. No waiting: it says which shards must be asked on.

use std::collections::VecDeque;

use common::ids::ShardId;
use common::query::{FindPage, FoundRow, Place};

/// What the shards found so far.
pub(super) struct Merge {
    descending: bool,
    parts: Vec<Part>,
}

struct Part {
    shard: ShardId,
    rows: VecDeque<FoundRow>,
    next: Next,
}

/// What is to be asked of a shard when its rows have run out.
enum Next {
    /// To go on behind this place, or to begin.
    Behind(Option<Place>),
    /// Nothing: it came to its end.
    End,
}

impl Merge {
    /// Nothing is found yet: all `shards` are to be asked for what stands behind `after`.
    pub(super) fn new(shards: Vec<ShardId>, after: Option<&Place>, descending: bool) -> Self {
        let part = |shard| Part { shard, rows: VecDeque::new(), next: Next::Behind(after.cloned()) };
        Self { descending, parts: shards.into_iter().map(part).collect() }
    }

    /// Adds what a shard found next.
    pub(super) fn add(&mut self, shard: ShardId, page: FindPage) {
        let Some(part) = self.parts.iter_mut().find(|part| part.shard == shard) else { return };
        part.rows.extend(page.rows);
        part.next = page.resume.map_or(Next::End, |place| Next::Behind(Some(place)));
    }

    /// The shards to be asked, and for what: until they are added to, the next row is not known.
    pub(super) fn starved(&self) -> Vec<(ShardId, Option<Place>)> {
        let starved = |part: &Part| match &part.next {
            Next::Behind(place) if part.rows.is_empty() => Some((part.shard, place.clone())),
            _ => None,
        };
        self.parts.iter().filter_map(starved).collect()
    }

    /// The next row in order. Only right while nothing is starved.
    pub(super) fn pop(&mut self) -> Option<FoundRow> {
        let heads = self.parts.iter().enumerate().filter_map(|(at, part)| Some((at, &part.rows.front()?.place)));
        let (at, _) = heads.min_by(|(_, a), (_, b)| a.meets(b, self.descending))?;
        self.parts[at].rows.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::ids::DocId;
    use common::rev::Rev;

    use super::*;

    fn place((key, id): &(&'static str, &str)) -> Place {
        Place { key: Bytes::from_static(key.as_bytes()), id: DocId::parse(id).expect("valid") }
    }

    fn page(places: &[(&'static str, &str)], more: bool) -> FindPage {
        let rev = Rev::parse("1-a").expect("valid");
        let json = Bytes::from_static(b"{}");
        let row = |at| FoundRow {
            place: place(at),
            rev: rev.clone(),
            json: json.clone(),
            conflicts: Vec::new(),
            attachments: Vec::new(),
        };
        let resume = places.last().filter(|_| more).map(place);
        FindPage { rows: places.iter().map(row).collect(), resume, keys_examined: 0, docs_examined: 0 }
    }

    fn drain(merge: &mut Merge) -> Vec<String> {
        std::iter::from_fn(|| merge.pop()).map(|row| row.place.id.to_string()).collect()
    }

    #[test]
    fn rows_come_out_by_key_and_id_both_ways() {
        for (descending, order) in [(false, ["a", "z", "c", "b"]), (true, ["b", "c", "z", "a"])] {
            let mut merge = Merge::new(vec![ShardId(0), ShardId(1), ShardId(2)], None, descending);
            let mut first = [("1", "z"), ("2", "b")];
            let mut second = [("1", "a"), ("1zz", "c")];
            if descending {
                first.reverse();
                second.reverse();
            }
            merge.add(ShardId(0), page(&first, false));
            merge.add(ShardId(1), page(&second, false));
            assert_eq!(merge.starved(), [(ShardId(2), None)]);
            merge.add(ShardId(2), page(&[], false));
            assert!(merge.starved().is_empty());
            assert_eq!(drain(&mut merge), order);
        }
    }

    #[test]
    fn a_shard_is_asked_on_from_where_it_stopped() {
        let start = place(&("0", "x"));
        let mut merge = Merge::new(vec![ShardId(0), ShardId(1)], Some(&start), false);
        assert_eq!(merge.starved(), [(ShardId(0), Some(start.clone())), (ShardId(1), Some(start))]);
        merge.add(ShardId(0), page(&[("1", "a")], true));
        merge.add(ShardId(1), page(&[("3", "c")], false));
        assert_eq!(merge.pop().map(|row| row.place.id.to_string()), Some("a".to_owned()));
        assert_eq!(merge.starved(), [(ShardId(0), Some(place(&("1", "a"))))]);
        let nothing_yet = FindPage { resume: Some(place(&("2", "b"))), ..page(&[], false) };
        merge.add(ShardId(0), nothing_yet);
        assert_eq!(merge.starved(), [(ShardId(0), Some(place(&("2", "b"))))]);
        merge.add(ShardId(0), page(&[], false));
        assert_eq!(drain(&mut merge), ["c"]);
    }
}
