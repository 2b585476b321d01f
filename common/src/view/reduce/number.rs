//! Numbers that are added up: whole ones exactly, as Erlang's are, others as fractions.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::mango::Number;

/// A number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Amount {
    /// A whole one.
    Whole(i128),
    /// A fraction, or a whole one that is too large.
    Fraction(f64),
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self::Whole(0);

    pub(super) fn of(number: &Number<'_>) -> Self {
        let whole = if number.is_integer() { number.text().parse().ok() } else { None };
        whole.map_or_else(|| Self::Fraction(number.nearest()), Self::Whole)
    }

    fn nearest(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Fraction(fraction) => fraction,
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => {
                a.checked_add(b).map_or_else(|| Self::Fraction(a as f64 + b as f64), Self::Whole)
            }
            (a, b) => Self::Fraction(a.nearest() + b.nearest()),
        }
    }

    pub(super) fn squared(self) -> Self {
        match self {
            Self::Whole(a) => a.checked_mul(a).map_or_else(|| Self::Fraction(a as f64 * a as f64), Self::Whole),
            Self::Fraction(a) => Self::Fraction(a * a),
        }
    }

    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a.cmp(&b),
            (a, b) => a.nearest().total_cmp(&b.nearest()),
        }
    }

    pub(super) fn min(self, other: Self) -> Self {
        if self.compare(other).is_le() { self } else { other }
    }

    pub(super) fn max(self, other: Self) -> Self {
        if self.compare(other).is_ge() { self } else { other }
    }

    /// JSON text; a fraction shows that it is one.
    pub(super) fn show(self) -> String {
        match self {
            Self::Whole(whole) => whole.to_string(),
            Self::Fraction(fraction) if fraction.is_finite() => format!("{fraction:?}"),
            // What no JSON can say.
            Self::Fraction(_) => "null".to_owned(),
        }
    }
}
