//! The script: steps of a title, a request, `---`, and the answer as it is shown.
//!
//! A request is a line `METHOD path`, header lines, and after an empty line the body. `admin: yes` asks the API that
//! has an admin, `user: NAME:PASSWORD` does so as somebody, `lines: N` reads no more than so many lines of an answer
//! that does not end, `crlf: yes` ends the body's lines as parts need it. `${id}` stands for the last revision an answer
//! gave of that document. In answers what is random is shown as `<uuid>`, `<token>`, `<boundary>` and so on.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::cluster::{Answered, Ask};

/// Headers that are compared.
pub(crate) const HEADERS: [&str; 11] = [
    "accept-ranges",
    "allow",
    "content-encoding",
    "content-range",
    "content-security-policy",
    "content-type",
    "etag",
    "location",
    "retry-after",
    "set-cookie",
    "x-quorate-lag",
];

pub(crate) struct Script {
    head: String,
    pub steps: Vec<Step>,
}

pub(crate) struct Step {
    pub title: String,
    asked: String,
    pub wanted: String,
    pub got: Option<String>,
}

/// A file beside the tests, as it is now: an update is seen without compiling.
pub(crate) fn text_of(file: &str) -> String {
    let path = format!("{}/tests/api/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

impl Script {
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts = text.split("### ");
        let head = parts.next().unwrap_or_default().to_owned();
        let steps = parts.map(Step::parse).collect();
        Self { head, steps }
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = self.head.clone();
        for step in &self.steps {
            let got = step.got.as_ref().unwrap_or(&step.wanted);
            write!(text, "### {}\n{}\n---\n{got}\n\n", step.title, step.asked).expect("a string takes it");
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    }
}

impl Step {
    fn parse(text: &str) -> Self {
        let (title, rest) = text.split_once('\n').unwrap_or((text, ""));
        let (asked, wanted) = rest.split_once("\n---").unwrap_or((rest, ""));
        let [title, asked, wanted] = [title, asked, wanted].map(|part| part.trim().to_owned());
        Self { title, asked, wanted, got: None }
    }

    /// The titles of recorded questions that this is: its own, and those it names by `# as:`.
    pub(crate) fn answers(&self) -> impl Iterator<Item = &str> {
        let named = self.asked.lines().filter_map(|line| line.strip_prefix("# as: "));
        std::iter::once(self.title.as_str()).chain(named)
    }

    /// Why the answer is another than CouchDB's.
    pub(crate) fn differs(&self) -> Option<&str> {
        self.asked.lines().find_map(|line| line.strip_prefix("# differs: "))
    }

    /// The request; `seen` are the revisions that earlier answers gave.
    pub(crate) fn request(&self, seen: &[(String, String)]) -> Ask {
        let mut asked = self.asked.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        for (id, rev) in seen.iter().rev() {
            asked = asked.replace(&format!("${{{id}}}"), rev);
        }
        let (head, body) = asked.split_once("\n\n").unwrap_or((&asked, ""));
        let mut lines = head.lines();
        let (method, path) = lines.next().and_then(|line| line.split_once(' ')).expect("METHOD path");
        let mut ask = Ask::new(method, path, body);
        for line in lines {
            let (name, value) = line.split_once(": ").expect("name: value");
            match name {
                "admin" => ask.closed = true,
                "lines" => ask.lines = value.parse().ok(),
                "crlf" => ask.body = body.replace('\n', "\r\n").into_bytes(),
                "user" => {
                    ask.closed = true;
                    ask.headers.push(("authorization".to_owned(), format!("Basic {}", BASE64_STANDARD.encode(value))));
                }
                _ => {
                    ask.headers.retain(|(other, _)| other != name);
                    ask.headers.push((name.to_owned(), value.to_owned()));
                }
            }
        }
        ask
    }
}

impl Answered {
    /// Ids and revisions in the answer to a write.
    pub(crate) fn written(&self) -> Vec<(String, String)> {
        let value: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        let rows = if let Some(rows) = value.as_array() { rows.clone() } else { vec![value] };
        let pair = |row: &serde_json::Value| Some((row["id"].as_str()?.to_owned(), row["rev"].as_str()?.to_owned()));
        rows.iter().filter_map(pair).collect()
    }

    /// The answer as the script shows it.
    pub(crate) fn shown(&self) -> String {
        let mut text = self.response.status().as_u16().to_string();
        for name in HEADERS {
            if let Some(value) = self.response.headers().get(name).and_then(|value| value.to_str().ok()) {
                write!(text, "\n{name}: {value}").expect("a string takes it");
            }
        }
        if !self.body.trim().is_empty() {
            write!(text, "\n\n{}", self.body.replace("\r\n", "\n").trim_end()).expect("a string takes it");
        }
        hide_random(&text)
    }
}

/// Replaces tokens (`12-A…`), ids made here and multipart boundaries; and what stands in `hidden` places.
pub(crate) fn hide_random(text: &str) -> String {
    let mut text = text.to_owned();
    for (before, behind, shown) in HIDDEN {
        let mut from = 0;
        while let Some(start) = text[from..].find(before).map(|at| from + at + before.len()) {
            let end = text[start..].find(behind).map_or(text.len(), |at| start + at);
            // Nothing there is worth to be seen, and so is that there is none.
            let shown =
                if matches!(&text[start..end], "" | "nil") { text[start..end].to_owned() } else { shown.to_owned() };
            text.replace_range(start..end, &shown);
            from = start + shown.len();
        }
    }
    hide_words(&text)
}

/// What stands between two texts, and what is shown of it.
const HIDDEN: [(&str, &str, &str); 3] =
    [("AuthSession=", ";", "<cookie>"), ("; Expires=", ";", "<time>"), ("\"execution_time_ms\":", "}", "0")];

fn hide_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word_end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').unwrap_or(rest.len());
        if word_end == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, behind) = rest.split_at(word_end);
        out.push_str(&shown_word(word));
        rest = behind;
    }
    out
}

fn shown_word(word: &str) -> String {
    let is_hex = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    match word.split_once('-') {
        Some((number, opaque)) if opaque.starts_with('A') && number.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{number}-<token>")
        }
        None if is_hex(word) => "<uuid>".to_owned(),
        Some(("", rest)) if is_hex(rest.trim_matches('-')) => {
            "--<boundary>".to_owned() + if rest.ends_with("--") { "--" } else { "" }
        }
        _ => word.to_owned(),
    }
}
