//! Bytes that sort as values do: comparing two keys byte by byte gives what [`super::collate::compare`] gives.
//!
//! Keys of values tell their own end, so keys of several values in a row sort as the row does, and no key is the
//! beginning of another.

use super::collate;
use super::value::Value;

/// Version of these bytes: keys made under another one must be made again. Raise it with every change here and with
/// every new version of the collation's data.
pub const VERSION: u32 = 1;

/// Sorts behind every key that goes on at its place.
pub const HIGHEST: u8 = 0xff;
/// Ends arrays, objects and strings: sorts before whatever may go on.
const END: u8 = 0x00;
/// Goes before each member of an object.
const MEMBER: u8 = 0x01;

const NULL: u8 = 0x10;
const FALSE: u8 = 0x20;
const TRUE: u8 = 0x21;
const NUMBER: u8 = 0x30;
const STRING: u8 = 0x40;
const ARRAY: u8 = 0x50;
const OBJECT: u8 = 0x60;

/// Appends the key of `value`.
pub fn write(value: &Value<'_>, key: &mut Vec<u8>) {
    match value {
        Value::Null => key.push(NULL),
        Value::Bool(false) => key.push(FALSE),
        Value::Bool(true) => key.push(TRUE),
        Value::Number(number) => {
            key.push(NUMBER);
            number.write_key(key);
        }
        Value::String(text) => {
            key.push(STRING);
            write_text(text, key);
        }
        Value::Array(items) => {
            key.push(ARRAY);
            items.iter().for_each(|item| write(item, key));
            key.push(END);
        }
        Value::Object(members) => {
            key.push(OBJECT);
            for (name, value) in members {
                key.push(MEMBER);
                write_text(name, key);
                write(value, key);
            }
            key.push(END);
        }
    }
}

/// The key of one value.
pub fn of(value: &Value<'_>) -> Vec<u8> {
    let mut key = Vec::new();
    write(value, &mut key);
    key
}

/// Appends what the keys of all strings with this beginning begin with, at least.
///
/// Letters may change their weight by what follows them (vowels that are written before their consonant, accents that
/// change places), so only a part of `beginning` whose weights stand is made use of; it may be none of it.
pub fn write_beginning(beginning: &str, key: &mut Vec<u8>) {
    key.push(STRING);
    let start = key.len();
    collate::write_primary_key(steady(beginning), key);
    // Without what closes the level and may differ when more follows.
    while key.len() > start && matches!(key.last(), Some(..=0x03 | 0xff)) {
        key.pop();
    }
}

/// The longest beginning of `text` whose base letters weigh the same whatever stands behind `text`.
fn steady(text: &str) -> &str {
    let plain = text.find(|char| !weighs_alone(char)).unwrap_or(text.len());
    let text = &text[..plain];
    // Behind ASCII nothing changes its base letter. Other letters may take a mark that makes them another letter.
    text.trim_end_matches(|char: char| !char.is_ascii())
}

/// Whether a character's base weight is its own in all company (a combining mark behind it excepted).
fn weighs_alone(char: char) -> bool {
    matches!(char, ' '..='~' | '\u{c0}'..='\u{24f}' | '\u{391}'..='\u{3c9}' | '\u{400}'..='\u{481}'
        | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

fn write_text(text: &str, key: &mut Vec<u8>) {
    collate::write_key(text, key);
    key.push(END);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{any_text, any_value};
    use super::*;

    fn starts(whole: &str, beginning: &str) -> bool {
        let mut prefix = Vec::new();
        write_beginning(beginning, &mut prefix);
        of(&Value::String(whole.into())).starts_with(&prefix)
    }

    #[test]
    fn beginnings_narrow_what_is_plain() {
        assert!(!starts("b", "a"));
        assert!(starts("abc", "ab"));
        assert!(!starts("acb", "ab"));
        // A vowel that stands before its consonant sorts behind it.
        assert!(starts("เก", "เ"));
        assert!(starts("й", "и"));
    }

    #[test]
    fn no_mark_behind_ascii_changes_its_base_letter() {
        let marks = ('\u{300}'..='\u{36f}').chain('\u{20d0}'..='\u{20f0}').chain("\u{b7}\u{3099}\u{1ab0}".chars());
        for (letter, mark) in marks.flat_map(|mark| (' '..='~').map(move |letter| (letter, mark))) {
            assert!(starts(&format!("{letter}{mark}"), &letter.to_string()), "{letter:?} {mark:?}");
        }
    }

    proptest! {
        #[test]
        fn keys_sort_as_values_do(a in any_value(), b in any_value()) {
            let (a, b) = (a.as_value(), b.as_value());
            prop_assert_eq!(of(&a).cmp(&of(&b)), collate::compare(&a, &b));
        }

        #[test]
        fn no_key_is_the_beginning_of_another(a in any_value(), b in any_value()) {
            let (a, b) = (of(&a.as_value()), of(&b.as_value()));
            prop_assert!(a == b || !b.starts_with(&a));
        }

        #[test]
        fn text_keys_have_no_zero_but_the_last(text in any_text()) {
            let key = of(&Value::String(text.into()));
            prop_assert_eq!(key.iter().position(|byte| *byte == END), Some(key.len() - 1));
        }

        #[test]
        fn what_begins_so_has_a_key_that_begins_so(beginning in any_text(), rest in any_text()) {
            prop_assert!(starts(&format!("{beginning}{rest}"), &beginning), "{:?} {:?}", beginning, rest);
        }
    }
}
