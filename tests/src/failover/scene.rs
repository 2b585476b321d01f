//! Where an exercise takes place: a target with a load on it, and what is known of both.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::exercise::Exercise;
use super::report::{Limits, Outcome, Silence};
use super::target::Target;
use super::view::View;
use crate::Result;
use crate::client::Client;
use crate::load::{Event, Load, Options};
use crate::shards::keys_by_shard;
use crate::silence::longest;

/// Keys of each writer: few enough to read back soon, enough that writes do not meet their own echo.
const KEYS: usize = 20;
/// Longest wait for the cluster to be whole again. Eleven containers on two cores take a while to start.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at the cluster. A router's knowledge of a node is up to two health checks old.
const LOOK: Duration = Duration::from_millis(100);
/// The cluster counts as whole when this many looks in a row say so: more than the age of what a router tells.
const LOOKS: u32 = 4;
/// Acknowledgements that show that a shard takes writes again.
const GOES_ON: usize = 20;

/// How exercises are done.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Longest silence of a shard that was hit.
    pub hit: Duration,
    /// Longest silence of a shard that was not.
    pub elsewhere: Duration,
    /// How long a fault lasts that could last.
    pub hold: Duration,
    /// Writers, spread over the shards.
    pub writers: usize,
    /// Readers.
    pub readers: usize,
    /// Pause of each writer and reader between two requests.
    pub pause: Duration,
    /// How long patient clients repeat a request; see [`Exercise::is_for_patient_clients`].
    pub retry: Duration,
}

/// A target under load.
pub(super) struct Scene<'a, T> {
    pub(super) target: &'a mut T,
    pub(super) load: Load,
    pub(super) db: String,
    pub(super) shards: usize,
    pub(super) settings: Settings,
    /// Shards that the exercise took something from that they need to answer.
    pub(super) hit: BTreeSet<usize>,
    /// Documents that the exercise itself found missing.
    pub(super) lost: Vec<String>,
    /// Other promises that it found broken.
    pub(super) broken: Vec<String>,
}

/// Does one exercise on a cluster that is whole, and leaves it whole. An error means that it could not be done; then
/// the target is left as it is.
pub async fn run<T: Target>(exercise: Exercise, target: &mut T, settings: Settings) -> Result<Outcome> {
    println!("{}: {}", exercise.name(), exercise.summary());
    let view = whole(target).await?;
    let db = format!("failover-{:08x}", rand::random::<u32>());
    let (_, client) = target.routers().into_iter().next().ok_or("there is no router")?;
    client.create_db(&db).await?;
    let outcome = play(exercise, target, settings, &db, &client, view.shards().len()).await?;
    client.delete(&format!("/{db}")).await?.expect(200)?;
    print!("{}", outcome.told());
    Ok(outcome)
}

async fn play<T: Target>(
    exercise: Exercise,
    target: &mut T,
    settings: Settings,
    db: &str,
    client: &Client,
    shards: usize,
) -> Result<Outcome> {
    let patient = exercise.is_for_patient_clients();
    let load = start_load(target, client, db, shards, &settings, patient).await?;
    let (hit, lost, broken) = (BTreeSet::new(), Vec::new(), Vec::new());
    let mut scene = Scene { target, load, db: db.to_owned(), shards, settings, hit, lost, broken };
    for shard in 0..shards {
        scene.goes_on(shard).await?;
    }
    let from = scene.load.now();
    exercise.play(&mut scene).await?;
    for shard in 0..shards {
        scene.goes_on(shard).await?;
    }
    let to = scene.load.now();
    let (writes, reads) = (scene.load.writes(), scene.load.reads());
    let failures = writes.iter().chain(&reads).filter_map(|event| event.error.clone());
    let failures: Vec<String> = failures.collect();
    let silence = |shard| Silence {
        shard,
        hit: scene.hit.contains(&shard),
        writes: silent(&writes, shard, from, to),
        reads: silent(&reads, shard, from, to),
    };
    let silences = (0..shards).map(silence).collect();
    let repeated = scene.load.repeated();
    let mut verdict = scene.load.finish().await?;
    verdict.lost.extend(scene.lost);
    Ok(Outcome {
        exercise: exercise.name(),
        silences,
        verdict,
        failed: failures.len(),
        first_failures: failures.into_iter().take(3).collect(),
        repeated,
        took: to - from,
        limits: limits(&settings, patient),
        also_broken: scene.broken,
    })
}

/// What is allowed. The exercises for patient clients take routers away, and what counts there is that something answers
/// while clients still try: the only router is gone until it is back, and a container engine accepts connections for
/// a container that has not quite started, and keeps them for a second.
fn limits(settings: &Settings, patient: bool) -> Limits {
    let Settings { hit, elsewhere, retry, .. } = *settings;
    match patient {
        true => Limits { hit: hit.max(retry), elsewhere: elsewhere.max(retry), failed: Some(0) },
        false => Limits { hit, elsewhere, failed: None },
    }
}

