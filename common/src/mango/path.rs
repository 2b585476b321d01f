//! Names of fields: `a.b.0` goes into objects by name and into arrays by place; `\.` is a dot in a name.

use std::borrow::Cow;

use super::error::Error;
use super::value::Value;

/// Where a field stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Box<str>>);

/// What stands where a path leads.
#[derive(Debug, Clone, Copy)]
pub enum Found<'v, 't> {
    /// This.
    Value(&'v Value<'t>),
    /// Nothing: an object on the way has no such member.
    Missing,
    /// Nothing, and nothing could: the way goes through what has no members, or not that many.
    NoWay,
}

impl Path {
    /// Reads a field's name.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let mut parts = vec![String::new()];
        let mut escaped = false;
        for char in name.chars() {
            let part = parts.last_mut().expect("there is one from the start");
            match char {
                '\\' => escaped = true,
                '.' if !escaped => parts.push(String::new()),
                other => {
                    part.push(other);
                    escaped = false;
                }
            }
        }
        if parts.iter().any(String::is_empty) {
            return Err(Error::FieldName(name.to_owned()));
        }
        Ok(Self(parts.into_iter().map(String::into_boxed_str).collect()))
    }

    /// The member of the document that the path goes into.
    pub fn root(&self) -> &str {
        &self.0[0]
    }

    /// Whether this is one member of the document alone.
    pub fn is_member(&self, name: &str) -> bool {
        matches!(self.0.as_slice(), [only] if **only == *name)
    }

    /// What stands where the path leads, from `value` on.
    pub fn find<'v, 't>(&self, value: &'v Value<'t>) -> Found<'v, 't> {
        walk(value, &self.0)
    }

    /// What stands where the path leads, `member` being its root.
    pub fn find_in<'v, 't>(&self, member: &'v Value<'t>) -> Found<'v, 't> {
        walk(member, &self.0[1..])
    }

    /// Puts `value` where the path leads, and the objects on the way that are not there.
    pub fn set<'t>(&self, object: &mut Vec<(Cow<'t, str>, Value<'t>)>, value: Value<'t>) {
        put(object, &self.0, value);
    }
}

fn walk<'v, 't>(value: &'v Value<'t>, way: &[Box<str>]) -> Found<'v, 't> {
    let Some((name, rest)) = way.split_first() else { return Found::Value(value) };
    match value {
        Value::Object(_) => value.get(name).map_or(Found::Missing, |member| walk(member, rest)),
        Value::Array(items) => {
            let item = place(name).and_then(|place| items.get(place));
            item.map_or(Found::NoWay, |item| walk(item, rest))
        }
        _ => Found::NoWay,
    }
}

/// A place in an array. As Erlang reads integers: with a sign, and zeros in front.
fn place(name: &str) -> Option<usize> {
    let digits = name.strip_prefix(['+', '-']).unwrap_or(name);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = if plain { digits.parse().ok()? } else { return None };
    if name.starts_with('-') && number != 0 { None } else { Some(number) }
}

fn put<'t>(object: &mut Vec<(Cow<'t, str>, Value<'t>)>, way: &[Box<str>], value: Value<'t>) {
    let Some((name, rest)) = way.split_first() else { return };
    let at = object.iter().position(|(known, _)| **known == **name);
    match (at, rest.is_empty()) {
        (Some(at), true) => object[at].1 = value,
        (Some(at), false) => {
            // What an earlier field put there and is no object stays: two fields ask for two shapes of one place.
            if let Value::Object(inner) = &mut object[at].1 {
                put(inner, rest, value);
            }
        }
        (None, _) => {
            let mut inner = Vec::new();
            let member = if rest.is_empty() {
                value
            } else {
                put(&mut inner, rest, value);
                Value::Object(inner)
            };
            object.push((Cow::Owned(name.to_string()), member));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(name: &str) -> Result<Vec<String>, Error> {
        Path::parse(name).map(|path| path.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn names_are_split_at_plain_dots() {
        assert_eq!(parts("a.b\\.c.0"), Ok(vec!["a".to_owned(), "b.c".to_owned(), "0".to_owned()]));
        for name in ["", ".", "a.", ".a", "a..b"] {
            assert_eq!(parts(name), Err(Error::FieldName(name.to_owned())), "{name}");
        }
    }

    #[test]
    fn a_path_goes_into_objects_and_arrays() {
        let doc = Value::parse(br#"{"a":{"b":[10,{"c":null}]},"a.b":2}"#).expect("JSON");
        let shown = |name: &str| match Path::parse(name).expect("a name").find(&doc) {
            Found::Value(value) => value.to_json(),
            Found::Missing => "missing".to_owned(),
            Found::NoWay => "no way".to_owned(),
        };
        for (name, found) in [
            ("a.b.0", "10"),
            ("a.b.+1.c", "null"),
            ("a.b.-0", "10"),
            ("a.b.1.d", "missing"),
            ("a.b.2", "no way"),
            ("a.b.x", "no way"),
            ("a.b.0.x", "no way"),
            ("x.y", "missing"),
            ("a\\.b", "2"),
        ] {
            assert_eq!(shown(name), found, "{name}");
        }
    }

    #[test]
    fn fields_are_put_into_the_objects_they_came_from() {
        let mut object = Vec::new();
        for (name, value) in
            [("b.c", Value::Null), ("a", Value::Bool(true)), ("b.d.e", Value::Null), ("a.x", Value::Null)]
        {
            Path::parse(name).expect("a name").set(&mut object, value);
        }
        assert_eq!(Value::Object(object).to_json(), r#"{"b":{"c":null,"d":{"e":null}},"a":true}"#);
    }
}
