//! The failover coordinator: when a shard has lost its primary, asks the most advanced replica to campaign.
//!
//! Only asks: `common::failover` decides whom, and the votes decide whether. Repeated while the decision stands,
//! since voters refuse until their lease on the dead primary has run out.

use std::sync::Arc;
use std::time::Duration;

use common::failover::{self, Promotion, Rules};
use common::state::Campaign;
use futures::future::join_all;

use super::members::Members;
use super::probe;

/// Coordinates for ever.
pub(super) async fn run(members: Arc<Members>, rules: Rules, interval: Duration) {
    let mut ticks = tokio::time::interval(interval / 2);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let wanted: Vec<Promotion> =
            members.shards().filter_map(|place| failover::decide(&members.views(place), &rules)).collect();
        join_all(wanted.iter().map(|promotion| ask(&members, promotion, interval))).await;
    }
}

/// Asks one replica, then looks at once what became of it. A refusal is not an error: the next tick decides anew.
async fn ask(members: &Members, promotion: &Promotion, patience: Duration) {
    let Promotion { node, promote } = promotion;
    let Some(transport) = members.transport(node) else { return };
    match tokio::time::timeout(patience, transport.promote(promote)).await {
        Ok(Ok(campaign)) => {
            tracing::info!(shard = %promote.shard, %node, term = %promote.term, ?campaign, "promote");
            if campaign == Campaign::Started
                && let Ok(place) = members.place(promote.shard)
            {
                place.promotions.inc();
            }
        }
        Ok(Err(refusal)) => tracing::info!(shard = %promote.shard, %node, %refusal, "promote was refused"),
        Err(_) => tracing::info!(shard = %promote.shard, %node, "promote was not answered"),
    }
    probe::look(members, node, patience).await;
}
