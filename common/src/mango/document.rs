//! A stored document as selectors, indexes and projections see it: read no further than it is asked for.
//!
//! One pass over the text finds the members wanted; only those that are then looked at are parsed.

use std::borrow::Cow;
use std::cell::OnceCell;

use jiter::Jiter;

use super::path::{Found, Path};
use super::selector::Subject;
use super::value::{self, Value};
use crate::rev::Rev;

/// Opens documents for those who look at certain members of them.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    roots: Vec<Box<str>>,
}

/// One document, opened.
pub struct Document<'t> {
    reader: &'t Reader,
    json: &'t [u8],
    /// The members wanted that are there, in the reader's order.
    members: Vec<OnceCell<Value<'t>>>,
    raw: Vec<Option<&'t [u8]>>,
    /// Members that are not part of the text: `_id`, `_rev`, perhaps `_conflicts`.
    special: Vec<(&'static str, Value<'t>)>,
}

impl Reader {
    /// For these members; special ones need not be named.
    pub fn new(roots: impl IntoIterator<Item = Box<str>>) -> Self {
        let mut roots: Vec<Box<str>> = roots.into_iter().collect();
        roots.sort_unstable();
        roots.dedup();
        Self { roots }
    }

    /// Opens a document; `json` is its text without special members.
    pub fn open<'t>(&'t self, id: &'t str, rev: &Rev, json: &'t [u8]) -> Document<'t> {
        let special =
            vec![("_id", Value::String(Cow::Borrowed(id))), ("_rev", Value::String(Cow::Owned(rev.to_string())))];
        let raw = pick(json, &self.roots);
        let members = raw.iter().map(|_| OnceCell::new()).collect();
        Document { reader: self, json, members, raw, special }
    }
}

impl<'t> Document<'t> {
    /// Adds a list of revisions under a special name, unless it is empty.
    pub fn add_revs(&mut self, name: &'static str, revs: &[Rev]) {
        if !revs.is_empty() {
            let revs = revs.iter().map(|rev| Value::String(Cow::Owned(rev.to_string()))).collect();
            self.special.push((name, Value::Array(revs)));
        }
    }

    /// Adds what deletions have.
    pub fn add_deleted(&mut self) {
        self.special.push(("_deleted", Value::Bool(true)));
    }

    /// The text of a member as it was written, if the reader was told of it and it is there.
    pub fn raw(&self, root: &str) -> Option<&'t [u8]> {
        let at = self.reader.roots.iter().position(|known| **known == *root)?;
        self.raw.get(at).copied().flatten()
    }

    fn member(&self, root: &str) -> Option<&Value<'t>> {
        if root.starts_with('_')
            && let Some((_, value)) = self.special.iter().find(|(name, _)| *name == root)
        {
            return Some(value);
        }
        let at = self.reader.roots.iter().position(|known| **known == *root)?;
        let text = self.raw[at]?;
        // Bodies were checked before they were stored, so what cannot be parsed is not there to be looked at.
        Some(self.members[at].get_or_init(|| Value::parse(text).unwrap_or(Value::Null)))
    }
}

impl Subject for Document<'_> {
    fn find(&self, path: &Path) -> Found<'_, '_> {
        self.member(path.root()).map_or(Found::Missing, |member| path.find_in(member))
    }

    fn whole(&self) -> Cow<'_, Value<'_>> {
        let mut members: Vec<(Cow<'_, str>, Value<'_>)> =
            self.special.iter().map(|(name, value)| (Cow::Borrowed(*name), value.clone())).collect();
        if let Ok(Value::Object(body)) = Value::parse(self.json) {
            members.extend(body);
        }
        Cow::Owned(Value::Object(members))
    }
}

/// The texts of the members called `names`, in that order. Ends as soon as all are found.
fn pick<'t>(json: &'t [u8], names: &[Box<str>]) -> Vec<Option<&'t [u8]>> {
    let mut picked = vec![None; names.len()];
    let mut missing = names.iter().filter(|name| !name.starts_with('_')).count();
    let mut tokens = Jiter::new(json);
    let mut before = 0;
    let mut next = tokens.next_object_bytes().map(|key| key.map(<[u8]>::len));
    while missing > 0
        && let Ok(Some(length)) = next
    {
        let name = value::key(json, before, length);
        let Ok(peek) = tokens.peek() else { break };
        let start = tokens.current_index();
        if tokens.known_skip(peek).is_err() {
            break;
        }
        if let Some(at) = names.iter().position(|known| **known == *name) {
            picked[at] = Some(&json[start..tokens.current_index()]);
            missing = missing.saturating_sub(1);
        }
        before = tokens.current_index();
        next = tokens.next_key_bytes().map(|key| key.map(<[u8]>::len));
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &[u8] = br#"{"a": 1.50, "b": {"c": [1, "x]}"]}, "\u0064": null, "e": "\"" }"#;

    fn found(document: &Document<'_>, name: &str) -> String {
        match document.find(&Path::parse(name).expect("a name")) {
            Found::Value(value) => value.to_json(),
            Found::Missing => "missing".to_owned(),
            Found::NoWay => "no way".to_owned(),
        }
    }

    #[test]
    fn members_are_found_without_reading_the_rest() {
        let reader = Reader::new(["b", "d", "e", "x"].map(Box::from));
        let rev = Rev::parse("1-a").expect("valid");
        let mut document = reader.open("id", &rev, JSON);
        document.add_revs("_conflicts", &[Rev::parse("2-b").expect("valid")]);
        document.add_revs("_deleted_conflicts", &[]);
        for (name, value) in [
            ("_id", "\"id\""),
            ("_rev", "\"1-a\""),
            ("_conflicts.0", "\"2-b\""),
            ("_deleted_conflicts", "missing"),
            ("b.c.1", "\"x]}\""),
            ("b.c.2", "no way"),
            ("d", "null"),
            ("e", "\"\\\"\""),
            ("x", "missing"),
        ] {
            assert_eq!(found(&document, name), value, "{name}");
        }
        assert_eq!(document.raw("b"), Some(&br#"{"c": [1, "x]}"]}"#[..]));
        let whole = r#"{"_id":"id","_rev":"1-a","_conflicts":["2-b"],"a":1.50,"b":{"c":[1,"x]}"]},"d":null,"e":"\""}"#;
        assert_eq!(document.whole().to_json(), whole);
    }

    #[test]
    fn text_that_is_no_document_has_no_members() {
        let reader = Reader::new(["a"].map(Box::from));
        let rev = Rev::parse("1-a").expect("valid");
        for json in ["", "{", "[1]", "{\"b\":}", "{\"a\""] {
            assert_eq!(found(&reader.open("id", &rev, json.as_bytes()), "a"), "missing", "{json}");
        }
    }
}
