//! Merges the pages of several shards into one page with exact tokens.
//!
//! Pure. The order between shards means nothing, but it is fixed: by seq, then by shard. Descending pages rely on it:
//! the token of a row stands behind that row in this order, so that a feed resumed from the newest row goes on with
//! what came after it.

use common::change::{Change, ChangesPage};
use common::ids::{Seq, ShardId};

use super::token::Token;

/// One shard's part.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) shard: ShardId,
    pub(super) page: ChangesPage,
}

/// What comes out.
#[derive(Debug, Clone)]
pub(super) struct Merged {
    pub(super) rows: Vec<(Token, Change)>,
    /// Ascending: behind the last row. Descending: where the scan goes on, as exclusive upper ends.
    pub(super) position: Token,
    /// Rows not shown, as far as the shards counted them.
    pub(super) pending: u64,
    pub(super) more: bool,
}

/// Merges oldest first. Each part holds the rows behind its seq in `from`; rows behind `until` are left out.
pub(super) fn ascending(parts: Vec<Part>, from: &Token, until: Option<&Token>, limit: usize) -> Merged {
    let mut position = from.clone();
    let mut pending = 0;
    let mut more = false;
    let mut rows: Vec<(ShardId, Change)> = Vec::new();
    for Part { shard, page } in parts {
        let within = |row: &Change| until.is_none_or(|until| row.seq <= until.seq(shard));
        let before = rows.len();
        let sent = page.rows.len();
        rows.extend(page.rows.into_iter().filter(within).map(|row| (shard, row)));
        let left_out = sent - (rows.len() - before);
        more |= page.more && left_out == 0;
        pending += page.pending + left_out as u64;
    }
    rows.sort_by_key(|(shard, row)| (row.seq, *shard));
    if rows.len() > limit {
        pending += (rows.len() - limit) as u64;
        rows.truncate(limit);
        more = true;
    }
    let place = |(shard, row): (ShardId, Change)| {
        position.set(shard, row.seq);
        (position.clone(), row)
    };
    let rows = rows.into_iter().map(place).collect();
    Merged { rows, position, pending, more }
}

