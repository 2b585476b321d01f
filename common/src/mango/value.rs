//! A JSON value in memory, for comparing and for taking apart. Members keep their order, which comparison looks at.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiter::{Jiter, Peek};

use super::number::Number;

/// Containers inside each other at most. Documents are let in far flatter; this bounds the stack for any text.
pub const DEPTH_MAX: usize = 250;

/// A JSON value; strings and numbers without escapes are slices of its text.
#[derive(Debug, Clone)]
pub enum Value<'t> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number<'t>),
    /// A string, unescaped.
    String(Cow<'t, str>),
    /// An array.
    Array(Vec<Value<'t>>),
    /// An object, its members in order.
    Object(Vec<(Cow<'t, str>, Value<'t>)>),
}

/// Text that is no JSON, or nested too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl<'t> Value<'t> {
    /// Reads a value. Of members with one name the last counts.
    pub fn parse(text: &'t [u8]) -> Result<Self, Unreadable> {
        std::str::from_utf8(text).map_err(|_| Unreadable)?;
        let mut tokens = Jiter::new(text);
        let peek = tokens.peek().map_err(|_| Unreadable)?;
        let value = read(&mut tokens, text, peek, DEPTH_MAX)?;
        tokens.finish().map_err(|_| Unreadable)?;
        Ok(value)
    }

    /// The same value, independent of the text it was read from.
    pub fn into_owned(self) -> Value<'static> {
        let owned = |text: Cow<'t, str>| Cow::Owned(text.into_owned());
        match self {
            Value::Null => Value::Null,
            Value::Bool(truth) => Value::Bool(truth),
            Value::Number(number) => Value::Number(number.into_owned()),
            Value::String(text) => Value::String(owned(text)),
            Value::Array(items) => Value::Array(items.into_iter().map(Value::into_owned).collect()),
            Value::Object(members) => {
                Value::Object(members.into_iter().map(|(name, value)| (owned(name), value.into_owned())).collect())
            }
        }
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Value<'t>> {
        match self {
            Value::Object(members) => members.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// CouchDB's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        }
    }

    /// Whether two values are the same term: other than in comparing, `1` is not `1.0` and strings are their letters.
    pub fn is_same(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a.is_integer() == b.is_integer() && a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_same(b)),
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|((n, a), (m, b))| n == m && a.is_same(b))
            }
            _ => false,
        }
    }

    /// Appends the value's JSON text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
            Value::Number(number) => out.extend_from_slice(number.text().as_bytes()),
            Value::String(text) => write_string(out, text),
            Value::Array(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    separate(out, at);
                    item.write(out);
                }
                out.push(b']');
            }
            Value::Object(members) => {
                out.push(b'{');
                for (at, (name, value)) in members.iter().enumerate() {
                    separate(out, at);
                    write_string(out, name);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// The value's JSON text.
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write(&mut out);
        String::from_utf8(out).expect("strings and numbers are text, and so is what stands between them")
    }
}

/// Appends a JSON string.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string becomes JSON, and a vector takes it");
}

fn separate(out: &mut Vec<u8>, at: usize) {
    if at > 0 {
        out.push(b',');
    }
}

fn read<'t>(tokens: &mut Jiter<'t>, text: &'t [u8], peek: Peek, depth: usize) -> Result<Value<'t>, Unreadable> {
    let start = tokens.current_index();
    let refused = |_| Unreadable;
    Ok(match peek {
        Peek::Null => tokens.known_null().map(|()| Value::Null).map_err(refused)?,
        Peek::True | Peek::False => Value::Bool(tokens.known_bool(peek).map_err(refused)?),
        Peek::String => {
            tokens.known_bytes().map_err(refused)?;
            Value::String(unquote(&text[start..tokens.current_index()]))
        }
        Peek::Array => Value::Array(read_array(tokens, text, depth)?),
        Peek::Object => Value::Object(read_object(tokens, text, depth)?),
        _ => {
            tokens.known_number_bytes(peek).map_err(refused)?;
            let digits = std::str::from_utf8(&text[start..tokens.current_index()]).map_err(|_| Unreadable)?;
            Value::Number(Number::new(digits))
        }
    })
}

fn read_array<'t>(tokens: &mut Jiter<'t>, text: &'t [u8], depth: usize) -> Result<Vec<Value<'t>>, Unreadable> {
    let depth = depth.checked_sub(1).ok_or(Unreadable)?;
    let mut items = Vec::new();
    let mut next = tokens.known_array().map_err(|_| Unreadable)?;
    while let Some(peek) = next {
        items.push(read(tokens, text, peek, depth)?);
        next = tokens.array_step().map_err(|_| Unreadable)?;
    }
    Ok(items)
}

