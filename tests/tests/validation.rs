//! Validation functions on real processes: in force through every router from their acknowledgement on, whatever dies.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use harness::Result;
use harness::client::Client;
use harness::cluster::Cluster;
use harness::layout::Layout;
use harness::scenario::{kills, scenario};
use http::HeaderName;
use serde_json::{Value, json};

const DB: &str = "facts";
const DDOC: &str = "/facts/_design/rule";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Documents written to see a rule: every shard has some of them.
const SEEN: u32 = 12;

fn ensure(fact: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    if fact { Ok(()) } else { Err(otherwise().into()) }
}

/// Allows no document whose `n` is below `floor`.
fn rule(floor: u64, rev: Option<&str>) -> String {
    let text = format!("function (doc) {{ if (doc.n < {floor}) throw({{forbidden: 'below {floor}'}}) }}");
    json!({ "_rev": rev, "validate_doc_update": text }).to_string().replace("\"_rev\":null,", "")
}

/// Every new document with this number is answered so.
async fn all_answer(client: &Client, prefix: &str, n: u64, expected: u16) -> Result<()> {
    for at in 0..SEEN {
        let reply = client.put(&format!("/{DB}/{prefix}-{at}"), json!({ "n": n }).to_string()).await?;
        ensure(reply.status == expected, || format!("{prefix}-{at} with {n}: {} {}", reply.status, reply.text()))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_one_router_acknowledged_holds_through_the_other_at_once_and_its_removal_too() {
    scenario(Layout::three(3).routers(2), async |cluster| {
        let routers = cluster.routers();
        routers[0].create_db(DB).await?;
        for round in 0..10 {
            let (one, other) = (&routers[round % 2], &routers[1 - round % 2]);
            let rev = one.put(DDOC, rule(5, None)).await?.expect(201)?.field("rev");
            all_answer(other, &format!("low{round}"), 4, 403).await?;
            all_answer(other, &format!("high{round}"), 5, 201).await?;
            one.delete(&format!("{DDOC}?rev={rev}")).await?.expect(200)?;
            all_answer(other, &format!("low{round}"), 4, 201).await?;
        }
        Ok(())
    })
    .await;
}

/// What the writers and the one who raises the floor tell each other.
#[derive(Default)]
struct Floor {
    acknowledged: AtomicU64,
    begun: AtomicU64,
    over: AtomicBool,
    taken: AtomicU64,
    refused: AtomicU64,
}

impl Floor {
    /// Writes until it is over. Each write knows the floor that was acknowledged before it was sent.
    async fn write(&self, client: Client, writer: usize) -> Result<()> {
        for n in 0.. {
            if self.over.load(Ordering::SeqCst) {
                break;
            }
            let floor = self.acknowledged.load(Ordering::SeqCst);
            let value = (floor + 3).saturating_sub(n % 6);
            let path = format!("/{DB}/w{writer}-{n}");
            // What is known of it after an error is asked again under its name.
            let named = client.clone().with(IDEMPOTENCY_KEY, &format!("w{writer}-{n}"));
            let status = loop {
                let Ok(reply) = named.put(&path, json!({ "n": value }).to_string()).await else { continue };
                match reply.status.as_u16() {
                    503 | 429 => tokio::time::sleep(Duration::from_millis(20)).await,
                    201 | 403 => break reply.status.as_u16(),
                    _ => return Err(format!("{path}: {} {}", reply.status, reply.text()).into()),
                }
            };
            let highest = self.begun.load(Ordering::SeqCst);
            match status {
                201 => ensure(value >= floor, || format!("{path}: {value} was taken above {floor}"))?,
                _ => ensure(value < highest, || format!("{path}: {value} was refused below {highest}"))?,
            }
            (if status == 201 { &self.taken } else { &self.refused }).fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Raises the floor and says so when it is acknowledged.
    async fn raise(&self, client: &Client, to: u64, rev: &mut Option<String>) -> Result<()> {
        self.begun.store(to, Ordering::SeqCst);
        let named = client.clone().with(IDEMPOTENCY_KEY, &format!("floor-{to}"));
        loop {
            let Ok(reply) = named.put(DDOC, rule(to, rev.as_deref())).await else { continue };
            match reply.status.as_u16() {
                201 => {
                    *rev = Some(reply.field("rev"));
                    self.acknowledged.store(to, Ordering::SeqCst);
                    return Ok(());
                }
                503 | 429 => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => return Err(format!("floor {to}: {} {}", reply.status, reply.text()).into()),
            }
        }
    }
}

/// Raises the floor again and again, and kills a primary in between; the last floor.
async fn raise_while_primaries_die(cluster: &mut Cluster, routers: &[Client], floor: &Floor) -> Result<u64> {
    let (mut rev, mut to) = (None, 0);
    for kill in 0..kills(3) {
        let primary = cluster.primary_of(u32::try_from(kill % 3)?).await?;
        for at in 0..12 {
            to += 1;
            floor.raise(&routers[usize::from(to % 2 == 0)], to, &mut rev).await?;
            if at == 5 {
                cluster.kill(&primary);
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        cluster.restart(&primary)?;
        cluster.wait_healthy().await?;
    }
    Ok(to)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_breaks_a_rule_acknowledged_before_it_was_sent_while_primaries_die() {
    scenario(Layout::three(3).routers(2), async |cluster| {
        let routers = cluster.routers();
        routers[0].create_db(DB).await?;
        let floor = Floor::default();
        let writers = join_all((0..6).map(|at| floor.write(routers[at % 2].clone(), at)));
        let raising = async {
            let raised = raise_while_primaries_die(cluster, &routers, &floor).await;
            floor.over.store(true, Ordering::SeqCst);
            raised
        };
        let (last, written) = futures::join!(raising, writers);
        written.into_iter().collect::<Result<Vec<()>>>()?;
        let last = last?;
        let (taken, refused) = (floor.taken.into_inner(), floor.refused.into_inner());
        println!("{last} rules, {taken} writes taken, {refused} refused");
        ensure(taken > 50 && refused > 50, || format!("{taken} taken, {refused} refused"))?;
        // What is stored is what was taken: nothing that was refused has found its way in.
        let rows = routers[1].get(&format!("/{DB}/_all_docs")).await?.expect(200)?.json();
        ensure(rows["total_rows"] == json!(taken + 1), || format!("{taken} taken, {}", rows["total_rows"]))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_outlives_the_restart_of_every_process() {
    scenario(Layout::three(3).routers(2), async |cluster| {
        let one = cluster.router(1);
        one.create_db(DB).await?;
        one.put(DDOC, rule(5, None)).await?.expect(201)?;
        all_answer(&one, "before", 5, 201).await?;
        let names = cluster.names();
        cluster.kill_all(&names);
        for name in &names {
            cluster.restart(name)?;
        }
        cluster.wait_healthy().await?;
        all_answer(&cluster.router(2), "low", 4, 403).await?;
        all_answer(&cluster.router(1), "high", 5, 201).await?;
        let ids: Vec<Value> = (0..SEEN).map(|at| json!({ "_id": format!("bulk-{at}"), "n": at })).collect();
        let docs = json!({ "docs": ids }).to_string();
        let rows = cluster.router(2).post(&format!("/{DB}/_bulk_docs"), docs).await?.expect(201)?.json();
        let refused = rows.as_array().into_iter().flatten().filter(|row| row["error"] == "forbidden").count();
        ensure(refused == 5, || format!("{rows}"))
    })
    .await;
}
