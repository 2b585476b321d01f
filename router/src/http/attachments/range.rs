//! Which bytes a `Range` header asks for. Pure.

/// What is asked for of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of them: there is no header, or one that is not understood, or several ranges.
    All,
    /// Those from `from`, up to but not including `to`.
    Part {
        /// The first.
        from: u64,
        /// The one behind the last.
        to: u64,
    },
    /// None of those that there are.
    Nothing,
}

/// Reads the header; there are `len` bytes.
pub(super) fn parse(header: Option<&str>, len: u64) -> Asked {
    let Some(ranges) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else { return Asked::All };
    let Some((first, last)) = ranges.split_once('-').filter(|_| !ranges.contains(',')) else { return Asked::All };
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => Some(Some(text.parse().unwrap_or(u64::MAX))),
        _ => None,
    };
    let (from, to) = match (number(first), number(last)) {
        (Some(Some(from)), Some(Some(last))) if last < from => return Asked::All,
        (Some(Some(from)), Some(last)) => (from, last.map_or(len, |last: u64| last.saturating_add(1).min(len))),
        (Some(None), Some(Some(count))) => (len.saturating_sub(count), len),
        _ => return Asked::All,
    };
    if from < to { Asked::Part { from, to } } else { Asked::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_served_and_everything_else_is_all_or_nothing() {
        let part = |from, to| Asked::Part { from, to };
        for (header, asked) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-5", part(2, 6)),
            ("bytes=2-", part(2, 10)),
            ("bytes=2-99999999999999999999999", part(2, 10)),
            ("bytes=-3", part(7, 10)),
            ("bytes=-99", part(0, 10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=10-12", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-2", Asked::All),
            ("bytes=0-1,4-5", Asked::All),
            ("bytes=", Asked::All),
            ("bytes=-", Asked::All),
            ("bytes=a-b", Asked::All),
            ("lines=1-2", Asked::All),
        ] {
            assert_eq!(parse(Some(header), 10), asked, "{header}");
        }
        assert_eq!(parse(None, 10), Asked::All);
        assert_eq!(parse(Some("bytes=0-"), 0), Asked::Nothing);
    }
}
