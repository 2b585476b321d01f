//! Query parameters and options of a JSON body, read as CouchDB reads them, with its words when they are wrong.

use std::borrow::Cow;

use common::rev::Rev;
use serde_json::value::RawValue;

use super::error::Error;

/// A request's options: from its query, then from its body. Later ones win.
#[derive(Debug, Default)]
pub(crate) struct Params<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Params<'a> {
    /// Reads a query string. Nothing is allocated when there is none.
    pub(crate) fn of_query(query: Option<&'a str>) -> Self {
        match query {
            None | Some("") => Self(Vec::new()),
            // CouchDB separates by semicolons too.
            Some(query) => Self(query.split(';').flat_map(|part| form_urlencoded::parse(part.as_bytes())).collect()),
        }
    }

    /// Adds the members of a JSON object: strings as text, anything else as its JSON text. Keys stay JSON.
    pub(crate) fn add_body(&mut self, body: &[u8]) -> Result<(), Error> {
        let members: std::collections::BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(body).map_err(|error| match error.classify() {
                serde_json::error::Category::Data => Error::bad("Request body must be a JSON object"),
                _ => Error::bad("invalid UTF-8 JSON"),
            })?;
        for (name, value) in members {
            let raw = value.get();
            let text = if is_json(&name) { None } else { serde_json::from_str::<String>(raw).ok() };
            self.0.push((name.into(), text.unwrap_or_else(|| raw.to_owned()).into()));
        }
        Ok(())
    }

    /// The value of an option.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// `true` or `false`; `default` when it is not there.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, Error> {
        match self.get(name) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(Error::Query(format!("Invalid boolean parameter: {text:?}"))),
        }
    }

    /// Whether an option is `true`; whatever else it says counts as no (the options of reading one document).
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// A number from 0 up.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse::<i128>() {
            Err(_) => Err(Error::Query(format!("Invalid value for integer: {text:?}"))),
            Ok(number) if number < 0 => Err(Error::Query(format!("Invalid value for positive integer: {text:?}"))),
            Ok(number) => Ok(Some(u64::try_from(number).unwrap_or(u64::MAX))),
        }
    }

    /// A revision.
    pub(crate) fn rev(&self, name: &str) -> Result<Option<Rev>, Error> {
        Ok(self.get(name).map(Rev::parse).transpose().map_err(crate::ops::Error::from)?)
    }

    /// JSON of some shape.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let parse = |text| serde_json::from_str(text).map_err(|_| Error::bad("invalid UTF-8 JSON"));
        self.get(name).map(parse).transpose()
    }

    /// JSON under one of several spellings.
    pub(crate) fn json_of<T: serde::de::DeserializeOwned>(&self, names: &[&str]) -> Result<Option<T>, Error> {
        names.iter().find(|name| self.get(name).is_some()).map_or(Ok(None), |name| self.json(name))
    }
}

/// Options whose value is JSON in a query too, so that a string among them keeps its quotes.
fn is_json(name: &str) -> bool {
    matches!(name, "key" | "keys" | "start_key" | "startkey" | "end_key" | "endkey" | "doc_ids" | "selector")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_from_query_and_body() {
        let mut params = Params::of_query(Some("limit=3&key=%22a%20b%22&descending=true&skip=x+y"));
        params.add_body(br#"{"limit": 4, "start_key": "a", "style": "all_docs"}"#).expect("an object");
        assert_eq!(params.number("limit").expect("a number"), Some(4));
        assert_eq!(params.get("key"), Some("\"a b\""));
        assert_eq!(params.get("skip"), Some("x y"));
        assert_eq!(params.get("start_key"), Some("\"a\""));
        assert_eq!(params.get("style"), Some("all_docs"));
        assert!(params.flag("descending", false).expect("a boolean"));
    }

    #[test]
    fn semicolons_separate_options_as_ampersands_do() {
        let params = Params::of_query(Some("limit=2;skip=1&key=%223%3B4%22;"));
        assert_eq!(
            (params.get("limit"), params.get("skip"), params.get("key")),
            (Some("2"), Some("1"), Some("\"3;4\""))
        );
        assert_eq!(params.get(""), None);
    }

    #[test]
    fn wrong_options_are_told_in_couchdbs_words() {
        let params = Params::of_query(Some("limit=abc&skip=-1&descending=maybe&key=%7B&rev=x"));
        let told = |error: Error| error.to_string();
        assert_eq!(told(params.number("limit").expect_err("no number")), "Invalid value for integer: \"abc\"");
        assert_eq!(told(params.number("skip").expect_err("negative")), "Invalid value for positive integer: \"-1\"");
        assert_eq!(
            told(params.flag("descending", false).expect_err("no boolean")),
            "Invalid boolean parameter: \"maybe\""
        );
        assert_eq!(told(params.json::<String>("key").expect_err("no JSON")), "invalid UTF-8 JSON");
        assert_eq!(told(params.rev("rev").expect_err("no revision")), "Invalid rev format");
    }

    #[test]
    fn a_body_must_be_an_object() {
        let mut params = Params::default();
        assert_eq!(params.add_body(b"[1]").expect_err("an array").to_string(), "Request body must be a JSON object");
        assert_eq!(params.add_body(b"{").expect_err("cut").to_string(), "invalid UTF-8 JSON");
    }
}
