//! What holds for every text: no panic, no loss, and the same verdict as a slow and simple judge.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const LIMITS: ParseLimits = ParseLimits { depth_max: 64 };

/// JSON as a tree of texts, so that numbers and spellings stay what they are.
#[derive(Debug, Clone)]
enum Json {
    Scalar(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[ -!#-\\[\\]-~]".boxed(),
        1 => "[\u{80}-\u{10ffff}]".boxed(),
        1 => Just("\\n".to_owned()).boxed(),
        1 => Just("\\\"".to_owned()).boxed(),
        1 => Just("\\u00e9".to_owned()).boxed(),
        1 => Just("\\ud83d\\ude00".to_owned()).boxed(),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn json() -> impl Strategy<Value = Json> {
    let number = "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?";
    let word = prop::sample::select(vec!["true", "false", "null"]).prop_map(str::to_owned);
    let scalar = prop_oneof![string(), number, word].prop_map(Json::Scalar);
    scalar.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array), object(inner)]
    })
}

fn object(value: impl Strategy<Value = Json> + 'static) -> impl Strategy<Value = Json> {
    // Few different keys, so that duplicates happen, in more than one spelling.
    let key = prop_oneof![3 => prop::sample::select(vec!["a", "\\u0061", "b", "", "\\\\"]).prop_map(|key| format!("\"{key}\"")), 2 => string()];
    prop::collection::vec((key, value), 0..6).prop_map(Json::Object)
}

impl Json {
    /// Its text, with some space in it.
    fn text(&self, space: &str) -> String {
        match self {
            Json::Scalar(text) => text.clone(),
            Json::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| item.text(space)).collect();
                format!("[{space}{}{space}]", items.join(&format!("{space},")))
            }
            Json::Object(members) => {
                let members: Vec<_> =
                    members.iter().map(|(key, value)| format!("{key}{space}:{space}{}", value.text(space))).collect();
                format!("{{{space}{}{space}}}", members.join(&format!(",{space}")))
            }
        }
    }

    fn has_duplicates(&self) -> bool {
        match self {
            Json::Scalar(_) => false,
            Json::Array(items) => items.iter().any(Json::has_duplicates),
            Json::Object(members) => {
                let name = |key: &str| serde_json::from_str::<String>(key).expect("a JSON string");
                let names: std::collections::BTreeSet<_> = members.iter().map(|(key, _)| name(key)).collect();
                names.len() < members.len() || members.iter().any(|(_, value)| value.has_duplicates())
            }
        }
    }

    fn is_special(&self) -> bool {
        let name = |key: &str| serde_json::from_str::<String>(key).expect("a JSON string");
        matches!(self, Json::Object(members) if members.iter().any(|(key, _)| name(key).starts_with('_')))
    }
}

