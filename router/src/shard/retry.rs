//! What to do about a refusal: ask another node, wait a little, or give up.
//!
//! Pure. A failover is ridden out: for up to [`Patience::quorum`] a shard may be without a primary. Once any attempt
//! may have been proposed, giving up says [`Refusal::UnknownOutcome`] and nothing else: only that is still true.

use std::time::Duration;

use common::ids::{NodeId, ShardId};
use common::query::Consistency;
use common::refusal::Refusal;

/// Hints followed without a pause. More would let two replicas that point at each other be asked in a loop.
const HOPS_MAX: u32 = 2;
/// First and longest pause. Shorter asks electing replicas more often than an election can take; longer adds to
/// every failover.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// How long to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// With no primary in sight. Longer than any failover, shorter than the two seconds of the promise.
    pub quorum: Duration,
    /// In all.
    pub request: Duration,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A write: the primary's.
    Write,
    /// A read, or changes.
    Read(Consistency),
}

/// One batch after a failed attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// What is asked.
    pub kind: Kind,
    /// Of which shard.
    pub shard: ShardId,
    /// Attempts made, this one included.
    pub count: u32,
    /// Since the oldest member of the batch began to wait.
    pub elapsed: Duration,
    /// Whether an earlier attempt may have been proposed.
    pub proposed: bool,
    /// Whether this is an eventual read and a replica was met that is too far behind: it can be asked as a last resort.
    pub behind: bool,
    /// Who was asked.
    pub asked: &'a NodeId,
    /// Who is known to lead by now.
    pub primary: Option<&'a NodeId>,
    /// The nodes with a replica of the shard, for an eventual read only those that seem to be there; never empty.
    pub replicas: &'a [NodeId],
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Ask this node, at once.
    AskNode(NodeId),
    /// Wait this long, or until a primary is known, then ask whoever seems right.
    WaitThenAsk(Duration),
    /// Tell the client.
    GiveUp(Refusal),
}

/// Whether this refusal leaves open that the batch takes effect.
pub fn may_be_proposed(kind: Kind, refusal: &Refusal) -> bool {
    kind == Kind::Write && matches!(refusal, Refusal::UnknownOutcome { .. })
}

/// Decides what follows `refusal`.
pub fn decide(attempt: &Attempt<'_>, refusal: &Refusal, patience: &Patience) -> Decision {
    let proposed = attempt.proposed || may_be_proposed(attempt.kind, refusal);
    let give_up = |why: Refusal| {
        let unknown = Refusal::UnknownOutcome { shard: attempt.shard };
        Decision::GiveUp(if proposed { unknown } else { why })
    };
    if attempt.elapsed >= patience.request {
        return give_up(last_word(attempt.shard, refusal));
    }
    // All that are there were asked, and the best that was found is old. Waiting for somebody in sync is for those who
    // need more than an eventual read.
    if attempt.behind && (attempt.count as usize >= attempt.replicas.len() || attempt.elapsed >= patience.quorum) {
        return Decision::GiveUp(Refusal::TooFarBehind { shard: attempt.shard });
    }
    match refusal {
        // Repeating these changes nothing; the client may know better.
        Refusal::BadBatch(_) | Refusal::Function(_) | Refusal::DiskFull { .. } | Refusal::Overloaded { .. } => {
            give_up(refusal.clone())
        }
        // A new primary can still say what became of it.
        Refusal::UnknownOutcome { .. } if attempt.primary.is_some_and(|primary| primary != attempt.asked) => {
            again(attempt)
        }
        _ if attempt.elapsed >= patience.quorum => give_up(last_word(attempt.shard, refusal)),
        Refusal::NotPrimary { primary: Some(hint), .. }
            if attempt.primary.is_none() && hint != attempt.asked && attempt.count <= HOPS_MAX =>
        {
            Decision::AskNode(hint.clone())
        }
        _ => again(attempt),
    }
}

/// The next node at once while there are nodes not asked yet; then with pauses.
fn again(attempt: &Attempt<'_>) -> Decision {
    match attempt.primary {
        Some(primary) if primary != attempt.asked && attempt.count <= HOPS_MAX => Decision::AskNode(primary.clone()),
        _ if attempt.kind == Kind::Read(Consistency::Eventual) && (attempt.count as usize) < attempt.replicas.len() => {
            Decision::AskNode(next(attempt))
        }
        _ => Decision::WaitThenAsk((PAUSE_MIN * attempt.count.max(1)).min(PAUSE_MAX)),
    }
}

/// The replica behind the one that was asked, in the order of the configuration.
fn next(attempt: &Attempt<'_>) -> NodeId {
    let at = attempt.replicas.iter().position(|node| node == attempt.asked).unwrap_or(0);
    attempt.replicas[(at + 1) % attempt.replicas.len()].clone()
}

