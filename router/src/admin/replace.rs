//! `replace`: watches a lost replica come back as a new one, until it serves.
//!
//! The cluster does the work: a node that starts with an empty folder draws a new incarnation, the primary of each of
//! its shards has it follow the log as a learner and then makes it a voter in the place of the lost one. Each look at
//! the cluster gives a phase for each shard; what is printed are the changes of phase, and how far it is between them.

use std::collections::BTreeMap;
use std::time::Duration;

use common::ids::{NodeId, ShardId};
use common::state::Role;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::Verdict;
use super::client::Router;
use super::drain::millis;
use super::error::Error;
use super::output::{Output, bytes};
use super::overview::{Overview, Replica};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// Between two lines about a phase that lasts.
const PROGRESS: Duration = Duration::from_secs(2);
/// A replica this close behind has caught up: under load some entries are always on their way.
const CLOSE_ENTRIES: u64 = 1_000;

/// Where the replacing of one replica is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub(super) enum Phase {
    /// The shard has no primary, and nothing can change.
    NoPrimary,
    /// The new node does not answer.
    Gone,
    /// It does not host the shard.
    NotHosted,
    /// Its files are damaged.
    Damaged { reason: String },
    /// It has an empty folder and waits to be let in.
    Empty,
    /// It follows the log, or receives a snapshot, and has no vote yet.
    Learner { applied: u64, last: u64, bytes: u64 },
    /// It votes beside the one it replaces: the replica set changes.
    Joint,
    /// It is the one that votes, and still far behind.
    Behind { applied: u64, last: u64, bytes: u64 },
    /// It serves.
    Serves { applied: u64, bytes: u64, incarnation: String },
}

impl Phase {
    /// Of the replica on `new`, which takes the place of one on `old` (the same node, as a rule).
    pub(super) fn of(overview: &Overview, shard: ShardId, old: &NodeId, new: &NodeId) -> Self {
        let Some(primary) = overview.primary(shard) else { return Phase::NoPrimary };
        let replica = match overview.replica(shard, new) {
            Some(replica) if replica.is_reachable() => replica,
            None if !overview.placed(shard).contains(new) => return Phase::NotHosted,
            _ => return Phase::Gone,
        };
        let Replica { applied, incarnation, .. } = replica;
        let (applied, last) = (*applied, primary.last_index);
        let bytes = replica.snapshot_received_bytes + replica.log_written_bytes;
        let is_it = |member: &super::overview::Member| member.incarnation == *incarnation;
        let replaced = |node: &NodeId| node == old || node == new;
        let votes = primary.voters.iter().any(is_it);
        let beside = primary.voters.iter().any(|voter| replaced(&voter.node) && !is_it(voter));
        match replica.role {
            Some(Role::Damaged) => Phase::Damaged { reason: replica.reason.clone().unwrap_or_default() },
            _ if votes && beside => Phase::Joint,
            Some(Role::Primary | Role::Replica) if votes && last.saturating_sub(applied) <= CLOSE_ENTRIES => {
                Phase::Serves { applied, bytes, incarnation: incarnation.clone() }
            }
            _ if votes => Phase::Behind { applied, last, bytes },
            _ if primary.learners.iter().any(is_it) => Phase::Learner { applied, last, bytes },
            _ => Phase::Empty,
        }
    }

    fn serves(&self) -> bool {
        matches!(self, Phase::Serves { .. })
    }

    fn words(&self, node: &NodeId) -> String {
        let share = |applied: u64, last: u64, received: u64| {
            let percent = (applied * 100).checked_div(last).unwrap_or(0).min(100);
            format!("{applied} of {last} entries ({percent} %), {} received", bytes(received))
        };
        match self {
            Phase::NoPrimary => "no primary; nothing changes before a majority is back".to_owned(),
            Phase::Gone => format!("waiting for {node} to answer; start it with an empty folder"),
            Phase::NotHosted => format!("{node} does not host it"),
            Phase::Damaged { reason } => format!("damaged ({reason}); start {node} again, and it is rebuilt"),
            Phase::Empty => "an empty folder; waiting to be let in as a learner".to_owned(),
            Phase::Learner { applied, last, bytes } => format!("learner: {}", share(*applied, *last, *bytes)),
            Phase::Joint => "voter beside the lost one; the replica set changes".to_owned(),
            Phase::Behind { applied, last, bytes } => format!("voter, behind: {}", share(*applied, *last, *bytes)),
            Phase::Serves { applied, bytes: received, incarnation } => {
                let received = bytes(*received);
                format!("serves as incarnation {incarnation}: {applied} entries applied, {received} received")
            }
        }
    }
}

