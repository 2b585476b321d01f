//! What a selector says of one field: the range its value must be in.
//!
//! Seen through `$and` alone. Two ranges are kept. The one that is shown is CouchDB's. The one that is read is never
//! narrower than the selector: every value that matches is in it.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::collate::{compare, compare_ids};
use super::selector::{Comparison, Node, Selector, Test};
use super::value::Value;

/// One end of a range.
#[derive(Debug, Clone)]
pub struct End {
    /// Where it is.
    pub value: Value<'static>,
    /// Whether the value itself is in the range.
    pub inclusive: bool,
}

/// From one value to another; `None` is no end.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// The low end.
    pub low: Option<End>,
    /// The high end.
    pub high: Option<End>,
    /// Whether nothing can be in it.
    pub empty: bool,
}

/// What a selector says of one field.
#[derive(Debug, Clone, Default)]
pub struct FieldRange {
    /// The field's name, as the selector has it.
    pub field: Box<str>,
    /// As CouchDB explains it.
    pub shown: Range,
    /// As it is read.
    pub read: Range,
    /// Text the value must begin with.
    pub beginnings: Vec<Box<str>>,
}

/// The fields a selector narrows, in the order of their names.
pub fn ranges(selector: &Selector) -> Vec<FieldRange> {
    let mut fields = Vec::new();
    add_indexable(selector.node(), &mut fields);
    fields.sort_unstable();
    fields.dedup();
    fields.into_iter().map(|field| range(selector, field)).collect()
}

/// The names of the fields that an index could narrow.
pub fn indexable(selector: &Selector) -> Vec<&str> {
    let mut fields = Vec::new();
    add_indexable(selector.node(), &mut fields);
    fields.sort_unstable();
    fields.dedup();
    fields
}

fn add_indexable<'s>(node: &'s Node, fields: &mut Vec<&'s str>) {
    match node {
        Node::And(all) => all.iter().for_each(|node| add_indexable(node, fields)),
        Node::Field(field, condition) if is_indexable(condition) => fields.push(&field.name),
        _ => {}
    }
}

fn is_indexable(condition: &Node) -> bool {
    match condition {
        Node::Test(Test::Compare(comparison, _)) => *comparison != Comparison::NotEqual,
        Node::Test(Test::BeginsWith(_) | Test::Exists(_)) => true,
        _ => false,
    }
}

fn range(selector: &Selector, field: &str) -> FieldRange {
    let mut range = FieldRange { field: field.into(), ..FieldRange::default() };
    // Ids are matched by their bytes, whatever an index sorts by.
    let order = if field == "_id" { compare_ids } else { compare };
    narrow(selector.node(), &mut range, order);
    range
}

fn narrow(node: &Node, range: &mut FieldRange, order: Order) {
    match node {
        Node::And(all) => all.iter().for_each(|node| narrow(node, range, order)),
        Node::Field(field, condition) if field.name == range.field => match &**condition {
            Node::Test(Test::Compare(comparison, value)) => {
                range.shown.narrow(*comparison, value, compare);
                range.read.narrow(*comparison, value, order);
            }
            Node::Test(Test::BeginsWith(beginning)) => {
                let low = Value::String(Cow::Owned(beginning.to_string()));
                let high = Value::String(Cow::Owned(format!("{beginning}\u{ffff}")));
                range.shown.narrow(Comparison::GreaterOrEqual, &low, compare);
                range.shown.narrow(Comparison::LessOrEqual, &high, compare);
                range.beginnings.push(beginning.clone());
            }
            _ => {}
        },
        _ => {}
    }
}

type Order = fn(&Value<'_>, &Value<'_>) -> Ordering;

impl Range {
    fn narrow(&mut self, comparison: Comparison, value: &Value<'static>, order: Order) {
        let end = |inclusive| End { value: value.clone(), inclusive };
        match comparison {
            Comparison::Less => self.lower(end(false), order),
            Comparison::LessOrEqual => self.lower(end(true), order),
            Comparison::Greater => self.raise(end(false), order),
            Comparison::GreaterOrEqual => self.raise(end(true), order),
            Comparison::Equal => {
                self.raise(end(true), order);
                self.lower(end(true), order);
            }
            Comparison::NotEqual => {}
        }
        if let (Some(low), Some(high)) = (&self.low, &self.high) {
            self.empty = match order(&low.value, &high.value) {
                Ordering::Less => false,
                Ordering::Equal => !(low.inclusive && high.inclusive),
                Ordering::Greater => true,
            };
        }
    }

    fn raise(&mut self, end: End, order: Order) {
        let better = self.low.as_ref().is_none_or(|low| match order(&end.value, &low.value) {
            Ordering::Less => false,
            Ordering::Equal => low.inclusive && !end.inclusive,
            Ordering::Greater => true,
        });
        if better {
            self.low = Some(end);
        }
    }

    fn lower(&mut self, end: End, order: Order) {
        let better = self.high.as_ref().is_none_or(|high| match order(&end.value, &high.value) {
            Ordering::Less => true,
            Ordering::Equal => high.inclusive && !end.inclusive,
            Ordering::Greater => false,
        });
        if better {
            self.high = Some(end);
        }
    }

    /// Whether one value alone is in it.
    pub fn is_point(&self) -> bool {
        match (&self.low, &self.high) {
            (Some(low), Some(high)) => low.inclusive && high.inclusive && compare(&low.value, &high.value).is_eq(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let selector = Selector::parse(text.as_bytes()).expect("a selector");
        let end = |end: &Option<End>| {
            end.as_ref().map_or("-".to_owned(), |end| {
                format!("{}{}", end.value.to_json(), if end.inclusive { "=" } else { "" })
            })
        };
        let range = |range: &Range| match range.empty {
            true => "empty".to_owned(),
            false => format!("{}..{}", end(&range.low), end(&range.high)),
        };
        let fields = ranges(&selector).into_iter().map(|field| {
            let (shown, read) = (range(&field.shown), range(&field.read));
            if shown == read { format!("{} {shown}", field.field) } else { format!("{} {shown} ({read})", field.field) }
        });
        fields.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn conditions_on_one_field_narrow_one_range() {
        for (selector, range) in [
            (r#"{"a":1}"#, "a 1=..1="),
            (r#"{"a":{"$gt":1}}"#, "a 1..-"),
            (r#"{"a":{"$gt":1,"$gte":1,"$gte":0}}"#, "a 1..-"),
            (r#"{"a":{"$gte":1,"$lte":5,"$lt":3}}"#, "a 1=..3"),
            (r#"{"a":{"$gte":5,"$lte":5}}"#, "a 5=..5="),
            (r#"{"a":{"$gt":0,"$lt":0}}"#, "a empty"),
            (r#"{"a":{"$gt":0,"$eq":null}}"#, "a empty"),
            (r#"{"a":{"$exists":true}}"#, "a -..-"),
            (r#"{"a":{"$ne":1}}"#, ""),
            (r#"{"b":{"$lte":"x"},"a":{"$gt":null},"$or":[{"c":1}]}"#, "a null..-, b -..\"x\"="),
            (r#"{"a":{"$beginsWith":"x"}}"#, "a \"x\"=..\"x\u{ffff}\"= (-..-)"),
            (r#"{"_id":{"$gt":"B","$lt":"a"}}"#, "_id empty (\"B\"..\"a\")"),
        ] {
            assert_eq!(shown(selector), range, "{selector}");
        }
    }
}
