//! `status`: one row a replica.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use common::ids::ShardId;

use super::Verdict;
use super::client::Router;
use super::error::Error;
use super::output::{Output, bytes};
use super::overview::{Overview, Replica};

/// Prints the cluster once, or again and again; bad if a shard has no primary.
pub(super) async fn status(
    router: &Router,
    output: &Output,
    shard: Option<ShardId>,
    watch: Option<Duration>,
) -> Result<Verdict, Error> {
    let Some(pause) = watch else {
        return show(&router.overview().await?, output, shard);
    };
    loop {
        match router.overview().await {
            Ok(overview) => {
                output.redraw()?;
                show(&overview, output, shard)?;
            }
            // A router that is restarted is what one may be watching.
            Err(error @ Error::Unreachable { .. }) => eprintln!("{error}"),
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause).await;
    }
}

fn show(overview: &Overview, output: &Output, shard: Option<ShardId>) -> Result<Verdict, Error> {
    let shards = overview.shards();
    if let Some(asked) = shard.filter(|asked| !shards.contains(asked)) {
        return Err(Error::Usage(format!("there is no shard {asked}; there are {}", listed(&shards))));
    }
    let wanted = |of: &ShardId| shard.is_none_or(|shard| shard == *of);
    let rows: Vec<Replica> = overview.rows().into_iter().filter(|row| wanted(&row.shard)).collect();
    output.tell(&rows, || table(&rows))?;
    let orphans: Vec<ShardId> = overview.orphans().into_iter().filter(wanted).collect();
    for orphan in &orphans {
        eprintln!("shard {orphan} has no primary: {}", overview.others_in_words(*orphan, None));
    }
    Ok(if orphans.is_empty() { Verdict::Good } else { Verdict::Bad })
}

/// Numbers with commas between.
pub(super) fn listed(shards: &[ShardId]) -> String {
    shards.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The rows for people.
fn table(rows: &[Replica]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["node", "shard", "role", "term", "last", "applied", "lag", "lag ms", "disk", "free", "health"]);
    for row in rows {
        table.add_row(cells(row));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        if (3..=9).contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // The last column is padded to its longest cell otherwise.
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn cells(row: &Replica) -> [String; 11] {
    let role = row.role.and_then(|role| serde_json::to_value(role).ok());
    let role = role.as_ref().and_then(|role| role.as_str()).unwrap_or("-");
    let number = |number: u64| if row.role.is_some() { number.to_string() } else { "-".to_owned() };
    let size = |size: u64| if row.role.is_some() { bytes(size) } else { "-".to_owned() };
    [
        row.node.to_string(),
        row.shard.to_string(),
        role.to_owned(),
        number(row.term),
        number(row.last_index),
        number(row.applied),
        number(row.lag_entries),
        number(row.lag_ms),
        size(row.log_bytes + row.engine_bytes),
        size(row.disk_free_bytes),
        row.words(),
    ]
}

#[cfg(test)]
mod tests {
    use common::state::Role;

    use super::super::overview::testing::*;
    use super::*;

    #[test]
    fn a_table_has_a_row_a_replica() {
        let mut behind = replica(0, "n3", Role::Replica);
        (behind.applied, behind.lag_entries, behind.lag_ms) = (80, 10, 250);
        (behind.health, behind.reason) = ("unhealthy".to_owned(), Some("the disk is full".to_owned()));
        (behind.log_bytes, behind.engine_bytes, behind.disk_free_bytes) = (1 << 20, 1 << 19, 0);
        let mut primary = replica(0, "n1", Role::Primary);
        primary.draining = true;
        let shown = table(&overview(vec![primary, behind]).rows());
        let wanted = "\
node  shard  role     term  last  applied  lag  lag ms     disk  free  health
n1    0      primary     3    90       90    0       0      0 B   0 B  ok, draining
n2    0      -           -     -        -    -       -        -     -  unreachable
n3    0      replica     3    90       80   10     250  1.5 MiB   0 B  unhealthy: the disk is full";
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_shard_without_a_primary_is_bad_unless_another_one_is_asked_for() {
        let replicas = vec![replica(0, "n1", Role::Primary), replica(1, "n1", Role::Replica)];
        let overview = overview(replicas);
        let show = |shard| show(&overview, &Output::new(true), shard);
        assert_eq!(show(None).expect("shown"), Verdict::Bad);
        assert_eq!(show(Some(ShardId(0))).expect("shown"), Verdict::Good);
        assert!(matches!(show(Some(ShardId(7))), Err(Error::Usage(_))));
    }
}
