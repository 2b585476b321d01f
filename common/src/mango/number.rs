//! JSON numbers, compared by their exact value.
//!
//! A number without a fraction and an exponent is an integer of any size; every other one is the nearest `f64`. So two
//! integers that share their nearest `f64` are still two numbers, as CouchDB's are.

use std::borrow::Cow;
use std::cmp::Ordering;

/// From here on neighbouring integers may share their nearest `f64` (2^53).
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
/// Sorts behind the count of digits of any integer: fractions beyond the range of `f64` are infinite.
const INFINITE: u16 = u16::MAX;

/// A number as it was written.
#[derive(Debug, Clone)]
pub struct Number<'t> {
    text: Cow<'t, str>,
    nearest: f64,
    integer: bool,
}

impl<'t> Number<'t> {
    /// The number of a JSON token.
    pub fn new(text: impl Into<Cow<'t, str>>) -> Self {
        let text = text.into();
        let integer = !text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        // Every JSON number is one of Rust's; adding zero makes -0 and 0 the same bits.
        let nearest = text.parse::<f64>().unwrap_or(f64::INFINITY) + 0.0;
        Self { text, nearest, integer }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The nearest `f64`.
    pub fn nearest(&self) -> f64 {
        self.nearest
    }

    /// Whether it was written without a fraction and an exponent.
    pub fn is_integer(&self) -> bool {
        self.integer
    }

    /// As an `i64`, if it is such an integer.
    pub fn as_i64(&self) -> Option<i64> {
        if self.integer { self.text.parse().ok() } else { None }
    }

    /// What is left of an integer divided by `divisor`, with the integer's sign; `None` for other numbers and for 0.
    pub fn remainder(&self, divisor: i64) -> Option<i64> {
        if !self.integer || divisor == 0 {
            return None;
        }
        let modulus = u128::from(divisor.unsigned_abs());
        let (negative, digits) = self.digits();
        let rest = digits.bytes().fold(0, |rest: u128, digit| (rest * 10 + u128::from(digit - b'0')) % modulus);
        let rest = i64::try_from(rest).unwrap_or(i64::MAX);
        Some(if negative { -rest } else { rest })
    }

    /// The same number, independent of the text it was read from.
    pub fn into_owned(self) -> Number<'static> {
        Number { text: Cow::Owned(self.text.into_owned()), nearest: self.nearest, integer: self.integer }
    }

    /// Appends bytes that sort as numbers do and tell their own end.
    pub fn write_key(&self, key: &mut Vec<u8>) {
        let bits = self.nearest.to_bits();
        let ordered = if self.nearest.is_sign_negative() { !bits } else { bits | 1 << 63 };
        key.extend_from_slice(&ordered.to_be_bytes());
        let Some((count, digits)) = self.exact() else { return };
        let flip = if self.nearest.is_sign_negative() { 0xff } else { 0 };
        key.extend(count.to_be_bytes().iter().chain(digits.as_bytes()).map(|byte| byte ^ flip));
    }

    fn digits(&self) -> (bool, &str) {
        self.text.strip_prefix('-').map_or((false, &*self.text), |digits| (true, digits))
    }

    /// What tells apart numbers with one nearest `f64`: count and digits of the whole number, without its sign.
    fn exact(&self) -> Option<(u16, Cow<'_, str>)> {
        if self.nearest.abs() < EXACT_BELOW {
            return None;
        }
        let digits = match self.integer {
            true => Cow::Borrowed(self.digits().1),
            false if self.nearest.is_infinite() => return Some((INFINITE, Cow::Borrowed(""))),
            // All `f64` this large are whole numbers, and this prints them exactly.
            false => Cow::Owned(format!("{:.0}", self.nearest.abs())),
        };
        // JSON integers are let in with 4,300 digits at most.
        Some((u16::try_from(digits.len()).unwrap_or(INFINITE - 1), digits))
    }
}

impl Ord for Number<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let nearest = self.nearest.total_cmp(&other.nearest);
        if nearest.is_ne() || self.nearest.abs() < EXACT_BELOW {
            return nearest;
        }
        let exact = self.exact().cmp(&other.exact());
        if self.nearest.is_sign_negative() { exact.reverse() } else { exact }
    }
}

impl PartialOrd for Number<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Vec<u8> {
        let mut key = Vec::new();
        Number::new(text).write_key(&mut key);
        key
    }

    #[test]
    fn numbers_sort_by_their_exact_value() {
        let sorted = [
            "-1e999",
            "-9007199254740993",
            "-9007199254740992",
            "-1.5",
            "-1",
            "-0.1",
            "0",
            "1e-3",
            "1",
            "1.5",
            "10",
            "9007199254740992",
            "9007199254740993",
            "9007199254740994",
            "100000000000000000000000",
            "100000000000000000000001",
            "1e300",
            "1e999",
        ];
        for (at, low) in sorted.iter().enumerate() {
            for high in &sorted[at + 1..] {
                assert_eq!(Number::new(*low).cmp(&Number::new(*high)), Ordering::Less, "{low} {high}");
                assert!(key(low) < key(high), "{low} {high}");
            }
        }
    }

    #[test]
    fn equal_values_are_equal_however_they_are_written() {
        let equal =
            [("1", "1.0"), ("0", "-0.0"), ("100", "1e2"), ("9007199254740992", "9007199254740992.0"), ("-0", "0.0")];
        for (a, b) in equal {
            assert_eq!(Number::new(a), Number::new(b), "{a} {b}");
            assert_eq!(key(a), key(b), "{a} {b}");
        }
    }

    #[test]
    fn remainders_are_those_of_integers_of_any_size() {
        let remainder = |text, divisor| Number::new(text).remainder(divisor);
        assert_eq!(remainder("7", 3), Some(1));
        assert_eq!(remainder("-7", 3), Some(-1));
        assert_eq!(remainder("7", -3), Some(1));
        assert_eq!(remainder("100000000000000000000000000000000000000000001", 10), Some(1));
        assert_eq!(remainder("7.0", 3), None);
        assert_eq!(remainder("7", 0), None);
    }
}