/// The client cannot ask another node: what matters to it is that the shard had nobody to answer.
fn last_word(shard: ShardId, refusal: &Refusal) -> Refusal {
    match refusal {
        Refusal::TooFarBehind { .. } | Refusal::DiskFull { .. } | Refusal::Overloaded { .. } => refusal.clone(),
        _ => Refusal::NoQuorum { shard },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(4);
    const PATIENCE: Patience = Patience { quorum: Duration::from_millis(1900), request: Duration::from_millis(5000) };

    fn node(name: &str) -> NodeId {
        NodeId::parse(name).expect("valid")
    }

    fn refusal(name: &str) -> Refusal {
        let shard = SHARD;
        match name {
            "not-primary" => Refusal::NotPrimary { shard, primary: None },
            "not-primary:n2" => Refusal::NotPrimary { shard, primary: Some(node("n2")) },
            "not-primary:n1" => Refusal::NotPrimary { shard, primary: Some(node("n1")) },
            "not-hosted" => Refusal::NotHosted { shard },
            "no-quorum" => Refusal::NoQuorum { shard },
            "unknown" => Refusal::UnknownOutcome { shard },
            "overloaded" => Refusal::Overloaded { shard },
            "disk-full" => Refusal::DiskFull { shard },
            "out" => Refusal::OutOfService { shard, reason: "stopping".to_owned() },
            "behind" => Refusal::TooFarBehind { shard },
            "unreachable" => Refusal::Unreachable(node("n1")),
            "bad" => Refusal::BadBatch("cut".to_owned()),
            other => panic!("no refusal is called {other}"),
        }
    }

    fn shown(decision: Decision) -> String {
        match decision {
            Decision::AskNode(node) => format!("ask {node}"),
            Decision::WaitThenAsk(pause) => format!("wait {}", pause.as_millis()),
            Decision::GiveUp(refusal) => format!("give up: {refusal}"),
        }
    }

    /// `kind count elapsed-ms proposed|behind known-primary refusal`, asked was n1 of n1, n2, n3.
    fn line(line: &str) -> String {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let kind = match fields[0] {
            "write" => Kind::Write,
            "read" => Kind::Read(Consistency::Linearizable),
            _ => Kind::Read(Consistency::Eventual),
        };
        let primary = (fields[4] != "-").then(|| node(fields[4]));
        let attempt = Attempt {
            kind,
            shard: SHARD,
            count: fields[1].parse().expect("a count"),
            elapsed: Duration::from_millis(fields[2].parse().expect("milliseconds")),
            proposed: fields[3] == "proposed",
            behind: fields[3] == "behind",
            asked: &node("n1"),
            primary: primary.as_ref(),
            replicas: &[node("n1"), node("n2"), node("n3")],
        };
        shown(decide(&attempt, &refusal(fields[5]), &PATIENCE))
    }

    #[test]
    fn the_table_of_refusals() {
        let table = [
            ("write 1 0 - - not-primary:n2", "ask n2"),
            ("write 2 0 - - not-primary:n2", "ask n2"),
            ("write 3 0 - - not-primary:n2", "wait 30"),
            ("write 1 0 - - not-primary:n1", "wait 10"),
            ("write 1 0 - n3 not-primary:n2", "ask n3"),
            ("write 1 0 - n3 not-primary", "ask n3"),
            ("write 1 0 - n1 not-primary", "wait 10"),
            ("write 9 0 - n3 no-quorum", "wait 50"),
            ("write 1 0 - - unreachable", "wait 10"),
            ("write 1 0 - - out", "wait 10"),
            ("write 1 0 - n2 not-hosted", "ask n2"),
            ("write 1 0 - - overloaded", "give up: too many requests wait for shard 4"),
            ("write 1 0 - - disk-full", "give up: the disk under shard 4 is full"),
            ("write 1 0 - - bad", "give up: bad batch: cut"),
            ("write 7 1900 - - not-primary:n2", "give up: shard 4 has no quorum"),
            ("write 7 1900 - - unreachable", "give up: shard 4 has no quorum"),
            ("read 1 10 - n2 unreachable", "ask n2"),
            ("read 7 1899 - - no-quorum", "wait 50"),
            ("read 7 1900 - - no-quorum", "give up: shard 4 has no quorum"),
            ("eventual 1 0 behind - behind", "ask n2"),
            ("eventual 2 0 behind - unreachable", "ask n2"),
            ("eventual 2 0 - - unreachable", "ask n2"),
            ("eventual 3 0 - - unreachable", "wait 30"),
            ("eventual 3 0 behind - unreachable", "give up: the replica of shard 4 is too far behind"),
            ("eventual 3 0 behind - behind", "give up: the replica of shard 4 is too far behind"),
            ("eventual 1 1900 behind - unreachable", "give up: the replica of shard 4 is too far behind"),
            ("eventual 1 1900 - - unreachable", "give up: shard 4 has no quorum"),
            ("eventual 3 0 - - behind", "wait 30"),
            ("eventual 3 1900 - - behind", "give up: the replica of shard 4 is too far behind"),
        ];
        for (given, wanted) in table {
            assert_eq!(line(given), wanted, "{given}");
        }
    }

    #[test]
    fn what_may_have_been_proposed_is_never_called_failed() {
        let table = [
            ("write 1 0 - - unknown", "wait 10"),
            ("write 1 0 - n2 unknown", "ask n2"),
            ("write 9 1899 - n1 unknown", "wait 50"),
            ("write 9 1900 - n1 unknown", "give up: the outcome on shard 4 is not known"),
            ("write 9 4999 - n2 unknown", "wait 50"),
            ("write 9 5000 - n2 unknown", "give up: the outcome on shard 4 is not known"),
            ("write 9 1900 proposed - no-quorum", "give up: the outcome on shard 4 is not known"),
            ("write 9 100 proposed - disk-full", "give up: the outcome on shard 4 is not known"),
            ("write 9 100 proposed - overloaded", "give up: the outcome on shard 4 is not known"),
        ];
        for (given, wanted) in table {
            assert_eq!(line(given), wanted, "{given}");
        }
    }
}
