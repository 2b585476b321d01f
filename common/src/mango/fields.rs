//! Which fields of a document a query answers with, and by which fields it sorts.

use super::erlang::{plain, pretty};
use super::error::Error;
use super::path::{Found, Path};
use super::selector::Subject;
use super::value::Value;

/// The fields to answer with.
#[derive(Debug, Clone, Default)]
pub struct Projection {
    /// None for the whole document.
    fields: Vec<(Box<str>, Path)>,
}

impl Projection {
    /// Takes the `fields` of a query.
    pub fn of(fields: &Value<'_>) -> Result<Self, Error> {
        let Value::Array(fields) = fields else { return Err(Error::FieldsNotList(plain(fields))) };
        let field = |field: &Value<'_>| {
            let name = field.as_str().ok_or_else(|| Error::Field(plain(field)))?;
            Ok((name.into(), Path::parse(name)?))
        };
        Ok(Self { fields: fields.iter().map(field).collect::<Result<_, _>>()? })
    }

    /// Takes names that [`Self::names`] gave.
    pub fn of_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, Error> {
        let fields = names.into_iter().map(|name| Ok((name.into(), Path::parse(name)?)));
        Ok(Self { fields: fields.collect::<Result<_, Error>>()? })
    }

    /// Whether the whole document is wanted.
    pub fn is_all(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields' names, as they were given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| &**name)
    }

    /// The members of a document that are looked at.
    pub fn roots(&self) -> impl Iterator<Item = Box<str>> {
        self.fields.iter().map(|(_, path)| path.root().into())
    }

    /// Writes the fields of a document that are there, as an object.
    pub fn write(&self, document: &dyn Subject, out: &mut Vec<u8>) {
        let mut object = Vec::with_capacity(self.fields.len());
        for (_, path) in &self.fields {
            if let Found::Value(value) = document.find(path) {
                path.set(&mut object, value.clone());
            }
        }
        Value::Object(object).write(out);
    }
}

/// Up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Direction {
    /// Lowest first.
    Ascending,
    /// Highest first.
    Descending,
}

impl Direction {
    /// `asc` or `desc`
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Ascending => "asc",
            Direction::Descending => "desc",
        }
    }
}

/// Fields, each with a direction, all in the same one: what a query sorts by, and what an index is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sort(pub Vec<(Box<str>, Direction)>);

impl Sort {
    /// Takes the `sort` of a query or the `fields` of an index.
    pub fn of(sort: &Value<'_>) -> Result<Self, Error> {
        let Value::Array(fields) = sort else { return Err(Error::SortNotList(pretty(sort))) };
        let fields: Vec<(Box<str>, Direction)> = fields.iter().map(field).collect::<Result<_, _>>()?;
        if fields.windows(2).any(|pair| pair[0].1 != pair[1].1) {
            return Err(Error::MixedSort);
        }
        for (name, _) in &fields {
            Path::parse(name)?;
        }
        Ok(Self(fields))
    }

    /// The fields' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Whether it is highest first.
    pub fn is_descending(&self) -> bool {
        self.0.first().is_some_and(|(_, direction)| *direction == Direction::Descending)
    }

    /// `{"a":"asc"}`, as CouchDB keeps them in design documents.
    pub fn as_object(&self) -> Value<'static> {
        Value::Object(self.0.iter().map(member).collect())
    }

    /// `[{"a":"asc"}]`, as CouchDB shows them.
    pub fn as_array(&self) -> Value<'static> {
        Value::Array(self.0.iter().map(|field| Value::Object(vec![member(field)])).collect())
    }
}

fn member((name, direction): &(Box<str>, Direction)) -> (std::borrow::Cow<'static, str>, Value<'static>) {
    (name.to_string().into(), Value::String(direction.as_str().into()))
}

fn field(field: &Value<'_>) -> Result<(Box<str>, Direction), Error> {
    let refused = || Error::SortField(pretty(field));
    match field {
        Value::String(name) if !name.is_empty() => Ok(((&**name).into(), Direction::Ascending)),
        Value::Object(members) => match members.as_slice() {
            [(name, direction)] => Ok(((&**name).into(), direction_of(direction).ok_or_else(refused)?)),
            _ => Err(refused()),
        },
        _ => Err(refused()),
    }
}

/// `asc` or `desc`.
pub(super) fn direction_of(direction: &Value<'_>) -> Option<Direction> {
    match direction.as_str() {
        Some("asc") => Some(Direction::Ascending),
        Some("desc") => Some(Direction::Descending),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value<'_> {
        Value::parse(text.as_bytes()).expect("JSON")
    }

    #[test]
    fn a_projection_keeps_the_shape_of_the_document() {
        let written = |fields: &str| {
            let mut out = Vec::new();
            let document = value(r#"{"_id":"x","a":{"b":1,"c":2.0},"d":[5,6]}"#);
            Projection::of(&value(fields)).expect("fields").write(&document, &mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(r#"["a.c","_id","no","a.b.no"]"#), r#"{"a":{"c":2.0},"_id":"x"}"#);
        assert_eq!(written(r#"["d.1"]"#), r#"{"d":{"1":6}}"#);
        assert!(Projection::of(&value("[]")).expect("fields").is_all());
    }

    #[test]
    fn bad_fields_are_told_in_couchdbs_words() {
        let told = |text: &str| Projection::of(&value(text)).expect_err("refused").to_string();
        assert_eq!(told("true"), "Fields must be an array of strings, not: true");
        assert_eq!(told(r#"["foo",2.0]"#), "Invalid JSON for field spec: 2.0");
        assert_eq!(told(r#"["a..b"]"#), "Invalid field name: a..b");
    }

    #[test]
    fn a_sort_is_one_way() {
        let sort = Sort::of(&value(r#"["a",{"b.c":"asc"}]"#)).expect("a sort");
        assert_eq!(sort.as_array().to_json(), r#"[{"a":"asc"},{"b.c":"asc"}]"#);
        assert!(!sort.is_descending());
        assert!(Sort::of(&value(r#"[{"a":"desc"}]"#)).expect("a sort").is_descending());
        let told = |text: &str| {
            let error = Sort::of(&value(text)).expect_err("refused");
            (error.name(), error.to_string())
        };
        assert_eq!(told("2.0"), ("invalid_sort_json", "Sort must be an array of sort specs, not: 2.0".to_owned()));
        assert_eq!(told("\"bing\"").1, "Sort must be an array of sort specs, not: <<\"bing\">>");
        assert_eq!(told("[\"\"]"), ("invalid_sort_field", "Invalid sort field: <<>>".to_owned()));
        assert_eq!(told(r#"[{"foo":2}]"#).1, "Invalid sort field: {[{<<\"foo\">>,2}]}");
        assert_eq!(told(r#"[{"a":"asc"},{"b":"desc"}]"#).0, "unsupported_mixed_sort");
    }
}