/// Merges newest first. Each part holds the rows below its seq in `from`. Stops before the first row that a part cut
/// short might still have something newer than.
pub(super) fn descending(parts: Vec<Part>, from: &Token, limit: usize) -> Merged {
    let ends: Vec<(ShardId, Seq)> = parts.iter().map(|part| (part.shard, part.page.last_seq)).collect();
    let mut position = from.clone();
    let mut pending = 0;
    let mut more = false;
    let mut floor: Option<(Seq, ShardId)> = None;
    let mut rows: Vec<(ShardId, Change)> = Vec::new();
    for Part { shard, page } in parts {
        pending += page.pending;
        if page.more {
            more = true;
            let lowest = page.rows.last().map_or(from.seq(shard), |row| row.seq);
            floor = floor.max(Some((lowest, shard)));
        }
        rows.extend(page.rows.into_iter().map(|row| (shard, row)));
    }
    let read = rows.len();
    rows.retain(|(shard, row)| floor.is_none_or(|floor| (row.seq, *shard) >= floor));
    rows.sort_by_key(|(shard, row)| std::cmp::Reverse((row.seq, *shard)));
    if rows.len() > limit {
        rows.truncate(limit);
        more = true;
    }
    pending += (read - rows.len()) as u64;
    let place = |(shard, row): (ShardId, Change)| {
        position.set(shard, row.seq);
        let mut token = Token::zero(from.origin, from.scope, from.map_version);
        for (other, end) in &ends {
            // What stands at or before this row in the order of seq and shard.
            let upto = if *other <= shard { row.seq } else { Seq(row.seq.0.saturating_sub(1)) };
            token.set(*other, upto.min(*end));
        }
        (token, row)
    };
    let rows = rows.into_iter().map(place).collect();
    Merged { rows, position, pending, more }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Scope;
    use common::ids::DocId;
    use proptest::prelude::*;

    fn change(shard: u32, seq: u64) -> Change {
        let id = DocId::parse(&format!("s{shard}-{seq}")).expect("valid");
        Change {
            seq: Seq(seq),
            id,
            leaves: Vec::new(),
            deleted: false,
            json: None,
            attachments: Vec::new(),
            matching: None,
        }
    }

    /// What a shard with changes at `seqs` answers.
    fn shard_page(shard: u32, seqs: &[u64], since: Seq, descending: bool, limit: usize) -> Part {
        let behind = |seq: &&u64| if descending { **seq < since.0 } else { **seq > since.0 };
        let mut wanted: Vec<u64> = seqs.iter().filter(behind).copied().collect();
        if descending {
            wanted.reverse();
        }
        let more = wanted.len() > limit;
        let pending = wanted.len().saturating_sub(limit) as u64;
        wanted.truncate(limit);
        let rows = wanted.into_iter().map(|seq| change(shard, seq)).collect();
        let last_seq = Seq(seqs.last().copied().unwrap_or(0));
        Part { shard: ShardId(shard), page: ChangesPage { rows, more, last_seq, pending, dropped: false } }
    }

    fn parts(shards: &[Vec<u64>], from: &Token, descending: bool, limit: usize) -> Vec<Part> {
        let part = |(n, seqs): (usize, &Vec<u64>)| {
            let shard = n as u32;
            shard_page(shard, seqs, from.seq(ShardId(shard)), descending, limit)
        };
        shards.iter().enumerate().map(part).collect()
    }

    fn zero() -> Token {
        Token::zero(common::ids::DbUid::USERS.into(), Scope::Database, 1)
    }

    fn upper(shards: &[Vec<u64>]) -> Token {
        let mut token = zero();
        for n in 0..shards.len() {
            token.set(ShardId(n as u32), Seq(u64::MAX));
        }
        token
    }

    fn ids(rows: &[(Token, Change)]) -> Vec<String> {
        rows.iter().map(|(_, row)| row.id.to_string()).collect()
    }

    /// All rows in the one order.
    fn sorted(shards: &[Vec<u64>]) -> Vec<String> {
        let mut all: Vec<(u64, usize)> =
            shards.iter().enumerate().flat_map(|(n, seqs)| seqs.iter().map(move |seq| (*seq, n))).collect();
        all.sort_unstable();
        all.into_iter().map(|(seq, n)| format!("s{n}-{seq}")).collect()
    }

    fn shards() -> impl Strategy<Value = Vec<Vec<u64>>> {
        let seqs = proptest::collection::btree_set(1u64..60, 0..12);
        proptest::collection::vec(seqs.prop_map(|set| set.into_iter().collect()), 1..5)
    }

    #[test]
    fn rows_alternate_and_each_token_resumes_behind_its_row() {
        let shards = vec![vec![1, 4], vec![2]];
        let merged = ascending(parts(&shards, &zero(), false, 10), &zero(), None, 10);
        let shown: Vec<String> = merged
            .rows
            .iter()
            .map(|(t, row)| format!("{} {},{}", row.id, t.seq(ShardId(0)), t.seq(ShardId(1))))
            .collect();
        assert_eq!(shown, ["s0-1 1,0", "s1-2 1,2", "s0-4 4,2"]);
        assert!(!merged.more);
        assert_eq!(merged.pending, 0);
    }

    #[test]
    fn what_lies_behind_the_end_of_the_first_page_is_left_for_later() {
        let shards = vec![vec![1, 4], vec![2, 9]];
        let mut until = zero();
        until.set(ShardId(0), Seq(4));
        until.set(ShardId(1), Seq(8));
        let merged = ascending(parts(&shards, &zero(), false, 10), &zero(), Some(&until), 10);
        assert_eq!(ids(&merged.rows), ["s0-1", "s1-2", "s0-4"]);
        assert_eq!((merged.pending, merged.more), (1, false));
    }

    proptest! {
        #[test]
        fn merging_is_sorting(shards in shards()) {
            let zero = zero();
            let merged = ascending(parts(&shards, &zero, false, 1000), &zero, None, 1000);
            prop_assert_eq!(ids(&merged.rows), sorted(&shards));
            let from = upper(&shards);
            let merged = descending(parts(&shards, &from, true, 1000), &from, 1000);
            let mut wanted = sorted(&shards);
            wanted.reverse();
            prop_assert_eq!(ids(&merged.rows), wanted);
        }

        /// Pages of any size, from any row's token on, show every row once.
        #[test]
        fn a_feed_resumed_from_any_token_misses_and_invents_nothing(
            shards in shards(), page in 1usize..5, limit in 1usize..7,
        ) {
            let mut position = zero();
            let mut seen = Vec::new();
            loop {
                let merged = ascending(parts(&shards, &position, false, page), &position, None, limit);
                for (token, row) in &merged.rows {
                    seen.push(row.id.to_string());
                    let rest = ascending(parts(&shards, token, false, 1000), token, None, 1000);
                    let mut whole = seen.clone();
                    whole.extend(ids(&rest.rows));
                    whole.sort();
                    let mut wanted = sorted(&shards);
                    wanted.sort();
                    prop_assert_eq!(whole, wanted);
                }
                position = merged.position;
                if !merged.more {
                    break;
                }
            }
            seen.sort();
            let mut wanted = sorted(&shards);
            wanted.sort();
            prop_assert_eq!(seen, wanted);
        }

        /// Newest first: pages of any size give the sorted whole, and a row's token resumes with exactly the rows
        /// shown before it.
        #[test]
        fn a_descending_feed_is_sorted_and_its_tokens_resume_forwards(
            shards in shards(), page in 1usize..5, limit in 1usize..7,
        ) {
            let mut position = upper(&shards);
            let mut seen: Vec<String> = Vec::new();
            let mut wanted = sorted(&shards);
            wanted.reverse();
            loop {
                let merged = descending(parts(&shards, &position, true, page), &position, limit);
                for (token, row) in &merged.rows {
                    let rest = ascending(parts(&shards, token, false, 1000), token, None, 1000);
                    let mut newer = ids(&rest.rows);
                    newer.reverse();
                    prop_assert_eq!(&newer, &seen);
                    seen.push(row.id.to_string());
                }
                position = merged.position;
                if !merged.more {
                    break;
                }
            }
            prop_assert_eq!(seen, wanted);
        }
    }
}
