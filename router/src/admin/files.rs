//! `check` and `dump-wal`: a node's folder, looked at while the node is not running; and the log of a running shard.

use std::path::Path;

use common::ids::{NodeId, ShardId};
use http_body_util::BodyExt;
use serde_json::json;

use super::Verdict;
use super::client::Router;
use super::error::Error;
use super::output::{Output, bytes};
use crate::offline::check::{Checked, check as check_folder};
use crate::offline::dump::{Wanted, dump};

/// Checks a folder; bad if a replica in it is damaged.
pub(super) fn check(output: &Output, data: &Path) -> Result<Verdict, Error> {
    let report = check_folder(data)?;
    let sound = report.is_sound();
    let value = json!({ "sound": sound, "replicas": report.replicas, "moved_aside": report.moved_aside });
    output.tell(&value, || {
        let mut lines: Vec<String> = report.replicas.iter().map(words).collect();
        let aside = report.moved_aside.iter();
        lines.extend(aside.map(|folder| format!("note: {}: moved aside as damaged, out of use", folder.display())));
        let count = report.replicas.len();
        lines.push(match sound {
            true => format!("sound: {count} replicas checked"),
            false => format!(
                "DAMAGED: what is named above. Start the node: damaged replicas are moved aside and rebuilt from the \
                 others, unless there are none. {count} replicas checked."
            ),
        });
        lines.join("\n")
    })?;
    Ok(if sound { Verdict::Good } else { Verdict::Bad })
}

fn words(replica: &Checked) -> String {
    let number = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let log = replica.log.as_ref().map_or_else(
        || "log not readable".to_owned(),
        |log| {
            let (first, last, size) = (number(log.first), number(log.last), bytes(log.bytes));
            format!("log of {} segments ({size}), entries {first} to {last}", log.segments)
        },
    );
    let engine = replica.engine.as_ref().map_or_else(
        || "no engine".to_owned(),
        |engine| {
            let (applied, size) = (number(engine.applied), bytes(engine.bytes));
            format!("{} applied up to entry {applied}, {} keys ({size})", engine.kind, engine.keys)
        },
    );
    let findings = replica.findings.iter().map(|finding| format!("\n  {finding}"));
    format!("{}: {log}; {engine}{}", replica.folder.display(), findings.collect::<String>())
}

/// Prints the log in a folder, a record a line; bad if some of it is damaged.
pub(super) fn dump_folder(
    output: &Output,
    data: &Path,
    shard: ShardId,
    node: Option<&NodeId>,
    from: Option<u64>,
) -> Result<Verdict, Error> {
    let each = |line: &serde_json::Value| {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        output.raw(&text)
    };
    let damage = dump(&Wanted { data, shard, node, from }, each).map_err(|error| match error {
        crate::offline::Error::Output(error) => Error::Output(error),
        error => Error::Offline(error),
    })?;
    for what in &damage {
        eprintln!("{what}");
    }
    Ok(if damage.is_empty() { Verdict::Good } else { Verdict::Bad })
}

/// Prints committed entries of a running shard, one a line.
pub(super) async fn dump_running(
    router: &Router,
    output: &Output,
    shard: ShardId,
    from: Option<u64>,
    follow: bool,
) -> Result<Verdict, Error> {
    let from = from.unwrap_or(0);
    let path = format!("/v1/_replication/wal?shard={shard}&from={from}&follow={follow}");
    let mut body = router.stream(&path).await?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| router.unreachable(format!("the answer broke off: {error}")))?;
        if let Some(bytes) = frame.data_ref() {
            output.raw(bytes)?;
        }
    }
    Ok(Verdict::Good)
}
