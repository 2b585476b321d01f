//! `promote`, `drain` and `undrain`: planned changes of who leads, watched until they are done.

use std::time::Duration;

use common::ids::{NodeId, ShardId};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::Verdict;
use super::client::Router;
use super::error::Error;
use super::output::Output;
use super::overview::Overview;
use super::status::listed;

/// Between two looks: a hand-over takes some 400 ms.
const LOOK: Duration = Duration::from_millis(100);
/// After this a hand-over that was begun has failed. Asking earlier would only disturb it.
const HAND_OVER: Duration = Duration::from_secs(3);

/// What a router answers to a promotion.
#[derive(Debug, Deserialize)]
struct Promoted {
    node: NodeId,
}

/// What a router answers to a draining.
#[derive(Debug, Deserialize)]
struct Drained {
    leads: Vec<ShardId>,
}

/// A shard that has another primary than before.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Moved {
    event: &'static str,
    shard: ShardId,
    from: NodeId,
    to: NodeId,
    term: u64,
    ms: u64,
}

impl Moved {
    fn words(&self) -> String {
        let Self { shard, from, to, term, ms, .. } = self;
        format!("shard {shard}: {from} -> {to}, term {term}, after {ms} ms")
    }
}

/// Asks a replica to stand for election until it leads.
///
/// On a busy machine a hand-over may miss its time, and terms may move on between looking and asking: such refusals are
/// asked again.
pub(super) async fn promote(
    router: &Router,
    output: &Output,
    shard: ShardId,
    mut node: Option<NodeId>,
    patience: Duration,
) -> Result<Verdict, Error> {
    if let Some(node) = &node {
        let overview = router.overview().await?;
        overview.require(node)?;
        if overview.nodes.iter().any(|known| known.node == *node && known.draining) {
            return Err(Error::Usage(format!("{node} is drained: `undrain {node}` first")));
        }
    }
    let began = Instant::now();
    loop {
        let asked = json!({ "shard": shard, "node": node });
        let refused = match router.post("/v1/_replication/promote", &asked).await {
            Ok(Promoted { node: chosen }) => {
                if let Some(led) = leads(router, shard, &chosen).await? {
                    let (term, ms) = (led, millis(began.elapsed()));
                    let value = json!({ "event": "leads", "shard": shard, "node": chosen, "term": term, "ms": ms });
                    output.tell(&value, || format!("{chosen} leads shard {shard} in term {term}, after {ms} ms"))?;
                    return Ok(Verdict::Good);
                }
                let why = format!("{chosen} was asked to lead shard {shard}, and does not after {:?}", began.elapsed());
                node = Some(chosen);
                Error::Unfinished(why)
            }
            Err(error @ Error::Refused { status: StatusCode::CONFLICT, .. }) => error,
            Err(error) => return Err(error),
        };
        if began.elapsed() >= patience {
            return Err(refused);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for one hand-over; the term in which `node` leads then, if it does.
async fn leads(router: &Router, shard: ShardId, node: &NodeId) -> Result<Option<u64>, Error> {
    let began = Instant::now();
    loop {
        let overview = router.overview().await?;
        if let Some(primary) = overview.primary(shard).filter(|primary| primary.node == *node) {
            return Ok(Some(primary.term));
        }
        if began.elapsed() >= HAND_OVER {
            return Ok(None);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Drains a node, and waits until it leads nothing.
pub(super) async fn drain(
    router: &Router,
    output: &Output,
    node: &NodeId,
    patience: Duration,
) -> Result<Verdict, Error> {
    router.overview().await?.require(node)?;
    let began = Instant::now();
    let asked = json!({ "node": node, "drain": true });
    let Drained { leads } = router.post("/v1/_replication/drain", &asked).await?;
    output.tell(&json!({ "event": "draining", "node": node, "leads": leads }), || {
        let what = match leads.as_slice() {
            [] => "it leads no shard".to_owned(),
            leads => format!("it gives away what it leads (shards {})", listed(leads)),
        };
        format!("{node} is drained: {what}, and leads nothing again before `undrain {node}` or its next start")
    })?;
    let mut draining = Draining { node: node.clone(), led: leads };
    loop {
        let overview = router.overview().await?;
        for moved in draining.look(&overview, began.elapsed()) {
            output.tell(&moved, || moved.words())?;
        }
        if draining.led.is_empty() {
            let ms = millis(began.elapsed());
            let value = json!({ "event": "drained", "node": node, "ms": ms });
            output.tell(&value, || format!("{node} leads nothing, after {ms} ms"))?;
            return Ok(Verdict::Good);
        }
        if began.elapsed() >= patience {
            return Err(Error::Unfinished(draining.unfinished(&overview, patience)));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Lets a node lead again.
pub(super) async fn undrain(router: &Router, output: &Output, node: &NodeId) -> Result<Verdict, Error> {
    router.overview().await?.require(node)?;
    let Drained { leads } = router.post("/v1/_replication/drain", &json!({ "node": node, "drain": false })).await?;
    output.tell(&json!({ "event": "undrained", "node": node, "leads": leads }), || {
        format!("{node} may lead again; it does when it is elected, or after `promote --shard S --node {node}`")
    })?;
    Ok(Verdict::Good)
}

/// How far a draining is.
struct Draining {
    node: NodeId,
    /// The shards that have no other primary yet.
    led: Vec<ShardId>,
}

impl Draining {
    /// Takes a look; the shards that have moved since the last one.
    fn look(&mut self, overview: &Overview, elapsed: Duration) -> Vec<Moved> {
        // Elected just as the draining began, or as the last resort for a while.
        for shard in overview.led_by(&self.node) {
            if !self.led.contains(&shard) {
                self.led.push(shard);
            }
        }
        let moved = |shard: &ShardId| {
            let primary = overview.primary(*shard).filter(|primary| primary.node != self.node)?;
            let (from, to, ms) = (self.node.clone(), primary.node.clone(), millis(elapsed));
            Some(Moved { event: "moved", shard: *shard, from, to, term: primary.term, ms })
        };
        let moved: Vec<Moved> = self.led.iter().filter_map(moved).collect();
        self.led.retain(|shard| !moved.iter().any(|moved| moved.shard == *shard));
        moved
    }

    fn unfinished(&self, overview: &Overview, patience: Duration) -> String {
        let node = &self.node;
        let still = |shard: &ShardId| {
            format!("shard {shard} is not led elsewhere: {}", overview.others_in_words(*shard, Some(node)))
        };
        let still: Vec<String> = self.led.iter().map(still).collect();
        format!(
            "{node} is not drained after {patience:?}; it goes on trying.\n{}\nMend the other replicas, or give up with \
             `undrain {node}`.",
            still.join("\n")
        )
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use common::state::Role;

    use super::super::overview::testing::*;
    use super::*;

    #[test]
    fn a_draining_follows_each_shard_until_another_node_leads_it() {
        let mut draining = Draining { node: node("n1"), led: vec![ShardId(0), ShardId(1)] };
        let mut look = |replicas| {
            let moved = draining.look(&overview(replicas), Duration::from_millis(400));
            (moved.iter().map(Moved::words).collect::<Vec<_>>(), draining.led.len())
        };
        let (n1, n2) = (|shard| replica(shard, "n1", Role::Primary), |shard| replica(shard, "n2", Role::Primary));
        assert_eq!(look(vec![n1(0), n1(1)]), (vec![], 2));
        assert_eq!(look(vec![n2(0), n1(1)]), (vec!["shard 0: n1 -> n2, term 3, after 400 ms".to_owned()], 1));
        assert_eq!(look(vec![n2(0), replica(1, "n1", Role::Replica)]), (vec![], 1), "nobody leads it yet");
        assert_eq!(look(vec![n1(0), n2(1)]).1, 1, "it leads the first one again, since nobody else could");
        assert_eq!(look(vec![n2(0), n2(1)]).1, 0);
    }

    #[test]
    fn what_is_not_done_says_why() {
        let mut behind = replica(0, "n2", Role::Replica);
        behind.health = "lagging".to_owned();
        let draining = Draining { node: node("n1"), led: vec![ShardId(0)] };
        let overview = overview(vec![replica(0, "n1", Role::Primary), behind]);
        let said = draining.unfinished(&overview, Duration::from_secs(60));
        assert!(said.contains("shard 0 is not led elsewhere: n2 is lagging; n3 is unreachable"), "{said}");
    }
}