/// A line about one shard.
#[derive(Debug, Serialize)]
struct Line<'a> {
    event: &'static str,
    shard: ShardId,
    node: &'a NodeId,
    ms: u64,
    #[serde(flatten)]
    phase: &'a Phase,
}

/// Why a replica cannot be given to a node of another id.
pub(super) fn moving(old: &NodeId, new: &NodeId) -> Error {
    Error::Usage(format!(
        "moving replicas from {old} to {new} is not there yet: the cluster file says which nodes host a shard, and a \
         replica set does not let go of the voter of a node that is no longer in it. A new machine takes the old name: \
         start a node called {old} on it with an empty folder, give its address in the cluster files, and run \
         `replace {old}`."
    ))
}

/// Watches the replicas of a node until all of them serve.
pub(super) async fn replace(
    router: &Router,
    output: &Output,
    node: &NodeId,
    patience: Duration,
) -> Result<Verdict, Error> {
    let overview = router.overview().await?;
    overview.require(node)?;
    let shards: Vec<ShardId> = overview.rows().iter().filter(|row| row.node == *node).map(|row| row.shard).collect();
    let before: BTreeMap<ShardId, Vec<String>> =
        shards.iter().map(|shard| (*shard, incarnations(&overview, *shard, node))).collect();
    if shards.is_empty() {
        return Err(Error::Usage(format!("{node} hosts no shard: there is nothing to replace")));
    }
    if shards.iter().all(|shard| Phase::of(&overview, *shard, node, node).serves()) {
        output.tell(&json!({ "event": "nothing", "node": node }), || {
            format!(
                "{node} serves all its shards: there is nothing to replace. Stop it, give it an empty folder (or start \
                 it on another machine and change its address in the cluster files), start it, and run this again."
            )
        })?;
        return Ok(Verdict::Good);
    }
    let phases = watch(router, output, &shards, (node, node), patience).await?;
    for (shard, phase) in &phases {
        let Phase::Serves { incarnation, .. } = phase else { continue };
        if before[shard].contains(incarnation) {
            eprintln!("shard {shard}: {node} came back with the folder it had; nothing was replaced");
        }
    }
    Ok(Verdict::Good)
}

/// The incarnations of a node that vote on a shard.
fn incarnations(overview: &Overview, shard: ShardId, node: &NodeId) -> Vec<String> {
    let voters = overview.primary(shard).map_or(&[][..], |primary| &primary.voters);
    voters.iter().filter(|voter| voter.node == *node).map(|voter| voter.incarnation.clone()).collect()
}

