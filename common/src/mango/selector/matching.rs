//! Whether a document matches a selector.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::super::collate::{compare, compare_ids};
use super::super::path::{Found, Path};
use super::super::value::Value;
use super::{Comparison, Field, Node, Test};

/// Something a selector can be put to, read no further than it must be.
pub trait Subject {
    /// What stands where a path leads.
    fn find(&self, path: &Path) -> Found<'_, '_>;

    /// The whole of it, special members included.
    fn whole(&self) -> Cow<'_, Value<'_>>;
}

impl Subject for Value<'_> {
    fn find(&self, path: &Path) -> Found<'_, '_> {
        path.find(self)
    }

    fn whole(&self) -> Cow<'_, Value<'_>> {
        Cow::Borrowed(self)
    }
}

/// How values are compared: a document's id otherwise than all else.
type Order = fn(&Value<'_>, &Value<'_>) -> Ordering;

impl Node {
    pub(super) fn matches_document(&self, document: &dyn Subject) -> bool {
        match self {
            Node::All => true,
            Node::And(all) => all.iter().all(|node| node.matches_document(document)),
            // An empty list asks for nothing.
            Node::Or(any) => any.is_empty() || any.iter().any(|node| node.matches_document(document)),
            Node::Not(node) => !node.matches_document(document),
            Node::Field(Field { path: Some(path), .. }, condition) => {
                condition.matches_found(document.find(path), path)
            }
            Node::Field(Field { path: None, .. }, condition) => condition.matches_value(&document.whole(), compare),
            Node::Test(test) => test.matches(&document.whole(), compare),
        }
    }

    fn matches_value(&self, value: &Value<'_>, order: Order) -> bool {
        match self {
            Node::All => true,
            Node::And(all) => all.iter().all(|node| node.matches_value(value, order)),
            Node::Or(any) => any.is_empty() || any.iter().any(|node| node.matches_value(value, order)),
            Node::Not(node) => !node.matches_value(value, order),
            Node::Field(Field { path: Some(path), .. }, condition) => condition.matches_found(path.find(value), path),
            Node::Field(Field { path: None, .. }, condition) => condition.matches_value(value, order),
            Node::Test(test) => test.matches(value, order),
        }
    }

    fn matches_found(&self, found: Found<'_, '_>, path: &Path) -> bool {
        match found {
            Found::Value(value) => {
                let order = if path.is_member("_id") { compare_ids } else { compare };
                self.matches_value(value, order)
            }
            Found::Missing => matches!(self, Node::Test(Test::Exists(false))),
            // What cannot be there is not missing either: CouchDB's answer, and an index's.
            Found::NoWay => false,
        }
    }
}

impl Test {
    fn matches(&self, value: &Value<'_>, order: Order) -> bool {
        match (self, value) {
            (Test::Compare(comparison, argument), _) => comparison.holds(order(value, argument)),
            (Test::In(list), _) => is_in(value, list, order),
            (Test::NotIn(list), _) => !is_in(value, list, order),
            (Test::Exists(exists), _) => *exists,
            (Test::Type(name), _) => **name == *value.type_name(),
            (Test::Mod { divisor, rest }, Value::Number(number)) => {
                let remainder = number.remainder(*divisor);
                remainder.is_some_and(|remainder| rest.as_i64() == Some(remainder))
            }
            (Test::Regex(regex), Value::String(text)) => regex.is_match(text),
            (Test::BeginsWith(beginning), Value::String(text)) => text.starts_with(&**beginning),
            (Test::Size(size), Value::Array(items)) => {
                size.as_i64().is_some_and(|size| usize::try_from(size) == Ok(items.len()))
            }
            (Test::AllOf(list), Value::Array(items)) => has_all(items, list),
            (Test::Element(node), Value::Array(items)) => items.iter().any(|item| node.matches_value(item, compare)),
            (Test::Elements(node), Value::Array(items)) => {
                !items.is_empty() && items.iter().all(|item| node.matches_value(item, compare))
            }
            (Test::Key(node), Value::Object(members)) => {
                members.iter().any(|(name, _)| node.matches_value(&Value::String(Cow::Borrowed(name)), compare))
            }
            _ => false,
        }
    }
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::GreaterOrEqual => order.is_ge(),
            Comparison::Greater => order.is_gt(),
        }
    }
}

/// An array is in a list when one of its elements is.
fn is_in(value: &Value<'_>, list: &[Value<'_>], order: Order) -> bool {
    let equals_one = |value: &Value<'_>| list.iter().any(|argument| order(value, argument).is_eq());
    match value {
        Value::Array(items) => items.iter().any(equals_one),
        value => equals_one(value),
    }
}

fn has_all(items: &[Value<'_>], list: &[Value<'_>]) -> bool {
    let has = |wanted: &Value<'_>| items.iter().any(|item| item.is_same(wanted));
    // A single list in the list may also be the whole array.
    let is_whole = || match list {
        [Value::Array(whole)] => {
            whole.len() == items.len() && whole.iter().zip(items).all(|(wanted, item)| item.is_same(wanted))
        }
        _ => false,
    };
    !list.is_empty() && (list.iter().all(has) || is_whole())
}
