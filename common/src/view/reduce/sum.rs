//! `_sum`: of numbers, of arrays of numbers place by place, of objects member by member.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Amount, error, is_error};
use crate::mango::Value;

const REASON: &str = "The _sum function requires that map values be numbers, arrays of numbers, or objects. Objects \
    cannot be mixed with other data structures. Objects can be arbitrarily nested, provided that the values for all \
    fields are themselves numbers, arrays of numbers, or objects.";

/// A sum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Sum {
    /// Of numbers.
    Number(Amount),
    /// Of arrays.
    Array(Vec<Amount>),
    /// Of objects.
    Object(BTreeMap<Box<str>, Sum>),
}

impl Default for Sum {
    fn default() -> Self {
        Self::Number(Amount::ZERO)
    }
}

impl Sum {
    pub(super) fn add(&mut self, value: &Value<'_>) -> Result<(), Box<str>> {
        if is_error(value) {
            return Err(value.to_json().into());
        }
        let of_value = Self::of(value)?;
        self.put(of_value).map_err(|()| error(REASON, &value.to_json()))
    }

    pub(super) fn merge(&mut self, other: Sum) -> Result<(), Box<str>> {
        let cause = other.show();
        self.put(other).map_err(|()| error(REASON, &cause))
    }

    fn of(value: &Value<'_>) -> Result<Self, Box<str>> {
        let refused = || error(REASON, &value.to_json());
        match value {
            Value::Number(number) => Ok(Self::Number(Amount::of(number))),
            Value::Array(items) => {
                let amount = |item: &Value<'_>| match item {
                    Value::Number(number) => Ok(Amount::of(number)),
                    _ => Err(refused()),
                };
                Ok(Self::Array(items.iter().map(amount).collect::<Result<_, _>>()?))
            }
            Value::Object(members) => {
                let member =
                    |(name, value): &(std::borrow::Cow<'_, str>, Value<'_>)| Ok((Box::from(&**name), Self::of(value)?));
                Ok(Self::Object(members.iter().map(member).collect::<Result<_, Box<str>>>()?))
            }
            Value::Null | Value::Bool(_) | Value::String(_) => Err(refused()),
        }
    }

    fn put(&mut self, other: Sum) -> Result<(), ()> {
        match (&mut *self, other) {
            (Self::Number(a), Self::Number(b)) => *a = a.plus(b),
            (Self::Array(a), Self::Array(b)) => add_all(a, b),
            (Self::Array(a), Self::Number(b)) => add_all(a, vec![b]),
            (Self::Number(a), Self::Array(b)) => {
                let mut sums = vec![*a];
                add_all(&mut sums, b);
                *self = Self::Array(sums);
            }
            // Nothing yet.
            (Self::Number(a), object @ Self::Object(_)) if *a == Amount::ZERO => *self = object,
            (Self::Object(_), Self::Number(Amount::ZERO)) => {}
            (Self::Object(a), Self::Object(b)) => {
                for (name, sum) in b {
                    match a.get_mut(&name) {
                        Some(known) => known.put(sum)?,
                        None => drop(a.insert(name, sum)),
                    }
                }
            }
            _ => return Err(()),
        }
        Ok(())
    }

    pub(super) fn show(&self) -> String {
        match self {
            Self::Number(amount) => amount.show(),
            Self::Array(amounts) => {
                let amounts: Vec<String> = amounts.iter().map(|amount| amount.show()).collect();
                format!("[{}]", amounts.join(","))
            }
            Self::Object(members) => {
                let members = members.iter().map(|(name, sum)| (serde_json::Value::from(&**name), sum.show()));
                let members: Vec<String> = members.map(|(name, sum)| format!("{name}:{sum}")).collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }
}

fn add_all(sums: &mut Vec<Amount>, others: Vec<Amount>) {
    for (at, other) in others.into_iter().enumerate() {
        match sums.get_mut(at) {
            Some(sum) => *sum = sum.plus(other),
            None => sums.push(other),
        }
    }
}