proptest! {
    #[test]
    fn nothing_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = parse(bytes.clone(), LIMITS);
        let _ = parse_bulk(bytes, LIMITS);
    }

    #[test]
    fn nothing_panics_on_bytes_that_look_like_json(text in "[\\[\\]{}\",:\\\\u0e19.\\-_adtrue \n]{0,60}") {
        let bytes = Bytes::from(text.clone());
        let verdict = parse(bytes.clone(), LIMITS);
        let judged = serde_json::from_str::<Value>(&text);
        // The judge gives up on numbers beyond f64, and nests more deeply than we do.
        let out_of_range = matches!(&judged, Err(error) if error.to_string().contains("out of range"));
        if !out_of_range {
            prop_assert_eq!(judged.is_err(), verdict == Err(Error::Malformed), "{}", text);
        }
        let _ = parse_bulk(bytes, LIMITS);
    }

    #[test]
    fn damage_is_found_or_does_no_harm(doc in object(json()), at: usize, to: u8) {
        let mut bytes = doc.text(" ").into_bytes();
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(parsed) = parse(bytes.clone().into(), LIMITS) {
            prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok());
            prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&parsed.body.json).is_ok());
        }
    }

    #[test]
    fn a_document_without_special_members_comes_back_to_the_letter(doc in object(json()), space in "[ \n\t]{0,2}") {
        let text = doc.text(&space);
        let verdict = parse(text.clone().into(), LIMITS);
        if doc.has_duplicates() {
            prop_assert!(matches!(verdict, Err(Error::DuplicateKey { .. } | Error::BadMember(_))), "{:?}", verdict);
        } else if !doc.is_special() {
            prop_assert_eq!(verdict.map(|parsed| parsed.body.json), Ok(Bytes::from(text)));
        }
    }

    #[test]
    fn rendering_what_was_parsed_gives_the_same_json(
        doc in object(json()), id in "\\PC{0,10}", hash in "[^-]{1,8}", deleted: bool, place: prop::sample::Index,
    ) {
        prop_assume!(!doc.has_duplicates() && !doc.is_special());
        let Json::Object(mut members) = doc else { unreachable!("an object") };
        let quoted = |text: &str| Json::Scalar(serde_json::to_string(text).expect("a string"));
        let at = place.index(members.len() + 1);
        members.insert(at, ("\"_id\"".to_owned(), quoted(&id)));
        members.insert(at / 2, ("\"_rev\"".to_owned(), quoted(&format!("3-{hash}"))));
        if deleted {
            members.push(("\"_deleted\"".to_owned(), Json::Scalar("true".to_owned())));
        }
        let text = Json::Object(members).text(" ");
        let parsed = parse(text.clone().into(), LIMITS).expect("a document");
        let mut out = Vec::new();
        let (id, rev) = (parsed.id.expect("sent"), parsed.rev.expect("sent"));
        render(&mut out, &id, &rev, parsed.deleted, &[], &parsed.body.json);
        let raw = |text: &[u8]| serde_json::from_slice::<std::collections::BTreeMap<String, Box<serde_json::value::RawValue>>>(text)
            .expect("an object").into_iter().map(|(key, value)| (key, value.get().to_owned())).collect::<Vec<_>>();
        let scalars = |members: Vec<(String, String)>| members.into_iter()
            .map(|(key, value)| if key.starts_with('_') { (key, serde_json::from_str::<Value>(&value).expect("JSON").to_string()) } else { (key, value) })
            .collect::<Vec<_>>();
        prop_assert_eq!(scalars(raw(&out)), scalars(raw(text.as_bytes())));
        // And again: what was shown can be written back.
        let again = parse(out.into(), LIMITS).expect("its own text");
        prop_assert_eq!(again.rev, Some(rev));
        prop_assert_eq!(again.deleted, deleted);
    }

    #[test]
    fn depth_is_refused_from_one_above_the_limit(max in 1..80usize, inner in "(\\[|\\{\"k\":){0,79}") {
        let opens = inner.matches(['[', '{']).count();
        let closes: String = inner.chars().rev().filter_map(|c| match c { '[' => Some(']'), '{' => Some('}'), _ => None }).collect();
        let text = format!("{{\"d\":{inner}1{closes}}}");
        let verdict = parse(text.into(), ParseLimits { depth_max: max });
        prop_assert_eq!(verdict.is_ok(), opens < max);
        prop_assert!(verdict.is_ok() || verdict == Err(Error::TooDeep { max }), "{:?}", verdict);
    }

    #[test]
    fn bulk_parses_each_document_as_if_alone(docs in prop::collection::vec(object(json()), 0..5)) {
        let texts: Vec<_> = docs.iter().map(|doc| doc.text(" ")).collect();
        let bulk = parse_bulk(format!("{{\"docs\":[{}]}}", texts.join(" , ")).into(), LIMITS);
        let alone: Result<Vec<_>, _> = texts.into_iter().map(|text| parse(text.into(), LIMITS)).collect();
        prop_assert_eq!(bulk.map(|bulk| bulk.docs), alone);
    }
}
