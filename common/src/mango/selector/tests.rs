use super::*;

fn normal(text: &str) -> Result<String, (&'static str, String)> {
    Selector::parse(text.as_bytes())
        .map(|selector| selector.to_json())
        .map_err(|error| (error.name(), error.to_string()))
}

fn matches(selector: &str, document: &str) -> bool {
    let selector = Selector::parse(selector.as_bytes()).expect("a selector");
    selector.matches(&Value::parse(document.as_bytes()).expect("JSON"))
}

#[test]
fn selectors_are_shown_in_couchdbs_normal_form() {
    for (given, normal_form) in [
        ("{}", "{}"),
        (r#"{"n":1}"#, r#"{"n":{"$eq":1}}"#),
        (r#"{"a":{"b":{"$gt":10}}}"#, r#"{"a.b":{"$gt":10}}"#),
        (r#"{"a":1,"b":2}"#, r#"{"$and":[{"a":{"$eq":1}},{"b":{"$eq":2}}]}"#),
        (r#"{"foo":{"$and":[{"$gt":5},{"$lt":10}]}}"#, r#"{"$and":[{"foo":{"$gt":5}},{"foo":{"$lt":10}}]}"#),
        (r#"{"$not":{"foo":{"$gt":10}}}"#, r#"{"foo":{"$lte":10}}"#),
        (
            r#"{"$not":{"$and":[{"foo":{"$gt":10}},{"foo":{"$lt":5}}]}}"#,
            r#"{"$or":[{"foo":{"$lte":10}},{"foo":{"$gte":5}}]}"#,
        ),
        (r#"{"$nor":[{"a":1},{"b":{"$regex":"x"}}]}"#, r#"{"$and":[{"a":{"$ne":1}},{"b":{"$not":{"$regex":"x"}}}]}"#),
        (r#"{"$not":{"$not":{"a":{"$in":[1]}}}}"#, r#"{"a":{"$in":[1]}}"#),
        (r#"{"a":{"$not":{"$exists":true}}}"#, r#"{"a":{"$exists":false}}"#),
        (
            r#"{"a":{"$elemMatch":{"$gte":80,"$lt":85}}}"#,
            r#"{"a":{"$elemMatch":{"$and":[{"":{"$gte":80}},{"":{"$lt":85}}]}}}"#,
        ),
        (r#"{"location":{}}"#, r#"{"location":{"$eq":{}}}"#),
        (r#"{"a":[1,2]}"#, r#"{"a":{"$eq":[1,2]}}"#),
    ] {
        assert_eq!(normal(given).as_deref(), Ok(normal_form), "{given}");
        let again = Selector::parse_normal(normal_form.as_bytes()).map(|selector| selector.to_json());
        assert_eq!(again.as_deref(), Ok(normal_form));
    }
}

#[test]
fn bad_selectors_are_told_in_couchdbs_words() {
    for (given, name, reason) in [
        ("null", "invalid_selector_json", "Selector must be a JSON object, not: null"),
        ("1.0", "invalid_selector_json", "Selector must be a JSON object, not: 1.0"),
        (r#"[null,"bing"]"#, "invalid_selector_json", "Selector must be a JSON object, not: [null,<<98,105,110,103>>]"),
        (r#"{"$gt":2}"#, "invalid_selector", "One or more conditions is missing a field name."),
        (r#"{"foo":{"$not_an_op":2}}"#, "invalid_operator", "Invalid operator: $not_an_op"),
        (r#"{"a":{"$beginsWith":1}}"#, "invalid_operator", "Invalid operator: $beginsWith"),
        (r#"{"_id":{"":null}}"#, "invalid_field_name", "Invalid field name: _id."),
        (r#"{"$and":{}}"#, "bad_arg", "Bad argument for operator $and: {[]}"),
        (r#"{"a":{"$mod":[0,1]}}"#, "bad_arg", "Bad argument for operator $mod: [0,1]"),
        (r#"{"a":{"$size":-1}}"#, "bad_arg", "Bad argument for operator $size: -1"),
        (r#"{"a":{"$regex":"("}}"#, "bad_arg", "Bad argument for operator $regex: <<40>>"),
        (r#"{"a":{"$regex":"(a{1000}){1000}"}}"#, "bad_arg", "Bad argument for operator $regex: "),
        (r#"{"a":{"$near":1}}"#, "not_supported", "Unsupported operator: $near"),
        (r#"{"$text":"x"}"#, "required index service unavailable", "text"),
        ("{", "bad_request", "invalid UTF-8 JSON"),
    ] {
        let (told, why) = normal(given).expect_err("refused");
        assert_eq!(told, name, "{given}");
        assert!(why.starts_with(reason), "{given}: {why}");
    }
}

#[test]
fn operators_match_what_they_say() {
    let document =
        r#"{"_id":"doc","n":5,"f":2.5,"s":"Hello","t":true,"z":null,"l":[1,"a",[2]],"o":{"k":1,"m":"x"},"e":[]}"#;
    for (selector, matched) in [
        (r#"{}"#, true),
        (r#"{"n":5.0}"#, true),
        (r#"{"n":{"$ne":5}}"#, false),
        (r#"{"n":{"$gt":4,"$lte":5}}"#, true),
        (r#"{"n":{"$lt":"a"}}"#, true),
        (r#"{"s":{"$gt":1000}}"#, true),
        (r#"{"z":null}"#, true),
        (r#"{"missing":null}"#, false),
        (r#"{"missing":{"$exists":false}}"#, true),
        (r#"{"n.x":{"$exists":false}}"#, false),
        (r#"{"z":{"$exists":true}}"#, true),
        (r#"{"s":{"$type":"string"}}"#, true),
        (r#"{"z":{"$type":"null"}}"#, true),
        (r#"{"n":{"$in":[4,5]}}"#, true),
        (r#"{"n":{"$in":[]}}"#, false),
        (r#"{"l":{"$in":["a"]}}"#, true),
        (r#"{"l":{"$in":[[1,"a",[2]]]}}"#, false),
        (r#"{"l":{"$nin":["a"]}}"#, false),
        (r#"{"n":{"$nin":[]}}"#, true),
        (r#"{"n":{"$mod":[3,2]}}"#, true),
        (r#"{"f":{"$mod":[2,0]}}"#, false),
        (r#"{"s":{"$regex":"(?i)^HEL"}}"#, true),
        (r#"{"n":{"$regex":"5"}}"#, false),
        (r#"{"s":{"$beginsWith":"Hel"}}"#, true),
        (r#"{"s":{"$beginsWith":"hel"}}"#, false),
        (r#"{"n":{"$beginsWith":"5"}}"#, false),
        (r#"{"l":{"$size":3}}"#, true),
        (r#"{"l":{"$all":[1,"a"]}}"#, true),
        (r#"{"l":{"$all":[1.0]}}"#, false),
        (r#"{"l":{"$all":[[1,"a",[2]]]}}"#, true),
        (r#"{"l":{"$all":[]}}"#, false),
        (r#"{"l":{"$elemMatch":{"$eq":"a"}}}"#, true),
        (r#"{"l":{"$elemMatch":{"0":2}}}"#, true),
        (r#"{"n":{"$elemMatch":{"$eq":5}}}"#, false),
        (r#"{"e":{"$allMatch":{"$gt":0}}}"#, false),
        (r#"{"l":{"$allMatch":{"$gt":0}}}"#, true),
        (r#"{"o":{"$keyMapMatch":{"$eq":"m"}}}"#, true),
        (r#"{"o":{"$keyMapMatch":{"$eq":"x"}}}"#, false),
        (r#"{"o":{"k":1,"m":"x"}}"#, true),
        (r#"{"o":{"$eq":{"k":1}}}"#, false),
        (r#"{"o":{"$eq":{"m":"x","k":1}}}"#, false),
        (r#"{"l.2.0":2}"#, true),
        (r#"{"$or":[{"n":1},{"s":"Hello"}]}"#, true),
        (r#"{"n":5,"$or":[]}"#, true),
        (r#"{"n":5,"$and":[]}"#, true),
        (r#"{"$nor":[{"n":1},{"n":2}]}"#, true),
        (r#"{"$not":{"n":5}}"#, false),
        (r#"{"$not":{"missing":5}}"#, false),
        (r#"{"missing":{"$not":{"$regex":"x"}}}"#, false),
        (r#"{"l":{"$elemMatch":{"$not":{"0":3}}}}"#, true),
        (r#"{"l":{"$elemMatch":{"$nor":[{"0":3}]}}}"#, true),
        (r#"{"_id":{"$gt":{}}}"#, true),
        (r#"{"_id":{"$lt":5}}"#, false),
        (r#"{"_id":"doc"}"#, true),
    ] {
        assert_eq!(matches(selector, document), matched, "{selector}");
    }
}

#[test]
fn what_nothing_can_match_is_told_apart_from_what_asks_for_nothing() {
    let is_none = |text: &str| Selector::parse(text.as_bytes()).expect("a selector").is_none();
    for text in [r#"{"$or":[]}"#, r#"{"$and":[]}"#, r#"{"a":{"$in":[]}}"#, r#"{"$or":[],"a":{"$in":[]}}"#] {
        assert!(is_none(text), "{text}");
    }
    for text in ["{}", r#"{"a":1,"$or":[]}"#, r#"{"a":{"$nin":[]}}"#, r#"{"$or":[{"a":{"$in":[]}},{"b":1}]}"#] {
        assert!(!is_none(text), "{text}");
    }
}

#[test]
fn names_of_fields_and_members_are_listed() {
    let text = r#"{"b.c":1,"$or":[{"a":{"$elemMatch":{"x":1}}},{"b.d":2}]}"#;
    let selector = Selector::parse(text.as_bytes()).expect("a selector");
    assert_eq!(selector.fields(), ["b.c", "a", "b.d"]);
    assert_eq!(selector.roots(), ["a", "b"].map(Box::from));
}