/// Prints how `shards` come along until the second of `nodes` serves them all in the place of the first; the last
/// phase of each.
async fn watch(
    router: &Router,
    output: &Output,
    shards: &[ShardId],
    (old, new): (&NodeId, &NodeId),
    patience: Duration,
) -> Result<BTreeMap<ShardId, Phase>, Error> {
    let began = Instant::now();
    let mut last: BTreeMap<ShardId, (Phase, Instant)> = BTreeMap::new();
    loop {
        let overview = match router.overview().await {
            Ok(overview) => overview,
            Err(error @ Error::Unreachable { .. }) if began.elapsed() < patience => {
                eprintln!("{error}");
                tokio::time::sleep(PROGRESS).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        for shard in shards {
            let phase = Phase::of(&overview, *shard, old, new);
            let known = last.get(shard);
            let changed =
                known.is_none_or(|(known, _)| std::mem::discriminant(known) != std::mem::discriminant(&phase));
            let due = known.is_some_and(|(known, told)| *known != phase && told.elapsed() >= PROGRESS);
            if changed || (due && !phase.serves()) {
                let ms = millis(began.elapsed());
                let event = if phase.serves() { "serves" } else { "progress" };
                let line = Line { event, shard: *shard, node: new, ms, phase: &phase };
                output.tell(&line, || format!("{:>7.1} s  shard {shard}: {}", seconds(ms), phase.words(new)))?;
                last.insert(*shard, (phase, Instant::now()));
            }
        }
        if last.values().all(|(phase, _)| phase.serves()) {
            done(output, new, began.elapsed(), last.values().map(|(phase, _)| phase))?;
            return Ok(last.into_iter().map(|(shard, (phase, _))| (shard, phase)).collect());
        }
        if began.elapsed() >= patience {
            let open = last.iter().filter(|(_, (phase, _))| !phase.serves());
            let open: Vec<String> =
                open.map(|(shard, (phase, _))| format!("shard {shard}: {}", phase.words(new))).collect();
            let why = format!("{new} does not serve everything after {patience:?}; it goes on.\n{}", open.join("\n"));
            return Err(Error::Unfinished(why));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn done<'a>(
    output: &Output,
    node: &NodeId,
    elapsed: Duration,
    phases: impl Iterator<Item = &'a Phase>,
) -> Result<(), Error> {
    let (mut shards, mut received, mut entries) = (0, 0, 0);
    for phase in phases {
        if let Phase::Serves { applied, bytes, .. } = phase {
            (shards, received, entries) = (shards + 1, received + bytes, entries + applied);
        }
    }
    let ms = millis(elapsed);
    let value = json!({
        "event": "done", "node": node, "ms": ms, "shards": shards, "bytes_received": received, "entries_applied": entries
    });
    Ok(output.tell(&value, || {
        let (seconds, received) = (seconds(ms), bytes(received));
        format!("{node} serves {shards} shards after {seconds:.1} s: {received} received, {entries} entries applied")
    })?)
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::super::overview::testing::*;
    use super::super::overview::{Member, UNREACHABLE};
    use super::*;

    fn members(names: &[&str]) -> Vec<Member> {
        let member = |name: &&str| {
            let (name, _) = name.split_once('-').expect("a name and a life");
            Member { node: node(name), incarnation: String::new() }
        };
        let with = |(member, name): (Member, &&str)| Member { incarnation: (*name).to_owned(), ..member };
        names.iter().map(member).zip(names).map(with).collect()
    }

    /// n3 comes back; n1 leads and has these members.
    fn phase(third: Option<Replica>, voters: &[&str], learners: &[&str]) -> Phase {
        let mut primary = replica(0, "n1", Role::Primary);
        (primary.voters, primary.learners, primary.last_index) = (members(voters), members(learners), 5_000);
        let replicas = [primary, replica(0, "n2", Role::Replica)].into_iter().chain(third).collect();
        Phase::of(&overview(replicas), ShardId(0), &node("n3"), &node("n3"))
    }

    #[test]
    fn a_lost_replica_comes_back_step_by_step() {
        let old = ["n1-1", "n2-1", "n3-1"];
        let third = |role, incarnation: &str, applied| {
            let incarnation = incarnation.to_owned();
            Some(Replica { incarnation, applied, snapshot_received_bytes: 7, ..replica(0, "n3", role) })
        };
        let gone = replica(0, "n3", Role::Replica);
        let gone = Replica { health: UNREACHABLE.to_owned(), ..gone };
        assert_eq!(phase(Some(gone), &old, &[]), Phase::Gone);
        assert_eq!(phase(None, &old, &[]), Phase::Gone, "it has not answered since the router started");
        assert_eq!(phase(third(Role::Empty, "n3-2", 0), &old, &[]), Phase::Empty);
        let follows = Phase::Learner { applied: 10, last: 5_000, bytes: 7 };
        assert_eq!(phase(third(Role::Learner, "n3-2", 10), &old, &["n3-2"]), follows);
        let both = ["n1-1", "n2-1", "n3-1", "n3-2"];
        assert_eq!(phase(third(Role::Replica, "n3-2", 4_990), &both, &[]), Phase::Joint);
        let new = ["n1-1", "n2-1", "n3-2"];
        let behind = Phase::Behind { applied: 10, last: 5_000, bytes: 7 };
        assert_eq!(phase(third(Role::Replica, "n3-2", 10), &new, &[]), behind);
        assert!(phase(third(Role::Replica, "n3-2", 4_990), &new, &[]).serves());
    }

    #[test]
    fn nothing_changes_without_a_primary() {
        let overview = overview(vec![replica(0, "n2", Role::Replica)]);
        assert_eq!(Phase::of(&overview, ShardId(0), &node("n3"), &node("n3")), Phase::NoPrimary);
    }

    #[test]
    fn progress_is_told_in_entries_and_bytes() {
        let phase = Phase::Learner { applied: 1_250, last: 5_000, bytes: 3 << 20 };
        assert_eq!(phase.words(&node("n3")), "learner: 1250 of 5000 entries (25 %), 3.0 MiB received");
    }
}
