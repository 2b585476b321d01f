//! Names of indexes that were given none: CouchDB's, so that an index made here and the same index made there are one
//! design document when they meet.
//!
//! CouchDB hashes the request as an Erlang term in the external format, which this writes.

use sha1::{Digest, Sha1};

use super::value::Value;

/// What CouchDB's name of an index depends on; `None` where nothing was given.
pub struct Named<'n> {
    /// The definition, as it was given.
    pub index: &'n Value<'n>,
    /// The design document's name.
    pub ddoc: Option<&'n str>,
    /// The index's name.
    pub name: Option<&'n str>,
    /// Whether it is an index of partitions.
    pub partitioned: Option<bool>,
    /// The type; `json` when nothing was given.
    pub kind: &'n str,
    /// The write quorum; 2 when nothing was given.
    pub w: &'n Value<'n>,
}

/// Forty hexadecimal digits.
pub fn generated(named: &Named<'_>) -> String {
    let mut term = vec![131];
    tuple(&mut term, 2);
    value(&mut term, named.index);
    // Sorted, as CouchDB sorts them: the options' names are atoms.
    list(&mut term, 6);
    let text = |term: &mut Vec<u8>, text: Option<&str>| match text {
        Some(text) => binary(term, text),
        None => atom(term, "auto_name"),
    };
    option(&mut term, "ddoc", |term| text(term, named.ddoc));
    option(&mut term, "def", |term| value(term, named.index));
    option(&mut term, "name", |term| text(term, named.name));
    option(&mut term, "partitioned", |term| match named.partitioned {
        Some(truth) => boolean(term, truth),
        None => atom(term, "db_default"),
    });
    option(&mut term, "type", |term| binary(term, named.kind));
    option(&mut term, "w", |term| value(term, named.w));
    nil(&mut term);
    Sha1::digest(&term).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn option(term: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    tuple(term, 2);
    atom(term, name);
    write(term);
}

fn value(term: &mut Vec<u8>, given: &Value<'_>) {
    match given {
        Value::Null => atom(term, "null"),
        Value::Bool(truth) => boolean(term, *truth),
        Value::Number(number) if number.is_integer() => integer(term, number),
        Value::Number(number) => {
            term.push(70);
            term.extend_from_slice(&number.nearest().to_be_bytes());
        }
        Value::String(text) => binary(term, text),
        Value::Array(items) => {
            if !items.is_empty() {
                list(term, items.len());
                items.iter().for_each(|item| value(term, item));
            }
            nil(term);
        }
        Value::Object(members) => {
            tuple(term, 1);
            if !members.is_empty() {
                list(term, members.len());
                for (name, member) in members {
                    tuple(term, 2);
                    binary(term, name);
                    value(term, member);
                }
            }
            nil(term);
        }
    }
}

fn integer(term: &mut Vec<u8>, number: &super::number::Number<'_>) {
    match number.as_i64() {
        Some(small @ 0..=255) => term.extend([97, u8::try_from(small).unwrap_or_default()]),
        Some(middle) if i32::try_from(middle).is_ok() => {
            term.push(98);
            term.extend_from_slice(&i32::try_from(middle).unwrap_or_default().to_be_bytes());
        }
        Some(large) => {
            let bytes = large.unsigned_abs().to_le_bytes();
            let length = 8 - bytes.iter().rev().take_while(|byte| **byte == 0).count();
            term.extend([110, u8::try_from(length).unwrap_or(8), u8::from(large < 0)]);
            term.extend_from_slice(&bytes[..length]);
        }
        // Larger than any limit a selector is written with: the name differs from CouchDB's, and is a name.
        None => binary(term, number.text()),
    }
}

fn boolean(term: &mut Vec<u8>, truth: bool) {
    atom(term, if truth { "true" } else { "false" });
}

fn atom(term: &mut Vec<u8>, name: &str) {
    term.push(100);
    term.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
    term.extend_from_slice(name.as_bytes());
}

fn binary(term: &mut Vec<u8>, text: &str) {
    term.push(109);
    length(term, text.len());
    term.extend_from_slice(text.as_bytes());
}

fn tuple(term: &mut Vec<u8>, arity: u8) {
    term.extend([104, arity]);
}

fn list(term: &mut Vec<u8>, items: usize) {
    term.push(108);
    length(term, items);
}

fn nil(term: &mut Vec<u8>) {
    term.push(106);
}

fn length(term: &mut Vec<u8>, length: usize) {
    term.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_a_couchdb_gave() {
        let w = Value::parse(b"2").expect("JSON");
        let name = |index: &'static str, name| {
            let index = Value::parse(index.as_bytes()).expect("JSON");
            generated(&Named { index: &index, ddoc: None, name, partitioned: None, kind: "json", w: &w })
        };
        assert_eq!(name(r#"{"fields":[{"n":"desc"}]}"#, None), "3bcbdb398790c895fc969878e279a443e2913eed");
        let partial = r#"{"fields":["n"],"partial_filter_selector":{"n":{"$gt":2}}}"#;
        assert_eq!(name(partial, Some("pn")), "3e3ef3a27aba0796a0a91697b165b9ca9bac836c");
    }
}
