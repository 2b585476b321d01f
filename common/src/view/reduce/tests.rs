use proptest::prelude::*;

use super::*;
use crate::mango::key;

fn reduced(builtin: Builtin, values: &[&str]) -> String {
    let mut partial = builtin.nothing();
    for (at, text) in values.iter().enumerate() {
        partial.add(&key::of(&Value::Number(crate::mango::Number::new((at % 3).to_string()))), &value(text));
    }
    partial.show()
}

fn value(text: &str) -> Value<'_> {
    Value::parse(text.as_bytes()).expect("JSON")
}

#[test]
fn values_are_reduced_as_couchdb_does() {
    for (builtin, values, wanted) in [
        (Builtin::Count, &["1", "null"][..], "2"),
        (Builtin::Distinct, &["1", "1", "1", "1"], "3"),
        (Builtin::Sum, &[], "0"),
        (Builtin::Sum, &["1", "2"], "3"),
        (Builtin::Sum, &["1.5", "1.5"], "3.0"),
        (Builtin::Sum, &["9007199254740993", "9007199254740993"], "18014398509481986"),
        (Builtin::Sum, &["[1,2]", "[3]", "4"], "[8,2]"),
        (
            Builtin::Sum,
            &[r#"{"a":1,"b":{"c":[1]}}"#, r#"{"a":2,"b":{"c":[1,1]},"d":5}"#],
            r#"{"a":3,"b":{"c":[2,1]},"d":5}"#,
        ),
        (Builtin::Stats, &["1", "5", "3"], r#"{"sum":9,"count":3,"min":1,"max":5,"sumsqr":35}"#),
        (
            Builtin::Stats,
            &["[1,2]", "[3,4]"],
            r#"[{"sum":4,"count":2,"min":1,"max":3,"sumsqr":10},{"sum":6,"count":2,"min":2,"max":4,"sumsqr":20}]"#,
        ),
        (
            Builtin::Stats,
            &["2", r#"{"sum":5,"count":2,"min":1,"max":4,"sumsqr":17}"#],
            r#"{"sum":7,"count":3,"min":1,"max":4,"sumsqr":21}"#,
        ),
    ] {
        assert_eq!(reduced(builtin, values), wanted, "{builtin:?} {values:?}");
    }
}

#[test]
fn what_cannot_be_reduced_is_told_in_the_values_place() {
    for (builtin, values) in [
        (Builtin::Sum, &["1", "\"x\"", "2"][..]),
        (Builtin::Sum, &["1", "{\"a\":1}"]),
        (Builtin::Sum, &["[\"x\"]"]),
        (Builtin::Sum, &["{\"a\":1}", "{\"a\":{\"b\":1}}"]),
        (Builtin::Stats, &["\"x\""]),
        (Builtin::Stats, &["[1]", "[1,2]"]),
        (Builtin::Stats, &["{\"sum\":1}"]),
    ] {
        let told = reduced(builtin, values);
        assert!(told.starts_with(r#"{"error":"builtin_reduce_error","reason":"The _"#), "{told}");
        assert!(Value::parse(told.as_bytes()).is_ok(), "{told}");
    }
}

#[test]
fn many_keys_are_counted_within_a_few_percent() {
    let mut distinct = Distinct::default();
    for round in 0..2u32 {
        for key in 0..50_000u32 {
            distinct.add(&key.to_be_bytes());
        }
        let estimate = distinct.estimate();
        assert!((46_000..54_000).contains(&estimate), "{estimate} in round {round}");
    }
}

proptest! {
    #[test]
    fn parts_put_together_are_the_whole(values in prop::collection::vec((0u32..2_000, -1_000i64..1_000), 0..600), cut in 0usize..600) {
        for builtin in [Builtin::Count, Builtin::Sum, Builtin::Stats, Builtin::Distinct] {
            let of = |rows: &[(u32, i64)]| {
                let mut partial = builtin.nothing();
                for (key, number) in rows {
                    partial.add(&key.to_be_bytes(), &value(&number.to_string()));
                }
                partial
            };
            let (one, two) = values.split_at(cut.min(values.len()));
            let mut merged = of(two);
            merged.merge(of(one));
            prop_assert_eq!(merged.show(), of(&values).show());
        }
    }
}
