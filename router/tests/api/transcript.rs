//! Every answer of the recorded transcript (`couchdb.txt`: CouchDB 3.5.0) is held against the script's answer to the
//! same question: status, the headers that matter, and the body, to the letter or at least in its shape.
//!
//! A step of the script answers the question of its title, or of the one it names by `# as:`. Where it says
//! `# differs:` it must differ. What is not asked is listed here with the reason.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::script::{Script, Step, text_of};

/// Feeds and lists that change too often for their `ETag` to be kept have none here (README).
const WITHOUT_ETAG: [&str; 3] = ["changes", "uuids", "all_dbs"];

/// What is not asked, and why.
const NOT_ASKED: [(&str, &str); 2] = [
    ("doc attachments=true multipart", "its answer was not recorded"),
    ("too large doc", "what was sent was not recorded; documents may be as large as `limits.body_bytes_max`"),
];

/// An answer as far as it is compared.
struct Answer {
    status: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    /// Reads `status`, header lines, and behind an empty line the body. Only headers that the script shows are kept.
    fn parse(text: &str) -> Self {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default().trim_start_matches("HTTP/1.1 ");
        let status = status.split(' ').next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), plain(value)));
        let headers = headers.map(|(name, value)| match (name.as_str(), value.contains('-')) {
            // A digest is the server's own, a revision is not.
            ("etag", false) => (name, "digest".to_owned()),
            ("etag", true) => (name, "revision".to_owned()),
            _ => (name, value),
        });
        let headers = headers.filter(|(name, _)| crate::script::HEADERS.contains(&name.as_str()));
        Self { status, headers: headers.collect(), body: body.trim().to_owned() }
    }

    fn without_etag(mut self) -> Self {
        self.headers.remove("etag");
        self
    }
}

/// How near one answer comes to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Likeness {
    Letter,
    Shape,
    Different,
}

fn likeness(theirs: &Answer, ours: &Answer) -> Likeness {
    if theirs.status != ours.status || theirs.headers != ours.headers {
        return Likeness::Different;
    }
    if plain(&theirs.body) == plain(&ours.body) {
        return Likeness::Letter;
    }
    let (theirs, ours) = (pieces(&theirs.body), pieces(&ours.body));
    if all_fit(&theirs, &ours) && all_fit(&ours, &theirs) { Likeness::Shape } else { Likeness::Different }
}

/// The text without what is another on every server: hashes, tokens, ids made there, cookies, times, sizes.
fn plain(text: &str) -> String {
    let shown = crate::script::hide_random(text);
    let mut out = String::with_capacity(shown.len());
    for word in shown.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_') {
        let end =
            word.len() - usize::from(!word.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        let (word, mark) = word.split_at(end.min(word.len()));
        out.push_str(&plain_word(word));
        out.push_str(mark);
    }
    out
}

fn plain_word(word: &str) -> String {
    let is_hash = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let is_digest = word.len() > 20 && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    match word.split_once('-') {
        Some((number, hash)) if number.bytes().all(|b| b.is_ascii_digit()) && is_hash(hash) => format!("{number}-hash"),
        Some((number, token)) if number.bytes().all(|b| b.is_ascii_digit()) && token.starts_with("g1A") => {
            format!("{number}-token")
        }
        _ if is_digest || is_hash(word.trim_matches('-')) => "digest".to_owned(),
        _ => word.to_owned(),
    }
}

/// The body as values: one, or one a line.
fn pieces(body: &str) -> Vec<Value> {
    if let Ok(value) = serde_json::from_str(body) {
        return vec![value];
    }
    let lines = body.lines().map(|line| line.trim()).filter(|line| !line.is_empty());
    let lines = lines.map(|line| line.trim_start_matches("data: ").trim_start_matches("id: "));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::String(plain(line)))).collect()
}

/// Whether each of `some` has one among `others` that it fits; to nothing everything fits.
fn all_fit(some: &[Value], others: &[Value]) -> bool {
    others.is_empty() || some.iter().all(|one| others.iter().any(|other| fits(one, other)))
}

fn fits(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => all_fit(one, other) && all_fit(other, one),
        (Value::Object(one), Value::Object(other)) => {
            one.keys().eq(other.keys()) && one.iter().all(|(name, value)| fits(value, &other[name]))
        }
        (Value::String(_), Value::String(_)) | (Value::Number(_), Value::Number(_)) => true,
        (one, other) => one == other,
    }
}

/// Titles and answers: behind `### title` the status line, headers, an empty line, the body.
fn recorded() -> Vec<(String, String)> {
    let text = text_of("couchdb.txt");
    let parts = text.split("\n### ").skip(1);
    let parts = parts.map(|part| part.split_once('\n').expect("an answer follows each title"));
    parts.map(|(title, answer)| (title.to_owned(), answer.to_owned())).collect()
}

/// The step that answers a question.
fn step_for<'s>(script: &'s Script, title: &str) -> Option<&'s Step> {
    script.steps.iter().find(|step| step.answers().any(|answered| answered == title))
}

#[test]
fn what_couchdb_answered_is_answered_or_listed() {
    let script = Script::parse(&text_of("script.txt"));
    let (mut letter, mut shape, mut wrong, mut different) = (0, 0, Vec::new(), Vec::new());
    for (title, answer) in recorded() {
        let Some(step) = step_for(&script, &title) else { continue };
        let (mut theirs, mut ours) = (Answer::parse(&answer), Answer::parse(&step.wanted));
        if WITHOUT_ETAG.iter().any(|start| title.starts_with(start)) {
            (theirs, ours) = (theirs.without_etag(), ours.without_etag());
        }
        match (likeness(&theirs, &ours), step.differs()) {
            (Likeness::Different, Some(reason)) => different.push(format!("{title}: {reason}")),
            (Likeness::Letter, None) => letter += 1,
            (Likeness::Shape, _) => shape += 1,
            (Likeness::Letter, Some(_)) => wrong.push(format!("{title}: says that it differs, and does not")),
            (Likeness::Different, None) => wrong.push(format!("{title}:\n{answer}\n--- ours\n{}", step.wanted)),
        }
    }
    println!("of {} recorded answers {letter} are ours to the letter, {shape} in shape", recorded().len());
    println!("{} differ for a reason:\n  {}", different.len(), different.join("\n  "));
    assert!(wrong.is_empty(), "{} differ for none:\n\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn every_recorded_question_is_asked_or_listed() {
    let script = Script::parse(&text_of("script.txt"));
    let listed = BTreeMap::from(NOT_ASKED);
    let (mut missing, mut asked_too) = (Vec::new(), Vec::new());
    let recorded = recorded();
    for (title, _) in &recorded {
        match (step_for(&script, title).is_some(), listed.get(title.as_str())) {
            (false, Some(reason)) => println!("not asked: {title}: {reason}"),
            (false, None) => missing.push(title),
            (true, Some(_)) => asked_too.push(title),
            (true, None) => {}
        }
    }
    assert!(missing.is_empty(), "not asked and not listed: {missing:?}");
    assert!(asked_too.is_empty(), "asked now: take them from the list: {asked_too:?}");
    let known: BTreeSet<&str> = recorded.iter().map(|(title, _)| title.as_str()).collect();
    assert!(listed.keys().all(|title| known.contains(title)), "a title is listed that was never recorded");
}
