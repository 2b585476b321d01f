//! The order of values: CouchDB's view collation.
//!
//! `null` < `false` < `true` < numbers < strings < arrays < objects. Strings sort by Unicode's root collation, so equal
//! does not mean same: characters that carry no weight do not count. Arrays and objects sort member by member, objects
//! by the order their members were written in.

use std::cmp::Ordering;
use std::sync::LazyLock;

use icu_collator::options::{AlternateHandling, CollatorOptions, Strength};
use icu_collator::{Collator, CollatorBorrowed};

use super::value::Value;

/// As CouchDB's ICU is set: three levels, and spaces and punctuation count.
static COLLATOR: LazyLock<CollatorBorrowed<'static>> = LazyLock::new(|| root(Strength::Tertiary));
/// Base letters alone; what a common beginning of two strings is told by.
static PRIMARY: LazyLock<CollatorBorrowed<'static>> = LazyLock::new(|| root(Strength::Primary));

fn root(strength: Strength) -> CollatorBorrowed<'static> {
    let mut options = CollatorOptions::default();
    options.strength = Some(strength);
    options.alternate_handling = Some(AlternateHandling::NonIgnorable);
    Collator::try_new(Default::default(), options).expect("the root collation is compiled in")
}

/// How two values sort.
pub fn compare(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => compare_strings(a, b),
        (Value::Array(a), Value::Array(b)) => lexicographic(a, b, compare),
        (Value::Object(a), Value::Object(b)) => lexicographic(a, b, |(name_a, value_a), (name_b, value_b)| {
            compare_strings(name_a, name_b).then_with(|| compare(value_a, value_b))
        }),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// How two strings sort.
pub fn compare_strings(a: &str, b: &str) -> Ordering {
    // Most comparisons ask for equality, and most that hold are between the same letters.
    if a == b { Ordering::Equal } else { COLLATOR.compare(a, b) }
}

/// How a document's id sorts against a value: ids by their bytes, and behind everything that is no string.
pub fn compare_ids(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::String(_), _) => Ordering::Greater,
        (_, Value::String(_)) => Ordering::Less,
        (a, b) => compare(a, b),
    }
}

/// Appends bytes that sort as strings do; none of them is zero.
pub(super) fn write_key(text: &str, key: &mut Vec<u8>) {
    let Ok(()) = COLLATOR.write_sort_key_to(text, key);
}

/// Appends the bytes that [`write_key`] begins with for every string with the base letters of `text`.
pub(super) fn write_primary_key(text: &str, key: &mut Vec<u8>) {
    let Ok(()) = PRIMARY.write_sort_key_to(text, key);
}

fn rank(value: &Value<'_>) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

fn lexicographic<T>(a: &[T], b: &[T], compare: impl Fn(&T, &T) -> Ordering) -> Ordering {
    let unequal = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
    unequal.unwrap_or_else(|| a.len().cmp(&b.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value<'_> {
        Value::parse(text.as_bytes()).expect("JSON")
    }

    #[test]
    fn values_sort_as_couchdbs_documentation_says() {
        // The table of CouchDB's "Views Collation", less what it says of members in another order.
        let sorted = [
            "null",
            "false",
            "true",
            "1",
            "2",
            "3.0",
            "4",
            "\"a\"",
            "\"A\"",
            "\"aa\"",
            "\"b\"",
            "\"B\"",
            "\"ba\"",
            "\"bb\"",
            "[\"a\"]",
            "[\"b\"]",
            "[\"b\",\"c\"]",
            "[\"b\",\"c\",\"a\"]",
            "[\"b\",\"d\"]",
            "[\"b\",\"d\",\"e\"]",
            "{\"a\":1}",
            "{\"a\":2}",
            "{\"b\":1}",
            "{\"b\":2}",
            "{\"b\":2,\"a\":1}",
            "{\"b\":2,\"c\":2}",
        ];
        for (at, low) in sorted.iter().enumerate() {
            assert_eq!(compare(&value(low), &value(low)), Ordering::Equal);
            for high in &sorted[at + 1..] {
                assert_eq!(compare(&value(low), &value(high)), Ordering::Less, "{low} {high}");
            }
        }
    }

    #[test]
    fn punctuation_and_case_sort_as_icu_does() {
        let sorted =
            ["", "_", "-", ",", ";", ":", "!", "?", ".", "'", "(", ")", "@", "*", "/", "&", "#", "%", "`", "^"];
        let more = ["+", "<", "=", ">", "|", "~", "$", "0", "1", "a", "A", "à", "b", "z", "Z", "ß", "я", "日"];
        let sorted: Vec<&str> = sorted.into_iter().chain(more).filter(|text| *text != "ß").collect();
        for pair in sorted.windows(2) {
            assert_eq!(compare_strings(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(compare_strings("é", "e\u{301}"), Ordering::Equal, "one letter in two spellings");
        assert_eq!(compare_strings("a\u{0}", "a"), Ordering::Equal, "a control character has no weight");
    }

    #[test]
    fn ids_sort_by_bytes_and_behind_other_values() {
        assert_eq!(compare_ids(&value("\"B\""), &value("\"a\"")), Ordering::Less);
        assert_eq!(compare_ids(&value("\"\""), &value("{}")), Ordering::Greater);
        assert_eq!(compare_ids(&value("\"\""), &value("null")), Ordering::Greater);
    }
}