async fn start_load<T: Target>(
    target: &T,
    client: &Client,
    db: &str,
    shards: usize,
    settings: &Settings,
    patient: bool,
) -> Result<Load> {
    let per_shard = settings.writers.div_ceil(shards);
    let mut keys = keys_by_shard(client, db, "k", shards, per_shard * KEYS).await?;
    let writers = (0..settings.writers).map(|writer| {
        let own = &mut keys[writer % shards];
        (writer % shards, own.split_off(own.len() - KEYS))
    });
    let options = Options {
        db: db.to_owned(),
        writers: writers.collect(),
        readers: settings.readers,
        pause: settings.pause,
        retry: if patient { settings.retry } else { Duration::ZERO },
    };
    let clients = target.routers().into_iter().map(|(_, client)| client).collect();
    Ok(Load::start(clients, options))
}

/// The longest silence of a shard.
fn silent(events: &[Event], shard: usize, from: Duration, to: Duration) -> Duration {
    let answered = events.iter().filter(|event| event.group == shard && event.error.is_none());
    let times: Vec<Duration> = answered.map(|event| event.at).collect();
    longest(&times, from, to)
}

/// What the routers that answer tell of the cluster.
async fn views<T: Target>(target: &T) -> Vec<Result<View>> {
    let ask = async |client: Client| -> Result<View> {
        let client = client.patience(Duration::from_secs(2));
        let reply = client.get("/v1/_replication/state").await?.expect(200)?;
        Ok(serde_json::from_slice(&reply.body)?)
    };
    futures::future::join_all(target.routers().into_iter().map(|(_, client)| ask(client))).await
}

/// Waits until every router tells that the cluster is whole.
async fn whole<T: Target>(target: &T) -> Result<View> {
    let until = Instant::now() + PATIENCE;
    let mut looks = 0;
    loop {
        let views: Result<Vec<View>> = views(target).await.into_iter().collect();
        let ill = match &views {
            Ok(views) => views.iter().find_map(View::illness),
            Err(error) => Some(format!("a router: {error}")),
        };
        looks = if ill.is_none() { looks + 1 } else { 0 };
        match (ill, views) {
            (None, Ok(mut views)) if looks >= LOOKS => return views.pop().ok_or_else(|| "there is no router".into()),
            (Some(ill), _) if Instant::now() >= until => {
                return Err(format!("the cluster is not whole after {PATIENCE:?}: {ill}").into());
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

impl<T: Target> Scene<'_, T> {
    /// The cluster as the first router that answers tells it.
    pub(super) async fn view(&self) -> Result<View> {
        let answered = views(self.target).await.into_iter().find_map(Result::ok);
        answered.ok_or_else(|| "no router answers".into())
    }

    /// Waits until the cluster is whole; how long that took.
    pub(super) async fn whole(&self) -> Result<Duration> {
        let begun = Instant::now();
        whole(self.target).await?;
        Ok(begun.elapsed())
    }

    /// The node that leads a shard, once one does.
    pub(super) async fn primary_of(&self, shard: usize) -> Result<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(node) = self.view().await?.primary_of(u32::try_from(shard)?) {
                return Ok(node.to_owned());
            }
            if Instant::now() >= until {
                return Err(format!("shard {shard} has no primary after {PATIENCE:?}").into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a shard has acknowledged some more writes.
    pub(super) async fn goes_on(&self, shard: usize) -> Result<()> {
        self.load.progress(GOES_ON, Some(shard), PATIENCE).await
    }

    /// How long a shard's writes have been silent at most since `from`.
    pub(super) fn silent_since(&self, shard: usize, from: Duration) -> Duration {
        silent(&self.load.writes(), shard, from, self.load.now())
    }

    /// Notes that the shards a node leads are about to lose their primary.
    pub(super) async fn will_lose(&mut self, node: &str) -> Result<Vec<u32>> {
        let led = self.view().await?.led_by(node);
        for shard in &led {
            self.hit.insert(usize::try_from(*shard)?);
        }
        Ok(led)
    }

    /// A client of the first router.
    pub(super) fn client(&self) -> Result<Client> {
        let (_, client) = self.target.routers().into_iter().next().ok_or("there is no router")?;
        Ok(client)
    }

    /// Asks a node to lead a shard, and waits until it does.
    pub(super) async fn promote(&mut self, shard: usize, node: &str) -> Result<()> {
        self.hit.insert(shard);
        let client = self.client()?;
        let until = Instant::now() + PATIENCE;
        loop {
            let asked =
                client.post("/v1/_replication/promote", json!({"shard": shard, "node": node}).to_string()).await;
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(2) {
                if self.primary_of(shard).await? == node {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
            if Instant::now() >= until {
                let answer = asked.map_or_else(|failure| failure.to_string(), |reply| reply.text());
                return Err(format!("{node} does not come to lead shard {shard}: {answer}").into());
            }
        }
    }
}
