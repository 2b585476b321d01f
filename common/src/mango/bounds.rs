//! The part of an index that a plan reads, as bytes; and the bytes of an index's entries.
//!
//! Bounds are never narrower than the selector: the entry of every document that matches lies between them.

use super::key;
use super::plan::Plan;
use super::range::{End, FieldRange};
use super::value::Value;

/// Longest key of an entry's columns, in bytes. What is longer is cut: such entries sort by their beginnings, then by
/// id. Larger would not leave room for an id in an engine's key.
pub const COLUMNS_BYTES_MAX: usize = 16 << 10;

/// From the first key up to, but not including, the second; `None` is no end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest key.
    pub low: Vec<u8>,
    /// The end.
    pub high: Option<Vec<u8>>,
}

impl Bounds {
    /// Whether `key` lies between them.
    pub fn contain(&self, key: &[u8]) -> bool {
        *key >= *self.low && self.high.as_deref().is_none_or(|high| key < high)
    }
}

/// The key of an entry: its columns, behind its partition if the index has partitions.
pub fn entry_key<'v>(partition: Option<&str>, columns: impl IntoIterator<Item = &'v Value<'v>>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    if let Some(partition) = partition {
        write_partition(partition, &mut bytes);
    }
    let start = bytes.len();
    for column in columns {
        key::write(column, &mut bytes);
        if bytes.len() - start > COLUMNS_BYTES_MAX {
            bytes.truncate(start + COLUMNS_BYTES_MAX);
            break;
        }
    }
    bytes
}

/// What a plan reads: keys of entries, or, without an index, ids.
pub fn bounds(plan: &Plan<'_>, partition: Option<&str>) -> Bounds {
    match (plan.index, plan.columns.first()) {
        (None, ids) => ids_between(ids, partition),
        (Some(_), _) => between(&plan.columns, partition),
    }
}

fn between(columns: &[FieldRange], partition: Option<&str>) -> Bounds {
    let mut prefix = Vec::new();
    if let Some(partition) = partition {
        write_partition(partition, &mut prefix);
    }
    let mut low = low(columns);
    low.truncate(COLUMNS_BYTES_MAX);
    let high = match high(columns) {
        Some(mut high) if high.len() > COLUMNS_BYTES_MAX => {
            high.truncate(COLUMNS_BYTES_MAX);
            successor(high)
        }
        high => high,
    };
    let high = match high {
        Some(high) => Some([&prefix[..], &high].concat()),
        None => successor(prefix.clone()),
    };
    Bounds { low: [prefix, low].concat(), high }
}

/// The lowest key of the columns.
fn low(columns: &[FieldRange]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for column in columns {
        let value = usable(column, column.read.low.as_ref());
        let at_least = value.map(|end| key::of(&end.value));
        let beginning = beginning(column).filter(|beginning| at_least.as_ref().is_none_or(|value| value < beginning));
        match (beginning, at_least, value) {
            (Some(beginning), ..) => {
                bytes.extend(beginning);
                return bytes;
            }
            (None, Some(key), Some(end)) => {
                bytes.extend(key);
                if !end.inclusive {
                    // Tags of keys are below the highest byte, so there is always something behind a key.
                    return successor(bytes).unwrap_or_default();
                }
            }
            _ => return bytes,
        }
    }
    bytes
}

/// The end of the columns' keys.
fn high(columns: &[FieldRange]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for column in columns {
        let value = usable(column, column.read.high.as_ref());
        let at_most = value.map(|end| key::of(&end.value));
        let behind = beginning(column).and_then(successor);
        let behind = behind.filter(|behind| at_most.as_ref().is_none_or(|value| behind <= value));
        match (behind, at_most, value) {
            (Some(behind), ..) => {
                bytes.extend(behind);
                return Some(bytes);
            }
            (None, Some(key), Some(end)) => {
                bytes.extend(key);
                if !end.inclusive {
                    return Some(bytes);
                }
            }
            _ => return successor(bytes),
        }
    }
    successor(bytes)
}

/// Ids are matched by their bytes and an index sorts them as strings, so of the ranges of ids only points can be used.
fn usable<'r>(column: &'r FieldRange, end: Option<&'r End>) -> Option<&'r End> {
    end.filter(|_| *column.field != *"_id" || column.read.is_point())
}

/// What the keys of the values begin with, for the longest text they must begin with.
fn beginning(column: &FieldRange) -> Option<Vec<u8>> {
    let longest = column.beginnings.iter().max_by_key(|text| text.len())?;
    let mut bytes = Vec::new();
    key::write_beginning(longest, &mut bytes);
    Some(bytes)
}

fn ids_between(ids: Option<&FieldRange>, partition: Option<&str>) -> Bounds {
    let mut bounds = match partition {
        Some(partition) => starting_with(&format!("{partition}:")),
        None => Bounds::default(),
    };
    let Some(ids) = ids else { return bounds };
    for beginning in &ids.beginnings {
        bounds.meet(starting_with(beginning));
    }
    // Every id is text, and text sorts behind whatever is none: such a low end narrows nothing, such a high end all.
    if let Some(End { value: Value::String(low), inclusive }) = &ids.read.low {
        let low = if *inclusive { low.as_bytes().to_vec() } else { [low.as_bytes(), b"\0"].concat() };
        bounds.meet(Bounds { low, high: None });
    }
    if let Some(End { value, inclusive }) = &ids.read.high {
        let high = match value {
            Value::String(high) if *inclusive => [high.as_bytes(), b"\0"].concat(),
            Value::String(high) => high.as_bytes().to_vec(),
            _ => Vec::new(),
        };
        bounds.meet(Bounds { low: Vec::new(), high: Some(high) });
    }
    bounds
}

impl Bounds {
    fn meet(&mut self, other: Bounds) {
        if other.low > self.low {
            self.low = other.low;
        }
        if let Some(high) = other.high
            && self.high.as_ref().is_none_or(|known| high < *known)
        {
            self.high = Some(high);
        }
    }
}

fn starting_with(text: &str) -> Bounds {
    Bounds { low: text.as_bytes().to_vec(), high: successor(text.as_bytes().to_vec()) }
}

/// The least bytes behind everything that begins with `bytes`; `None` if there are none.
fn successor(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = bytes.pop() {
        if last < u8::MAX {
            bytes.push(last + 1);
            return Some(bytes);
        }
    }
    None
}

/// A partition's name and an end that no name has in it.
fn write_partition(partition: &str, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(partition.as_bytes());
    bytes.push(b':');
}

#[cfg(test)]
mod tests;
