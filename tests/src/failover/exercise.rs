//! The exercises: what each does, in the order in which it does it.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;

use super::scene::Scene;
use super::target::Target;
use crate::Result;

/// Documents that a wiped replica has to get back, beside what the writers wrote: enough to take more than one message.
const PRELOADED: usize = 2_000;
/// Documents in one bulk write.
const BULK: usize = 200;

/// An exercise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Exercise {
    /// Kills the primary of each shard, one after the other, and starts it again.
    KillPrimary,
    /// Kills a node that leads nothing, if there is one, for a while.
    KillNode,
    /// Cuts a primary off from the network for a while.
    Partition,
    /// Freezes a primary for a while.
    Pause,
    /// Stops and starts every server, one after the other, under clients that repeat what did not succeed.
    RollingRestart,
    /// Empties a replica's disk, and has it lead once it is back.
    WipeReplica,
    /// Kills a router for a while, under clients that repeat what did not succeed.
    LoseRouter,
}

impl Exercise {
    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillPrimary => "kill-primary",
            Self::KillNode => "kill-node",
            Self::Partition => "partition",
            Self::Pause => "pause",
            Self::RollingRestart => "rolling-restart",
            Self::WipeReplica => "wipe-replica",
            Self::LoseRouter => "lose-router",
        }
    }

    /// What it shows.
    pub fn summary(self) -> &'static str {
        match self {
            Self::KillPrimary => "each shard's primary dies; another takes over, the other shards do not notice",
            Self::KillNode => "a node dies and stays away; its shards go on with the replicas that are left",
            Self::Partition => {
                "a primary is cut off; the others elect a new one, and the old one answers nothing stale"
            }
            Self::Pause => "a primary freezes; the others elect a new one, and the old one wakes up as a replica",
            Self::RollingRestart => "every server is stopped and started, as for an upgrade; no request fails",
            Self::WipeReplica => "a replica loses its disk; it is rebuilt from the others and can lead",
            Self::LoseRouter => "a router dies; clients go on through the others",
        }
    }

    /// Whether its clients repeat a request that did not succeed, as an app's do; then none may fail in the end.
    /// The other exercises count what single attempts were told.
    pub fn is_for_patient_clients(self) -> bool {
        matches!(self, Self::RollingRestart | Self::LoseRouter)
    }

    pub(super) async fn play<T: Target>(self, scene: &mut Scene<'_, T>) -> Result<()> {
        match self {
            Self::KillPrimary => kill_primaries(scene).await,
            Self::KillNode => kill_node(scene).await,
            Self::Partition => partition(scene).await,
            Self::Pause => pause(scene).await,
            Self::RollingRestart => rolling_restart(scene).await,
            Self::WipeReplica => wipe_replica(scene).await,
            Self::LoseRouter => lose_router(scene).await,
        }
    }
}

