//! `_stats`: sum, count, smallest, largest and sum of squares; of numbers, or of arrays of numbers place by place. Values
//! may be such statistics themselves.

use serde::{Deserialize, Serialize};

use super::{Amount, error};
use crate::mango::Value;

/// Statistics.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Stats {
    /// Of nothing.
    #[default]
    Empty,
    /// Of numbers.
    One(Five),
    /// Of arrays.
    Many(Vec<Five>),
}

/// The five numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Five {
    sum: Amount,
    count: Amount,
    min: Amount,
    max: Amount,
    sumsqr: Amount,
}

impl Stats {
    pub(super) fn add(&mut self, value: &Value<'_>) -> Result<(), Box<str>> {
        let refused = || refused(&value.to_json());
        let of_value = match value {
            Value::Array(items) => Self::Many(items.iter().map(Five::of).collect::<Option<_>>().ok_or_else(refused)?),
            value => Self::One(Five::of(value).ok_or_else(refused)?),
        };
        self.put(of_value).map_err(|()| refused())
    }

    pub(super) fn merge(&mut self, other: Stats) -> Result<(), Box<str>> {
        let cause = other.show();
        self.put(other).map_err(|()| refused(&cause))
    }

    fn put(&mut self, other: Stats) -> Result<(), ()> {
        match (&mut *self, other) {
            (_, Self::Empty) => {}
            (Self::Empty, other) => *self = other,
            (Self::One(a), Self::One(b)) => *a = a.with(b),
            (Self::Many(a), Self::Many(b)) if a.len() == b.len() => {
                a.iter_mut().zip(b).for_each(|(a, b)| *a = a.with(b));
            }
            _ => return Err(()),
        }
        Ok(())
    }

    pub(super) fn show(&self) -> String {
        match self {
            // Where there are no rows there is no value to be shown either.
            Self::Empty => "null".to_owned(),
            Self::One(five) => five.show(),
            Self::Many(fives) => {
                let fives: Vec<String> = fives.iter().map(|five| five.show()).collect();
                format!("[{}]", fives.join(","))
            }
        }
    }
}

impl Five {
    fn number(amount: Amount) -> Self {
        Self { sum: amount, count: Amount::Whole(1), min: amount, max: amount, sumsqr: amount.squared() }
    }

    fn of(value: &Value<'_>) -> Option<Self> {
        if let Value::Number(number) = value {
            return Some(Self::number(Amount::of(number)));
        }
        let member = |name: &str| match value.get(name)? {
            Value::Number(number) => Some(Amount::of(number)),
            _ => None,
        };
        let [sum, count, min, max, sumsqr] = ["sum", "count", "min", "max", "sumsqr"].map(member);
        Some(Self { sum: sum?, count: count?, min: min?, max: max?, sumsqr: sumsqr? })
    }

    fn with(self, other: Self) -> Self {
        Self {
            sum: self.sum.plus(other.sum),
            count: self.count.plus(other.count),
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            sumsqr: self.sumsqr.plus(other.sumsqr),
        }
    }

    fn show(&self) -> String {
        let Self { sum, count, min, max, sumsqr } = self;
        let [sum, count, min, max, sumsqr] = [sum, count, min, max, sumsqr].map(|amount| amount.show());
        format!(r#"{{"sum":{sum},"count":{count},"min":{min},"max":{max},"sumsqr":{sumsqr}}}"#)
    }
}

fn refused(cause: &str) -> Box<str> {
    error(
        &format!("The _stats function requires that map values be numbers or arrays of numbers, not '{cause}'"),
        cause,
    )
}
