//! The HTTP API on whole clusters in this process.
//!
//! Against what a real CouchDB 3.5.0 answered: `script.txt` is replayed on a cluster of one shard in this
//! process, status, headers and body compared. Where we differ on purpose the script says `# differs:` and why.
//!
//! `UPDATE=1` rewrites the answers in the script; the difference is then read by a person.

mod auth;
mod cluster;
mod dashboard;
mod documents;
mod mango;
mod openapi;
mod partitions;
mod scatter;
mod script;

use cluster::TestCluster;
use script::Script;

#[tokio::test(flavor = "multi_thread")]
async fn couchdbs_answers_are_reproduced() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/script.txt");
    let text = std::fs::read_to_string(path).expect("the script is there");
    let cluster = TestCluster::start(1, 1).await;
    let mut script = Script::parse(&text);
    let mut seen = Vec::new();
    for step in &mut script.steps {
        let answer = cluster.ask(&step.request(&seen)).await;
        seen.extend(answer.written());
        step.got = Some(answer.shown());
    }
    cluster.end().await;
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, script.to_text()).expect("the script is written");
        return;
    }
    for step in &script.steps {
        assert_eq!(step.got.as_deref(), Some(step.wanted.as_str()), "{}", step.title);
    }
}
