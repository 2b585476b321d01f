//! A writer: makes, changes and deletes documents of a small set, and remembers what was acknowledged.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Stubborn;

/// Revisions that a server has acknowledged: ids and revisions.
pub type Acknowledged = Vec<(String, String)>;

/// Writes to one database until told to stop.
#[derive(Debug)]
pub struct Writer {
    /// Where.
    pub at: Stubborn,
    /// How many documents there are; other writers write them as well.
    pub documents: usize,
    /// Between two writes.
    pub pause: Duration,
    /// Whether some documents get attachments.
    pub attachments: bool,
    /// Chooses.
    pub seed: u64,
}

impl Writer {
    /// Writes until told to stop; what was acknowledged, and how many writes were refused or not answered.
    pub async fn run(self, stop: CancellationToken) -> (Acknowledged, usize) {
        let mut random = StdRng::seed_from_u64(self.seed);
        let (mut acknowledged, mut failed) = (Vec::new(), 0);
        let mut number = 0_usize;
        while !stop.is_cancelled() {
            number += 1;
            let id = format!("d{:03}", random.random_range(0..self.documents));
            let path = format!("/{id}");
            let current = self.at.once(number, Method::GET, &path, None).await;
            let mut doc = match current {
                Ok(reply) if reply.status == 200 => reply.json(),
                Ok(reply) if reply.status == 404 => json!({}),
                _ => {
                    failed += 1;
                    continue;
                }
            };
            doc["by"] = json!(self.seed);
            doc["number"] = json!(number);
            match random.random_range(0..20) {
                0 if doc["_rev"].is_string() => doc["_deleted"] = json!(true),
                1..=4 if self.attachments => attach(&mut doc, &mut random),
                _ => {}
            }
            match self.at.once(number, Method::PUT, &path, Some(&doc)).await {
                Ok(reply) if reply.status.is_success() => acknowledged.push((id, reply.field("rev"))),
                // Somebody else was faster, which is no failure.
                Ok(reply) if reply.status == 409 => {}
                _ => failed += 1,
            }
            tokio::time::sleep(self.pause).await;
        }
        (acknowledged, failed)
    }
}

/// Gives a document an attachment of its own.
pub(super) fn attach(doc: &mut Value, random: &mut StdRng) {
    let mut bytes = vec![0; random.random_range(1..20_000)];
    random.fill_bytes(&mut bytes);
    let data = BASE64_STANDARD.encode(bytes);
    let name = format!("a{}", random.random_range(0..2));
    doc["_attachments"][name] = json!({ "content_type": "application/octet-stream", "data": data });
}
