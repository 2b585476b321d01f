//! The reduces that are built in, as CouchDB's give them: what a shard makes of its rows, and how parts are put together.
//!
//! Parts may be put together in any order with the same result, but for what adding fractions in another order does.

mod distinct;
mod number;
mod stats;
mod sum;

use serde::{Deserialize, Serialize};

use crate::mango::Value;
pub use distinct::Distinct;
pub use number::Amount;
pub use stats::Stats;
pub use sum::Sum;

/// A reduce function that is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Builtin {
    /// `_count`
    Count,
    /// `_sum`
    Sum,
    /// `_stats`
    Stats,
    /// `_approx_count_distinct`
    Distinct,
}

/// What came of some rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Partial {
    /// To [`Builtin::Count`].
    Count(u64),
    /// To [`Builtin::Sum`].
    Sum(Sum),
    /// To [`Builtin::Stats`].
    Stats(Stats),
    /// To [`Builtin::Distinct`].
    Distinct(Distinct),
    /// To a function in JavaScript: JSON texts of its values, to be reduced again.
    Values(Vec<Box<str>>),
    /// A value was none that can be reduced: JSON text of the error, which stands in the value's place.
    Failed(Box<str>),
}

impl Builtin {
    /// The function of that name. As in CouchDB what follows the name does not count.
    pub fn named(text: &str) -> Option<Self> {
        let starts = |name: &str| text.starts_with(name);
        match () {
            () if starts("_approx_count_distinct") => Some(Self::Distinct),
            () if starts("_count") => Some(Self::Count),
            () if starts("_sum") => Some(Self::Sum),
            () if starts("_stats") => Some(Self::Stats),
            () => None,
        }
    }

    /// What comes of no rows.
    pub fn nothing(self) -> Partial {
        match self {
            Self::Count => Partial::Count(0),
            Self::Sum => Partial::Sum(Sum::default()),
            Self::Stats => Partial::Stats(Stats::default()),
            Self::Distinct => Partial::Distinct(Distinct::default()),
        }
    }
}

impl Partial {
    /// Adds a row: the bytes of its key, and its value.
    pub fn add(&mut self, key: &[u8], value: &Value<'_>) {
        let added = match self {
            Self::Count(count) => {
                *count += 1;
                Ok(())
            }
            Self::Sum(sum) => sum.add(value),
            Self::Stats(stats) => stats.add(value),
            Self::Distinct(distinct) => {
                distinct.add(key);
                Ok(())
            }
            Self::Values(_) | Self::Failed(_) => Ok(()),
        };
        if let Err(failed) = added {
            *self = Self::Failed(failed);
        }
    }

    /// Adds what came of other rows.
    pub fn merge(&mut self, other: Partial) {
        let merged = match (&mut *self, other) {
            (Self::Failed(_), _) => Ok(()),
            (_, Self::Failed(failed)) => Err(failed),
            (Self::Count(count), Self::Count(other)) => {
                *count += other;
                Ok(())
            }
            (Self::Sum(sum), Self::Sum(other)) => sum.merge(other),
            (Self::Stats(stats), Self::Stats(other)) => stats.merge(other),
            (Self::Distinct(distinct), Self::Distinct(other)) => {
                distinct.merge(other);
                Ok(())
            }
            (Self::Values(values), Self::Values(others)) => {
                values.extend(others);
                Ok(())
            }
            // Of two functions: whoever asked one question has two answers.
            _ => Err(error("parts of different functions", "null")),
        };
        if let Err(failed) = merged {
            *self = Self::Failed(failed);
        }
    }

    /// JSON text of the value.
    pub fn show(&self) -> String {
        match self {
            Self::Count(count) => count.to_string(),
            Self::Sum(sum) => sum.show(),
            Self::Stats(stats) => stats.show(),
            Self::Distinct(distinct) => distinct.estimate().to_string(),
            Self::Values(values) => values.first().map_or_else(|| "null".to_owned(), |value| value.to_string()),
            Self::Failed(failed) => failed.to_string(),
        }
    }
}

/// What stands in the place of a value that cannot be had.
fn error(reason: &str, cause: &str) -> Box<str> {
    let reason = serde_json::Value::from(reason);
    format!(r#"{{"error":"builtin_reduce_error","reason":{reason},"caused_by":{cause}}}"#).into()
}

/// Whether a value is such an error, come from elsewhere.
fn is_error(value: &Value<'_>) -> bool {
    value.get("error").and_then(Value::as_str) == Some("builtin_reduce_error")
}

#[cfg(test)]
mod tests;