type Members<'t> = Vec<(Cow<'t, str>, Value<'t>)>;

fn read_object<'t>(tokens: &mut Jiter<'t>, text: &'t [u8], depth: usize) -> Result<Members<'t>, Unreadable> {
    let depth = depth.checked_sub(1).ok_or(Unreadable)?;
    let mut members: Members<'t> = Vec::new();
    let mut before = tokens.current_index();
    let mut next = tokens.next_object_bytes().map_err(|_| Unreadable)?.map(<[u8]>::len);
    while let Some(length) = next {
        let name = key(text, before, length);
        let peek = tokens.peek().map_err(|_| Unreadable)?;
        let value = read(tokens, text, peek, depth)?;
        members.push((name, value));
        before = tokens.current_index();
        next = tokens.next_key_bytes().map_err(|_| Unreadable)?.map(<[u8]>::len);
    }
    keep_last(&mut members);
    Ok(members)
}

/// Of members with one name keeps the last one's value, in the place of the first.
fn keep_last(members: &mut Members<'_>) {
    // Documents have no name twice, requests rarely: a look at the sorted names is all that is usually needed.
    let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    if names.windows(2).all(|pair| pair[0] != pair[1]) {
        return;
    }
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut kept: Members<'_> = Vec::with_capacity(members.len());
    for (name, value) in members.drain(..) {
        match places.entry(name.to_string()) {
            Entry::Occupied(place) => kept[*place.get()].1 = value,
            Entry::Vacant(place) => {
                place.insert(kept.len());
                kept.push((name, value));
            }
        }
    }
    *members = kept;
}

/// The key whose raw text has `length` bytes and whose quote is the first one behind `before`.
pub(super) fn key(text: &[u8], before: usize, length: usize) -> Cow<'_, str> {
    let start = before + text[before..].iter().take_while(|&&byte| byte != b'"').count();
    unquote(&text[start..start + length + 2])
}

/// The text of a JSON string that was checked. Half of a surrogate pair, which no text can have, becomes U+FFFD.
pub(super) fn unquote(quoted: &[u8]) -> Cow<'_, str> {
    let raw = &quoted[1..quoted.len() - 1];
    if !raw.contains(&b'\\') {
        return String::from_utf8_lossy(raw);
    }
    match serde_json::from_slice(quoted) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Owned(unescape_lossy(&String::from_utf8_lossy(raw))),
    }
}

fn unescape_lossy(raw: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(raw.len());
    let mut buffer = [0u16; 2];
    let mut chars = raw.chars();
    while let Some(char) = chars.next() {
        let plain = match char {
            '\\' => match chars.next() {
                Some('u') => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).unwrap_or(0xfffd));
                    continue;
                }
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(other) => other,
                None => continue,
            },
            other => other,
        };
        units.extend_from_slice(plain.encode_utf16(&mut buffer));
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> String {
        Value::parse(text.as_bytes()).expect("JSON").to_json()
    }

    #[test]
    fn values_come_back_as_written_but_for_spaces_and_escapes() {
        assert_eq!(
            round(r#" {"b": [1, 1.50, 1e3, true, null], "a": {"x": "\u00e9\n"}} "#),
            r#"{"b":[1,1.50,1e3,true,null],"a":{"x":"é\n"}}"#
        );
        assert_eq!(round(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
        assert_eq!(round("{}"), "{}");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "[1,]", "{\"a\":}", "nul", "1 2", "\"a", "{\"a\":1,}"] {
            assert_eq!(Value::parse(text.as_bytes()).err(), Some(Unreadable), "{text}");
        }
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Value::parse(deep(DEPTH_MAX).as_bytes()).is_ok());
        assert!(Value::parse(deep(DEPTH_MAX + 1).as_bytes()).is_err());
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced() {
        assert_eq!(unquote(br#""a\ud800\n\"b""#), "a\u{fffd}\n\"b");
        assert_eq!(unquote(br#""\ud83d\ude00""#), "😀");
    }

    #[test]
    fn same_is_stricter_than_equal() {
        let value = |text: &'static str| Value::parse(text.as_bytes()).expect("JSON");
        assert!(!value("1").is_same(&value("1.0")));
        assert!(value("[1,\"a\"]").is_same(&value("[1,\"a\"]")));
        assert!(!value("{\"a\":1}").is_same(&value("{\"b\":1}")));
    }
}
