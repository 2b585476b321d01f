//! Merges the shards' sorted parts into one sorted stream. No waiting: it says which parts must be read on.

use std::collections::VecDeque;

use common::ids::ShardId;
use common::query::RangeRow;

/// The parts of a listing, one a shard.
pub(super) struct Merge {
    descending: bool,
    parts: Vec<Part>,
}

struct Part {
    shard: ShardId,
    rows: VecDeque<RangeRow>,
    /// The last id read, if the part goes on behind it.
    resume: Option<Box<str>>,
}

impl Merge {
    pub(super) fn new(descending: bool) -> Self {
        Self { descending, parts: Vec::new() }
    }

    /// Adds a page of a shard; `more` says whether its part goes on behind it.
    pub(super) fn add(&mut self, shard: ShardId, rows: Vec<RangeRow>, more: bool) {
        // A page that says there is more and brings nothing to go on from would be asked for again for ever.
        let resume = rows.last().filter(|_| more).map(|row| row.id.as_str().into());
        match self.parts.iter_mut().find(|part| part.shard == shard) {
            Some(part) => {
                part.rows.extend(rows);
                part.resume = resume;
            }
            None => self.parts.push(Part { shard, rows: rows.into(), resume }),
        }
    }

    /// The shards whose rows have run out before their end, and where to read on: until they are added to, the
    /// next row is not known.
    pub(super) fn starved(&self) -> Vec<(ShardId, Box<str>)> {
        let dry = self.parts.iter().filter(|part| part.rows.is_empty());
        dry.filter_map(|part| Some((part.shard, part.resume.clone()?))).collect()
    }

    /// The next row in order. Only right while nothing is starved.
    pub(super) fn pop(&mut self) -> Option<RangeRow> {
        let heads = self.parts.iter().enumerate().filter_map(|(at, part)| Some((at, &part.rows.front()?.id)));
        let next = if self.descending {
            heads.max_by(|(_, a), (_, b)| a.cmp(b))
        } else {
            heads.min_by(|(_, a), (_, b)| a.cmp(b))
        };
        let (at, _) = next?;
        self.parts[at].rows.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use common::ids::DocId;
    use common::rev::Rev;

    use super::*;

    fn rows(ids: &[&str]) -> Vec<RangeRow> {
        let row = |id: &&str| RangeRow {
            id: DocId::parse(id).expect("valid"),
            rev: Rev::parse("1-a").expect("valid"),
            json: None,
            attachments: Vec::new(),
            conflicts: Vec::new(),
        };
        ids.iter().map(row).collect()
    }

    fn drain(merge: &mut Merge) -> Vec<String> {
        std::iter::from_fn(|| merge.pop()).map(|row| row.id.as_str().to_owned()).collect()
    }

    #[test]
    fn parts_come_out_in_byte_order_both_ways() {
        let mut merge = Merge::new(false);
        merge.add(ShardId(0), rows(&["Z", "a", "ä"]), false);
        merge.add(ShardId(1), rows(&["b"]), false);
        merge.add(ShardId(2), rows(&[]), false);
        assert!(merge.starved().is_empty());
        assert_eq!(drain(&mut merge), ["Z", "a", "b", "ä"]);
        let mut merge = Merge::new(true);
        merge.add(ShardId(0), rows(&["c", "a"]), false);
        merge.add(ShardId(1), rows(&["b"]), false);
        assert_eq!(drain(&mut merge), ["c", "b", "a"]);
    }

    #[test]
    fn a_part_that_ran_dry_is_read_on_before_anything_goes_out() {
        let mut merge = Merge::new(false);
        merge.add(ShardId(0), rows(&["a"]), true);
        merge.add(ShardId(1), rows(&["c"]), false);
        assert_eq!(merge.pop().map(|row| row.id.to_string()), Some("a".to_owned()));
        assert_eq!(merge.starved(), [(ShardId(0), "a".into())]);
        merge.add(ShardId(0), rows(&["b"]), false);
        assert!(merge.starved().is_empty());
        assert_eq!(drain(&mut merge), ["b", "c"]);
    }
}
