//! Selectors: what a query asks of a document.
//!
//! Read once, then put to any number of documents. Never fails on a document, whatever is in it.

mod matching;
mod normalize;
#[cfg(test)]
mod tests;

use regex::{Regex, RegexBuilder};

pub use matching::Subject;

use super::erlang::plain;
use super::error::Error;
use super::number::Number;
use super::path::Path;
use super::value::Value;

/// Largest program a regular expression may become, in bytes: a few characters can ask for gigabytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A selector, checked and in normal form.
#[derive(Debug, Clone)]
pub struct Selector {
    normal: Value<'static>,
    node: Node,
}

/// A selector's tree. Fields stand right above the tests they are put to.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Matches everything.
    All,
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Field(Field, Box<Node>),
    Test(Test),
}

/// A field that something is asked of.
#[derive(Debug, Clone)]
pub(super) struct Field {
    /// Its name as it was given; empty for the value itself, inside of `$elemMatch` and the like.
    pub(super) name: Box<str>,
    /// Where it stands; `None` for the value itself.
    pub(super) path: Option<Path>,
}

/// What is asked of one value.
#[derive(Debug, Clone)]
pub(super) enum Test {
    Compare(Comparison, Value<'static>),
    In(Vec<Value<'static>>),
    NotIn(Vec<Value<'static>>),
    Exists(bool),
    Type(Box<str>),
    Mod { divisor: i64, rest: Number<'static> },
    Regex(Regex),
    BeginsWith(Box<str>),
    Size(Number<'static>),
    AllOf(Vec<Value<'static>>),
    Element(Box<Node>),
    Elements(Box<Node>),
    Key(Box<Node>),
}

/// A comparison with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

impl Selector {
    /// Reads a selector as a client writes it.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        Self::of(Value::parse(text).map_err(|_| Error::Json)?)
    }

    /// Takes a selector as a client writes it.
    pub fn of(selector: Value<'_>) -> Result<Self, Error> {
        Self::of_normal(normalize::normalize(selector)?.into_owned())
    }

    /// Reads back what [`Self::to_json`] wrote.
    pub fn parse_normal(text: &[u8]) -> Result<Self, Error> {
        Self::of_normal(Value::parse(text).map_err(|_| Error::Json)?.into_owned())
    }

    fn of_normal(normal: Value<'static>) -> Result<Self, Error> {
        Ok(Self { node: compile(&normal)?, normal })
    }

    /// The selector in normal form.
    pub fn normal(&self) -> &Value<'static> {
        &self.normal
    }

    /// JSON text of the normal form.
    pub fn to_json(&self) -> String {
        self.normal.to_json()
    }

    /// Whether it matches every document.
    pub fn is_all(&self) -> bool {
        matches!(self.node, Node::All)
    }

    /// Whether no document can match, for want of anything that could: `{"$or": []}`, `{"a": {"$in": []}}`.
    pub fn is_none(&self) -> bool {
        // Alone, such a list asks for nothing that is; beside other conditions some of them ask for nothing.
        let alone = match &self.node {
            Node::And(all) | Node::Or(all) => all.is_empty(),
            _ => false,
        };
        alone || self.node.is_never()
    }

    /// Whether the document matches.
    pub fn matches(&self, document: &dyn Subject) -> bool {
        self.node.matches_document(document)
    }

    /// The members of a document that are looked at.
    pub fn roots(&self) -> Vec<Box<str>> {
        let mut roots = Vec::new();
        self.node.add_roots(&mut roots);
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    /// The names of all fields something is asked of, as CouchDB lists them for its explanations.
    pub fn fields(&self) -> Vec<&str> {
        let mut fields = Vec::new();
        self.node.add_fields(&mut fields);
        fields
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }
}

impl Node {
    fn is_never(&self) -> bool {
        match self {
            Node::And(all) => all.iter().any(Node::is_never),
            Node::Or(any) => !any.is_empty() && any.iter().all(Node::is_never),
            Node::Field(_, condition) => condition.is_never(),
            Node::Test(Test::In(list) | Test::AllOf(list)) => list.is_empty(),
            _ => false,
        }
    }

    fn add_roots(&self, roots: &mut Vec<Box<str>>) {
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().for_each(|node| node.add_roots(roots)),
            Node::Not(node) => node.add_roots(roots),
            Node::Field(field, _) => roots.extend(field.path.as_ref().map(|path| path.root().into())),
            Node::All | Node::Test(_) => {}
        }
    }

    fn add_fields<'s>(&'s self, fields: &mut Vec<&'s str>) {
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().for_each(|node| node.add_fields(fields)),
            Node::Not(node) => node.add_fields(fields),
            Node::Field(field, _) => fields.push(&field.name),
            Node::All | Node::Test(_) => {}
        }
    }
}

/// Makes the tree of a selector in normal form.
fn compile(normal: &Value<'static>) -> Result<Node, Error> {
    let members = match normal {
        Value::Object(members) => members,
        other => return Err(Error::BadField(plain(other))),
    };
    match members.as_slice() {
        [] => Ok(Node::All),
        [(name, argument)] if name.starts_with('$') => compile_operator(name, argument),
        [(name, condition)] => {
            let path = if name.is_empty() { None } else { Some(Path::parse(name)?) };
            Ok(Node::Field(Field { name: (&**name).into(), path }, Box::new(compile(condition)?)))
        }
        _ => Err(Error::BadField(plain(normal))),
    }
}

fn compile_operator(name: &str, argument: &Value<'static>) -> Result<Node, Error> {
    let inner = |argument| compile(argument).map(Box::new);
    let all = |items: &[Value<'static>]| items.iter().map(compile).collect::<Result<Vec<Node>, Error>>();
    Ok(match (name, argument) {
        ("$and", Value::Array(items)) => Node::And(all(items)?),
        ("$or", Value::Array(items)) => Node::Or(all(items)?),
        ("$nor", Value::Array(items)) => {
            Node::And(all(items)?.into_iter().map(|node| Node::Not(Box::new(node))).collect())
        }
        ("$not", argument) => Node::Not(inner(argument)?),
        ("$elemMatch", argument) => Node::Test(Test::Element(inner(argument)?)),
        ("$allMatch", argument) => Node::Test(Test::Elements(inner(argument)?)),
        ("$keyMapMatch", argument) => Node::Test(Test::Key(inner(argument)?)),
        (name, argument) => Node::Test(compile_test(name, argument)?),
    })
}

fn compile_test(name: &str, argument: &Value<'static>) -> Result<Test, Error> {
    let compare = |comparison| Test::Compare(comparison, argument.clone());
    Ok(match (name, argument) {
        ("$lt", _) => compare(Comparison::Less),
        ("$lte", _) => compare(Comparison::LessOrEqual),
        ("$eq", _) => compare(Comparison::Equal),
        ("$ne", _) => compare(Comparison::NotEqual),
        ("$gte", _) => compare(Comparison::GreaterOrEqual),
        ("$gt", _) => compare(Comparison::Greater),
        ("$in", Value::Array(list)) => Test::In(list.clone()),
        ("$nin", Value::Array(list)) => Test::NotIn(list.clone()),
        ("$all", Value::Array(list)) => Test::AllOf(list.clone()),
        ("$exists", Value::Bool(exists)) => Test::Exists(*exists),
        ("$type", Value::String(name)) => Test::Type((&**name).into()),
        ("$beginsWith", Value::String(text)) => Test::BeginsWith((&**text).into()),
        ("$size", Value::Number(size)) => Test::Size(size.clone()),
        ("$regex", Value::String(pattern)) => Test::Regex(regex(pattern)?),
        ("$mod", Value::Array(pair)) => division(pair).ok_or_else(|| bad("$mod", argument))?,
        (operator, _) => return Err(Error::Operator(operator.to_owned())),
    })
}

fn division(pair: &[Value<'static>]) -> Option<Test> {
    let [Value::Number(divisor), Value::Number(rest)] = pair else { return None };
    Some(Test::Mod { divisor: divisor.as_i64()?, rest: rest.clone() })
}

/// Linear in the text it is put to. What only a backtracking search can find is refused.
fn regex(pattern: &str) -> Result<Regex, Error> {
    let built = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
    built.map_err(|_| bad("$regex", &Value::String(pattern.into())))
}

fn bad(operator: &'static str, argument: &Value<'_>) -> Error {
    Error::BadArgument { operator, argument: plain(argument) }
}