fn ms(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

fn shards(shards: &[u32]) -> String {
    match shards {
        [] => "no shard".to_owned(),
        [one] => format!("shard {one}"),
        many => format!("shards {many:?}"),
    }
}

async fn kill_primaries<T: Target>(scene: &mut Scene<'_, T>) -> Result<()> {
    for shard in 0..scene.shards {
        let node = scene.primary_of(shard).await?;
        let led = scene.will_lose(&node).await?;
        let from = scene.load.now();
        scene.target.kill(&node).await?;
        for shard in &led {
            scene.goes_on(usize::try_from(*shard)?).await?;
        }
        let (heir, silent) = (scene.primary_of(shard).await?, scene.silent_since(shard, from));
        println!(
            "  Killed {node}, which led {}. {heir} leads shard {shard} now; its writes were silent for {}.",
            shards(&led),
            ms(silent)
        );
        scene.target.start(&node).await?;
        println!("  Started {node} again; after {} it follows and has caught up.", ms(scene.whole().await?));
    }
    Ok(())
}

async fn kill_node<T: Target>(scene: &mut Scene<'_, T>) -> Result<()> {
    let view = scene.view().await?;
    let nodes = view.nodes.iter().map(|node| node.node.as_str());
    let node = nodes.min_by_key(|node| view.led_by(node).len()).ok_or("there are no nodes")?.to_owned();
    let led = scene.will_lose(&node).await?;
    scene.target.kill(&node).await?;
    println!("  Killed {node}, which led {}, for {}.", shards(&led), ms(scene.settings.hold));
    tokio::time::sleep(scene.settings.hold).await;
    for shard in 0..scene.shards {
        scene.goes_on(shard).await?;
    }
    scene.target.start(&node).await?;
    println!("  Started {node} again; after {} it has caught up.", ms(scene.whole().await?));
    Ok(())
}

async fn partition<T: Target>(scene: &mut Scene<'_, T>) -> Result<()> {
    let node = scene.primary_of(0).await?;
    let led = scene.will_lose(&node).await?;
    scene.target.cut(&node).await?;
    println!("  Cut {node}, which led {}, off from all others for {}.", shards(&led), ms(scene.settings.hold));
    for shard in &led {
        scene.goes_on(usize::try_from(*shard)?).await?;
    }
    println!("  {} leads shard 0 now.", scene.primary_of(0).await?);
    tokio::time::sleep(scene.settings.hold).await;
    scene.target.join(&node).await?;
    println!("  Joined {node} again; after {} it follows and has caught up.", ms(scene.whole().await?));
    Ok(())
}

async fn pause<T: Target>(scene: &mut Scene<'_, T>) -> Result<()> {
    let shard = scene.shards - 1;
    let node = scene.primary_of(shard).await?;
    let led = scene.will_lose(&node).await?;
    scene.target.pause(&node).await?;
    println!("  Froze {node}, which led {}, for {}.", shards(&led), ms(scene.settings.hold));
    for shard in &led {
        scene.goes_on(usize::try_from(*shard)?).await?;
    }
    println!("  {} leads shard {shard} now.", scene.primary_of(shard).await?);
    tokio::time::sleep(scene.settings.hold).await;
    scene.target.resume(&node).await?;
    println!("  Woke {node}; after {} it follows and has caught up.", ms(scene.whole().await?));
    Ok(())
}

async fn rolling_restart<T: Target>(scene: &mut Scene<'_, T>) -> Result<()> {
    let nodes: Vec<String> = scene.view().await?.nodes.into_iter().map(|node| node.node).collect();
    let routers: Vec<String> = scene.target.routers().into_iter().map(|(name, _)| name).collect();
    if routers.len() == 1 {
        scene.hit.extend(0..scene.shards);
    }
    for server in nodes.iter().chain(&routers) {
        let led = scene.will_lose(server).await?;
        let (begun, from) = (tokio::time::Instant::now(), scene.load.now());
        scene.target.stop(server).await?;
        let stopped = begun.elapsed();
        scene.target.start(server).await?;
        let back = scene.whole().await?;
        let silent = (0..scene.shards).map(|shard| scene.silent_since(shard, from)).max().unwrap_or_default();
        if nodes.contains(server) && silent > scene.settings.hit {
            scene.broken.push(format!("while {server} was restarted a shard's writes were silent for {}", ms(silent)));
        }
        println!(
            "  {server}, which led {}, stopped in {} and was back after {}; no shard's writes were silent for over {}.",
            shards(&led),
            ms(stopped),
            ms(back),
            ms(silent)
        );
    }
    Ok(())
}

async fn wipe_replica<T: Target>(scene: &mut Scene<'_, T>) -> Result<()> {
    preload(scene).await?;
    let view = scene.view().await?;
    // Of the replicas that do not lead shard 0, one whose node leads nothing else if there is one.
    let followers = view.followers_of(0).into_iter();
    let node = followers.min_by_key(|node| view.led_by(node).len()).ok_or("shard 0 has no other replica")?.to_owned();
    let led = scene.will_lose(&node).await?;
    let before = preloaded(scene).await?;
    scene.target.kill(&node).await?;
    scene.target.wipe(&node).await?;
    println!("  Killed {node}, which led {}, emptied its disk and started it.", shards(&led));
    println!(
        "  After {} it votes again and has caught up with {PRELOADED} documents and more.",
        ms(scene.whole().await?)
    );
    scene.promote(0, &node).await?;
    println!("  Handed shard 0 over to it: all that is read back of shard 0 comes from the rebuilt copy.");
    let after = preloaded(scene).await?;
    let changed = before.iter().filter(|(id, rev)| after.get(*id) != Some(*rev));
    scene.lost.extend(changed.map(|(id, rev)| format!("{id}: {rev} is not there any more")));
    Ok(())
}

async fn preload<T: Target>(scene: &Scene<'_, T>) -> Result<()> {
    let client = scene.client()?;
    for batch in 0..PRELOADED / BULK {
        let id = |n: usize| format!("preloaded-{}", batch * BULK + n);
        let docs: Vec<_> = (0..BULK).map(|n| json!({"_id": id(n), "pad": "x".repeat(1_000)})).collect();
        client.bulk(&scene.db, &docs).await?;
    }
    Ok(())
}

/// Ids and revisions of the preloaded documents.
async fn preloaded<T: Target>(scene: &Scene<'_, T>) -> Result<BTreeMap<String, String>> {
    let path = format!("/{}/_all_docs?startkey=%22preloaded-%22&endkey=%22preloaded.%22", scene.db);
    let rows = scene.client()?.get(&path).await?.expect(200)?.json();
    let rows = rows["rows"].as_array().ok_or("no rows")?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let found: BTreeMap<String, String> =
        rows.iter().map(|row| (text(&row["id"]), text(&row["value"]["rev"]))).collect();
    if found.len() == PRELOADED { Ok(found) } else { Err(format!("{} of {PRELOADED} rows", found.len()).into()) }
}

async fn lose_router<T: Target>(scene: &mut Scene<'_, T>) -> Result<()> {
    let routers = scene.target.routers();
    let (router, _) = routers.first().ok_or("there is no router")?;
    scene.target.kill(router).await?;
    if routers.len() == 1 {
        scene.hit.extend(0..scene.shards);
        println!("  Killed {router}, the only router.");
    } else {
        println!("  Killed {router} for {}.", ms(scene.settings.hold));
        tokio::time::sleep(scene.settings.hold).await;
    }
    scene.target.start(router).await?;
    println!("  Started {router} again; it was back after {}.", ms(scene.whole().await?));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for exercise in Exercise::value_variants() {
            let named = exercise.to_possible_value().expect("none is hidden");
            assert_eq!(named.get_name(), exercise.name());
        }
    }
}
