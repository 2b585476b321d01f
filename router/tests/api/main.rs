//! The HTTP API on whole clusters in this process.
//!
//! Against what a real CouchDB 3.5.0 answered: `script.txt` is replayed on a cluster of one shard in this
//! process, status, headers and body compared. Where we differ on purpose the script says `# differs:` and why.
//!
//! `script-errors.txt` is about what is refused. `transcript` and `errors` hold both scripts against all that was
//! recorded of CouchDB, so that nothing of it is forgotten.
//!
//! `UPDATE=1` rewrites the answers in the script; the difference is then read by a person.

mod attachments;
mod auth;
mod cluster;
mod dashboard;
mod documents;
mod errors;
mod feeds;
mod mango;
mod openapi;
mod partitions;
mod replicator;
mod scatter;
mod script;
mod transcript;
mod validation;
mod view_indexes;
mod views;

use cluster::TestCluster;
use script::{Script, text_of};

/// Replays a script on a cluster of its own.
async fn replay(file: &str) {
    let text = text_of(file);
    let cluster = TestCluster::start(1, 1).await;
    cluster.replicates();
    let mut script = Script::parse(&text);
    let mut seen = Vec::new();
    for step in &mut script.steps {
        let answer = cluster.ask(&step.request(&seen)).await;
        seen.extend(answer.written());
        step.got = Some(answer.shown());
    }
    cluster.end().await;
    if std::env::var_os("UPDATE").is_some() {
        let path = format!("{}/tests/api/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, script.to_text()).expect("the script is written");
        return;
    }
    for step in &script.steps {
        assert_eq!(step.got.as_deref(), Some(step.wanted.as_str()), "{}", step.title);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn couchdbs_answers_are_reproduced() {
    replay("script.txt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_in_couchdbs_words() {
    replay("script-errors.txt").await;
}
