//! Partitions of a partitioned database.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{DocId, Invalid};

/// The name of a partition: what stands before the first `:` of its documents' ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Partition(Box<str>);

impl Partition {
    /// Takes a name that a partition can have.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid::PartitionEmpty);
        }
        if text.starts_with('_') {
            return Err(Invalid::PartitionUnderscore);
        }
        if text.contains(':') {
            return Err(Invalid::PartitionColon);
        }
        DocId::parse(&format!("{text}:x"))?;
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a number, for where a name would be too long. Never changes.
    pub fn mark(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.0.as_bytes())
    }

    /// Where its ids begin, inclusive.
    pub fn low(&self) -> Box<str> {
        format!("{self}:").into()
    }

    /// Where its ids end, exclusive.
    pub fn high(&self) -> Box<str> {
        format!("{self};").into()
    }
}

impl TryFrom<String> for Partition {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<Partition> for String {
    fn from(partition: Partition) -> Self {
        partition.0.into()
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_in_couchdbs_words() {
        for (name, reason) in [
            ("", "Partition must not be empty"),
            ("_p", "Partition must not start with an underscore"),
            ("a:b", "Partition must not contain a colon"),
        ] {
            assert_eq!(Partition::parse(name).expect_err(name).to_string(), reason);
        }
        let partition = Partition::parse("p").expect("a name");
        assert_eq!((&*partition.low(), &*partition.high()), ("p:", "p;"));
    }
}
