//! What a client says it can take. Pure.

/// Whether an `Accept` header (or its absence) lets an answer of the type `main/sub` through, as CouchDB reads it: a
/// type, or its whole family, with a quality of 0 is refused; without a header everything is taken.
pub(crate) fn accepts(header: Option<&str>, main: &str, sub: &str) -> bool {
    let Some(header) = header.filter(|header| !header.trim().is_empty()) else { return true };
    let ranges = header.split(',').filter_map(Range::parse);
    let fitting = ranges.filter(|range| range.covers(main, sub));
    let (mut taken, mut refused) = (false, false);
    for range in fitting {
        taken |= range.wanted;
        refused |= !range.wanted && range.main != "*";
    }
    taken && !refused
}

/// One of the header's media ranges.
struct Range<'h> {
    main: &'h str,
    sub: &'h str,
    /// Whether its quality is above 0.
    wanted: bool,
}

impl<'h> Range<'h> {
    fn parse(text: &'h str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let quality = parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.trim().parse::<f32>().ok());
        Some(Self { main, sub, wanted: quality.is_none_or(|quality| quality > 0.0) })
    }

    fn covers(&self, main: &str, sub: &str) -> bool {
        let same = |range: &str, name: &str| range == "*" || range.eq_ignore_ascii_case(name);
        same(self.main, main) && same(self.sub, sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_taken_unless_the_header_leaves_it_out() {
        for (header, taken) in [
            (None, true),
            (Some("*/*"), true),
            (Some("application/json"), false),
            (Some("application/json, */*;q=0.1"), true),
            (Some("multipart/*"), true),
            (Some("Multipart/Mixed; q=0.5"), true),
            (Some("multipart/mixed;q=0, */*"), false),
            (Some("multipart/related"), false),
            (Some("nonsense"), false),
        ] {
            assert_eq!(accepts(header, "multipart", "mixed"), taken, "{header:?}");
        }
    }
}
