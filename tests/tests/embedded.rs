//! The embedded mode, as somebody meets it who has just cloned the repository.

use std::process::Command;
use std::time::Duration;

use harness::binaries::binary;
use harness::client::Client;
use harness::embedded::Embedded;
use harness::{HEAVY, Result};
use serde_json::json;

const DOCS: usize = 200;

async fn fill(client: &Client) -> Result<()> {
    client.create_db("kept").await?;
    let docs: Vec<_> = (0..DOCS).map(|n| json!({ "_id": format!("doc-{n}"), "n": n })).collect();
    client.bulk("kept", &docs).await
}

async fn find_all(client: &Client) -> Result<()> {
    for n in 0..DOCS {
        let reply = client.get(&format!("/kept/doc-{n}")).await?.expect(200)?;
        if reply.json()["n"] != n {
            return Err(format!("doc-{n} is {}", reply.text()).into());
        }
    }
    Ok(())
}

async fn stores_ends_and_finds_again(args: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut first = Embedded::start(folder.path(), args).await?;
    let told = first.log();
    for expected in [first.address(), "curl".to_owned(), "data".to_owned()] {
        if !told.contains(&expected) {
            return Err(format!("it does not tell {expected}:\n{told}").into());
        }
    }
    fill(&first.client()).await?;
    find_all(&first.client()).await?;
    let code = first.interrupt().await?;
    if code != Some(0) {
        return Err(format!("Ctrl-C: exit code {code:?}\n{}", first.log()).into());
    }
    let mut second = Embedded::start(folder.path(), args).await?;
    find_all(&second.client()).await?;
    second.process().kill();
    let third = Embedded::start(folder.path(), args).await?;
    find_all(&third.client()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_stores_ends_with_ctrl_c_and_finds_everything_again() {
    let _alone = HEAVY.lock().await;
    stores_ends_and_finds_again(&[]).await.expect("embedded mode");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_is_enough_for_a_small_machine() {
    let _alone = HEAVY.lock().await;
    stores_ends_and_finds_again(&["--replicas", "1"]).await.expect("--replicas 1");
    stores_ends_and_finds_again(&["--shards", "1", "--replicas", "1"]).await.expect("--shards 1 --replicas 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_used_is_refused_in_plain_words() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("data"), "a file").expect("written");
    let mut embedded = Embedded::launch(folder.path(), &[]).expect("launches");
    let ended = embedded.process().ended(Duration::from_secs(20)).await.expect("ours");
    let log = embedded.log();
    assert!(ended.is_some_and(|status| !status.success()), "{ended:?}\n{log}");
    assert!(log.contains("data") && !log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_address_without_an_admin_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut embedded = Embedded::launch(folder.path(), &["--listen", "0.0.0.0:0"]).expect("launches");
    let ended = embedded.process().ended(Duration::from_secs(20)).await.expect("ours");
    assert!(ended.is_some_and(|status| !status.success()), "{ended:?}\n{}", embedded.log());
}

#[test]
fn help_names_every_flag() {
    let flags = [
        ("quorate-router", vec!["--cluster", "--listen", "--data", "--shards", "--replicas"]),
        ("quorate-shard-node", vec!["--cluster", "--node", "--listen", "--data"]),
    ];
    for (name, flags) in flags {
        let output = Command::new(binary(name).expect("built")).arg("--help").output().expect("runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{name} --help: {}", output.status);
        for flag in flags {
            assert!(text.contains(flag), "{name} --help lacks {flag}:\n{text}");
        }
    }
}
