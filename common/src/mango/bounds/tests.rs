use proptest::prelude::*;

use super::*;
use crate::mango::index::{Definition, Index};
use crate::mango::path::{Found, Path};
use crate::mango::plan::{self, Query};
use crate::mango::testing::{any_document, any_selector};
use crate::mango::{Direction, Projection, Selector, Sort, Subject};

fn index(columns: &[&str]) -> Index {
    let fields = Sort(columns.iter().map(|name| (Box::from(*name), Direction::Ascending)).collect());
    let definition = Definition {
        name: columns.join("-").into(),
        fields,
        partial: None,
        partitioned: None,
        lazy: false,
        shown: "{}".into(),
    };
    Index { ddoc: "_design/d".into(), definition }
}

/// The key of a document's entry, if it has one.
fn entry(index: &Index, document: &Value<'_>) -> Option<Vec<u8>> {
    let paths = index.definition.columns().map(|name| Path::parse(name).expect("a name"));
    let values: Option<Vec<Value<'_>>> = paths
        .map(|path| match document.find(&path) {
            Found::Value(value) => Some(value.clone()),
            Found::Missing | Found::NoWay => None,
        })
        .collect();
    Some(entry_key(None, values?.iter()))
}

fn shown(selector: &str, columns: &[&str], document: &str) -> (bool, bool) {
    let selector = Selector::parse(selector.as_bytes()).expect("a selector");
    let indexes = if columns.is_empty() { vec![] } else { vec![index(columns)] };
    let (sort, projection) = (Sort::default(), Projection::default());
    let query = Query {
        selector: &selector,
        sort: &sort,
        projection: &projection,
        use_index: None,
        allow_fallback: true,
        partition: None,
        partitioned: false,
    };
    let plan = plan::choose(&query, &indexes, false).expect("a plan").0.expect("all documents at least");
    let document = Value::parse(document.as_bytes()).expect("JSON");
    let bounds = bounds(&plan, None);
    let key = match plan.index {
        Some(index) => entry(index, &document),
        None => document.get("_id").and_then(Value::as_str).map(|id| id.as_bytes().to_vec()),
    };
    let read = !plan.nothing && key.is_some_and(|key| bounds.contain(&key));
    (read, !selector.is_none() && selector.matches(&document))
}

#[test]
fn bounds_leave_out_what_they_can() {
    for (selector, columns, document, read) in [
        (r#"{"a":5}"#, &["a"][..], r#"{"a":5.0}"#, true),
        (r#"{"a":5}"#, &["a"], r#"{"a":6}"#, false),
        (r#"{"a":{"$gt":5}}"#, &["a"], r#"{"a":5}"#, false),
        (r#"{"a":{"$gt":5}}"#, &["a"], r#"{"a":{}}"#, true),
        (r#"{"a":{"$lt":5}}"#, &["a"], r#"{"a":5}"#, false),
        (r#"{"a":{"$lte":5}}"#, &["a", "b"], r#"{"a":5,"b":{}}"#, false),
        (r#"{"a":{"$lte":5},"b":{"$gt":1}}"#, &["a", "b"], r#"{"a":5,"b":{}}"#, true),
        (r#"{"a":5,"b":{"$gt":1}}"#, &["a", "b"], r#"{"a":5,"b":1}"#, false),
        (r#"{"a":{"$beginsWith":"x"}}"#, &["a"], r#"{"a":"xylophone"}"#, true),
        (r#"{"a":{"$beginsWith":"x"}}"#, &["a"], r#"{"a":"y"}"#, false),
        (r#"{"a":{"$beginsWith":"x"}}"#, &["a"], r#"{"a":5}"#, false),
        (r#"{"_id":{"$beginsWith":"x"}}"#, &[], r#"{"_id":"y"}"#, false),
        (r#"{"_id":{"$gt":"x"}}"#, &[], r#"{"_id":"x"}"#, false),
        (r#"{"_id":{"$gt":5}}"#, &[], r#"{"_id":""}"#, true),
        (r#"{"_id":{"$lt":5}}"#, &[], r#"{"_id":""}"#, false),
    ] {
        assert_eq!(shown(selector, columns, document).0, read, "{selector} {columns:?} {document}");
    }
}

#[test]
fn long_values_stay_between_their_bounds() {
    let long = "x".repeat(3 * COLUMNS_BYTES_MAX);
    let document = format!(r#"{{"a":"{long}","b":1}}"#);
    for selector in [
        format!(r#"{{"a":"{long}"}}"#),
        format!(r#"{{"a":{{"$gte":"{long}"}},"b":1}}"#),
        format!(r#"{{"a":{{"$gt":"{}"}}}}"#, &long[1..]),
        format!(r#"{{"a":{{"$lt":"{long}y"}}}}"#),
        format!(r#"{{"a":{{"$beginsWith":"{long}"}}}}"#),
    ] {
        assert_eq!(shown(&selector, &["a"], &document), (true, true), "{}", &selector[..30]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn what_matches_is_read_whatever_the_index(
        selector in any_selector(),
        document in any_document(),
        columns in prop::sample::subsequence(vec!["a", "b", "c.a", "_id"], 0..=3).prop_shuffle(),
    ) {
        let (read, matches) = shown(&selector.0, &columns, &document.0);
        prop_assert!(read || !matches, "{} is not read for {} through {:?}", document.0, selector.0, columns);
    }
}
