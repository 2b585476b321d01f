//! What CouchDB 3.5.0 refused, in `couchdb-errors.txt`: every status, error and reason is given by some step of the
//! scripts, or the line says why it is not.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::script::{Script, text_of};

/// Longer reasons were cut when they were recorded.
const REASON_CHARS_MAX: usize = 140;

/// Status, error and reason.
type Triple = (String, String, String);

/// All that the scripts' answers refuse, rows of bulk answers included.
fn given() -> BTreeSet<Triple> {
    let steps = ["script.txt", "script-errors.txt"].into_iter().flat_map(|file| Script::parse(&text_of(file)).steps);
    let mut given = BTreeSet::new();
    for step in steps {
        let (head, body) = step.wanted.split_once("\n\n").unwrap_or((&step.wanted, ""));
        let status = head.lines().next().unwrap_or_default().to_owned();
        let values = serde_json::Deserializer::from_str(body).into_iter::<Value>().map_while(Result::ok);
        for value in values {
            collect(&status, &value, &mut given);
        }
    }
    given
}

fn collect(status: &str, value: &Value, given: &mut BTreeSet<Triple>) {
    if let (Some(error), Some(reason)) = (value["error"].as_str(), value["reason"].as_str()) {
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        given.insert((status.to_owned(), error.to_owned(), reason));
    }
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(status, value, given)),
        Value::Object(members) => members.values().for_each(|value| collect(status, value, given)),
        _ => {}
    }
}

#[test]
fn what_couchdb_refused_is_refused_alike_or_listed() {
    let given = given();
    let (mut alike, mut missing, mut stale) = (0, Vec::new(), Vec::new());
    // Status, error, reason and, where it cannot be provoked, why; separated by tabs.
    let recorded = text_of("couchdb-errors.txt");
    for line in recorded.lines().filter(|line| !line.starts_with('#')) {
        let mut parts = line.split('\t').map(str::to_owned);
        let mut part = || parts.next().expect("status, error, reason, why");
        let (triple, why) = ((part(), part(), part()), part());
        match (given.contains(&triple), why.is_empty()) {
            (true, true) => alike += 1,
            (true, false) => stale.push(line),
            (false, true) => missing.push(line),
            (false, false) => println!("not refused alike: {line}"),
        }
    }
    println!("{alike} refused alike");
    assert!(missing.is_empty(), "neither given by a script nor listed:\n{}", missing.join("\n"));
    assert!(stale.is_empty(), "given now: take the reason away:\n{}", stale.join("\n"));
}
