//! A revision: `N-hash`.
//!
//! Hashes that Quorate makes are 16 bytes; foreign hashes (`2-bbb`) are kept to the letter. They compare as CouchDB
//! compares them, since that order decides the winner: 16 bytes as these, all else as its letters.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::Invalid;

/// A revision: its generation (distance from the root, from 1) and its hash. Local documents have generation 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rev {
    /// Distance from the root of the tree; a document's first revision has 1.
    pub generation: u64,
    /// What stands behind the dash.
    pub hash: RevHash,
}

/// What stands behind the dash of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RevHash {
    /// Shown as 32 lowercase hexadecimal digits.
    Digest([u8; 16]),
    /// Anything else, to the letter.
    Text(Box<str>),
}

impl RevHash {
    /// The hash of `text`, in its short form where it has one.
    pub fn new(text: &str) -> Self {
        match digest(text) {
            Some(bytes) => Self::Digest(bytes),
            None => Self::Text(text.into()),
        }
    }
}

fn digest(text: &str) -> Option<[u8; 16]> {
    let hex = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let text: &[u8; 32] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex(pair[0])? << 4 | hex(pair[1])?;
    }
    Some(bytes)
}

impl Rev {
    /// Parses `N-hash` with N ≥ 0 and any hash, as CouchDB none at all; errors with [`Invalid::Rev`].
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (generation, hash) = text.split_once('-').ok_or(Invalid::Rev)?;
        let digits = !generation.is_empty() && generation.bytes().all(|b| b.is_ascii_digit());
        if !digits {
            return Err(Invalid::Rev);
        }
        let generation = generation.parse().map_err(|_| Invalid::Rev)?;
        Ok(Self { generation, hash: RevHash::new(hash) })
    }
}

impl fmt::Display for RevHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(bytes) => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let mut text = [0u8; 32];
                for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
                    pair[0] = HEX[usize::from(byte >> 4)];
                    pair[1] = HEX[usize::from(byte & 15)];
                }
                f.write_str(std::str::from_utf8(&text).expect("hexadecimal digits are UTF-8"))
            }
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.hash)
    }
}

impl Ord for RevHash {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Digest(a), Self::Digest(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            // As CouchDB compares what it keeps: 32 digits are 16 bytes to it, all else is its letters.
            (Self::Digest(a), Self::Text(b)) => a.as_slice().cmp(b.as_bytes()),
            (Self::Text(a), Self::Digest(b)) => a.as_bytes().cmp(b.as_slice()),
        }
    }
}

impl PartialOrd for RevHash {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By generation, then by the hash: the winner among equals is the greatest.
impl Ord for Rev {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.generation, &self.hash).cmp(&(other.generation, &other.hash))
    }
}

impl PartialOrd for Rev {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_come_back_as_written() {
        for text in ["1-731bef401491606a3b246ed178e697c1", "2-bbb", "0-4", "1-731BEF401491606A3B246ED178E697C1", "1-"] {
            assert_eq!(Rev::parse(text).expect("valid").to_string(), text);
        }
        for bad in ["", "1", "-a", "x-a", "+1-a", "99999999999999999999-a"] {
            assert_eq!(Rev::parse(bad), Err(Invalid::Rev), "{bad}");
        }
    }

    #[test]
    fn hashes_order_as_couchdb_orders_them() {
        let rev = |text| Rev::parse(text).expect("valid");
        let letters = "1-zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";
        assert!(rev("1-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") > rev(letters), "0xaa is more than a z");
        assert!(rev(letters) > rev("1-731bef401491606a3b246ed178e697c1"));
        assert!(rev("1-bbb") > rev("1-aaaa"));
        assert!(rev("1-1") < rev("1-731bef401491606a3b246ed178e697c1"));
        assert!(rev("2-a") > rev("1-b"));
    }
}
