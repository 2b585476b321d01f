//! For tests: values and documents of all kinds, as JSON text.

use proptest::prelude::*;

use super::value::Value;

/// JSON text of some value.
#[derive(Debug, Clone)]
pub(crate) struct Json(pub(crate) String);

impl Json {
    pub(crate) fn as_value(&self) -> Value<'_> {
        Value::parse(self.0.as_bytes()).expect("JSON")
    }
}

/// Text of many scripts, often short and often alike, with characters that change their neighbours' weight.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-cA-C]{0,4}",
        2 => "[aàá\u{301}\u{323}\u{327}bß\u{0}\u{1}\u{200d} _.-]{0,5}",
        1 => "[иѝй\u{306}лเแกขກເ日々ーカ\u{3099}가\u{1100}\u{1161}]{0,4}",
        1 => "[\u{ffff}\u{fffd}\u{10ffff}\u{1f600}ʼǆ·lL]{0,3}",
        1 => "\\PC{0,4}",
    ]
}

pub(crate) fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (-3i64..6).prop_map(|number| number.to_string()),
        2 => prop::sample::select(vec!["1.0", "0.5", "-0.0", "1e1", "-2.5", "1e400", "-1e400", "1e22"]).prop_map(str::to_owned),
        1 => (9_007_199_254_740_990i64..9_007_199_254_740_996).prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(|number| format!("{number:?}")),
        1 => "-?[1-9][0-9]{18,40}",
    ]
}

/// A value, nested a little.
pub(crate) fn any_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        1 => prop::sample::select(vec!["null", "false", "true"]).prop_map(str::to_owned),
        3 => any_number(),
        3 => any_text().prop_map(|text| Value::String(text.into()).to_json()),
    ];
    let nested = leaf.prop_recursive(2, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(("[a-c]{1,2}", inner), 0..3).prop_map(|members| {
                let members: Vec<String> =
                    members.into_iter().map(|(name, json)| format!("\"{name}\":{json}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    });
    nested.prop_map(Json)
}

/// A document with members `_id`, `a`, `b` and `c`, most of them there.
pub(crate) fn any_document() -> impl Strategy<Value = Json> {
    let member = || prop::option::weighted(0.8, any_value());
    let inner = prop::option::weighted(0.7, any_value());
    ("[a-cA-Cé\u{ffff}]{1,2}", member(), member(), inner).prop_map(|(id, a, b, c)| {
        let mut text = format!("{{\"_id\":{}", Value::String(id.into()).to_json());
        let c = c.map(|c| Json(format!("{{\"a\":{}}}", c.0)));
        for (name, json) in [("a", a), ("b", b), ("c", c)] {
            text.extend(json.map(|json| format!(",\"{name}\":{}", json.0)));
        }
        Json(text + "}")
    })
}

/// A selector on such documents.
pub(crate) fn any_selector() -> impl Strategy<Value = Json> {
    let field = prop::sample::select(vec!["a", "a", "b", "c.a", "_id", "a.0"]);
    let compare = prop::sample::select(vec!["$eq", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]);
    let id_like = "[a-cA-C]{0,2}".prop_map(|text| Json(format!("\"{text}\"")));
    let argument = prop_oneof![3 => any_value(), 1 => id_like];
    let condition = prop_oneof![
        6 => (compare, argument).prop_map(|(operator, json)| format!("{{\"{operator}\":{}}}", json.0)),
        2 => any_text().prop_map(|text| format!("{{\"$beginsWith\":{}}}", Value::String(text.into()).to_json())),
        1 => any::<bool>().prop_map(|exists| format!("{{\"$exists\":{exists}}}")),
        1 => (any_value(), any_value()).prop_map(|(a, b)| format!("{{\"$in\":[{},{}]}}", a.0, b.0)),
        1 => any_value().prop_map(|json| format!("{{\"$elemMatch\":{{\"$gt\":{}}}}}", json.0)),
        1 => prop::sample::select(vec![r#"{"$type":"number"}"#, r#"{"$size":1}"#, r#"{"$regex":"^[a-b]"}"#, r#"{"$in":[]}"#])
            .prop_map(str::to_owned),
    ];
    let leaf = (field, condition).prop_map(|(field, condition)| format!("{{\"{field}\":{condition}}}"));
    let tree = leaf.prop_recursive(3, 10, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            4 => list.clone().prop_map(|list| format!("{{\"$and\":[{}]}}", list.join(","))),
            2 => list.clone().prop_map(|list| format!("{{\"$or\":[{}]}}", list.join(","))),
            1 => list.prop_map(|list| format!("{{\"$nor\":[{}]}}", list.join(","))),
            1 => inner.prop_map(|one| format!("{{\"$not\":{one}}}")),
        ]
    });
    tree.prop_map(Json)
}
