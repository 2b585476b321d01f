//! HTTP Basic (RFC 7617): `Basic base64(name:password)`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// The encoded part of a Basic header; `None` if the header is of another scheme.
pub(super) fn encoded(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(6)?;
    scheme.eq_ignore_ascii_case(b"basic ").then(|| rest.trim_ascii())
}

/// Name and password; the name ends at the first colon.
pub(super) fn decode(encoded: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basic_header_is_taken_apart() {
        let credentials = encoded(b"basic  QWxhZGRpbjpvcGVuOnNlc2FtZQ==").expect("of the scheme");
        assert_eq!(decode(credentials), Some(("Aladdin".to_owned(), "open:sesame".to_owned())));
        assert_eq!(encoded(b"Basic:"), None);
        assert_eq!(decode(b"QWxhZGRpbg=="), None);
        assert_eq!(decode(b"%"), None);
    }
}
