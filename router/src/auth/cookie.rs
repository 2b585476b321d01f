//! The session's cookie: who logged in and when, signed. Pure.
//!
//! `AuthSession` is base64url of `name:SECONDS:signature`, the time in hexadecimal, as CouchDB's. The signature covers
//! what the user's password was stored as, so that a new password ends all sessions; nothing is stored of a session.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use common::config::{self, SameSite};
use common::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, header};
use sha2::Sha256;
use std::time::{Duration, UNIX_EPOCH};

/// The cookie's name.
const NAME: &str = "AuthSession";
/// Stands before what is signed, so that a signature made for something else is none here.
const PURPOSE: &[u8] = b"quorate session 1";

/// What a cookie says, unproven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) name: String,
    /// Seconds since 1970.
    pub(super) issued_s: u64,
    signature: Vec<u8>,
}

/// The value of a new cookie.
pub(super) fn sign(key: &Secret, name: &str, stamp: &[u8], issued_s: u64) -> String {
    let signature = mac(key, name, stamp, issued_s).finalize().into_bytes();
    let text = [format!("{name}:{issued_s:X}:").as_bytes(), &signature].concat();
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

impl Claim {
    /// Reads a cookie's value; `None` if it was never one of ours.
    pub(super) fn read(value: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(value).ok()?;
        let mut parts = bytes.splitn(3, |byte| *byte == b':');
        let (name, time, signature) = (parts.next()?, parts.next()?, parts.next()?);
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?.to_owned();
        let issued_s = u64::from_str_radix(std::str::from_utf8(time).ok()?, 16).ok()?;
        Some(Self { name, issued_s, signature: signature.to_vec() })
    }

    /// Whether it was signed with this key for a user with this stamp. Takes the same time whatever is wrong.
    pub(super) fn is_signed(&self, key: &Secret, stamp: &[u8]) -> bool {
        mac(key, &self.name, stamp, self.issued_s).verify_slice(&self.signature).is_ok()
    }

    /// Whether the session is over.
    pub(super) fn is_over(&self, now_s: u64, config: &config::Auth) -> bool {
        now_s >= self.issued_s.saturating_add(config.session_timeout_s)
    }

    /// Whether it is time for a new cookie: a tenth of its life is over. Who keeps asking is never logged out.
    pub(super) fn is_due(&self, now_s: u64, config: &config::Auth) -> bool {
        now_s.saturating_sub(self.issued_s) > config.session_timeout_s / 10
    }
}

fn mac(key: &Secret, name: &str, stamp: &[u8], issued_s: u64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    for part in [PURPOSE, name.as_bytes(), &issued_s.to_be_bytes(), stamp] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac
}

/// The session's cookie in a request; `None` if it has none or an empty one.
pub(super) fn in_request(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == NAME)?;
    let value = value.trim().trim_matches('"');
    (!value.is_empty()).then_some(value)
}

/// The header that gives a browser its cookie.
pub(super) fn set(value: &str, now_s: u64, config: &config::Auth) -> HeaderValue {
    let life = Duration::from_secs(config.session_timeout_s);
    let end = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now_s) + life);
    header_value(&format!("{NAME}={value}; Version=1; Expires={end}; Max-Age={}", life.as_secs()), config)
}

/// The header that takes it away.
pub(super) fn clear(config: &config::Auth) -> HeaderValue {
    let past = httpdate::fmt_http_date(UNIX_EPOCH);
    header_value(&format!("{NAME}=; Version=1; Expires={past}; Max-Age=0"), config)
}

fn header_value(cookie: &str, config: &config::Auth) -> HeaderValue {
    let secure = if config.cookie_secure { "; Secure" } else { "" };
    let same_site = match config.cookie_same_site {
        SameSite::Strict => "Strict",
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    };
    let text = format!("{cookie}; Path=/; HttpOnly; SameSite={same_site}{secure}");
    let mut value = HeaderValue::try_from(text).expect("base64 and dates can stand in a header");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_bound_to_its_key_name_time_and_password() {
        let (key, other) = (Secret::of_any("key"), Secret::of_any("yek"));
        let value = sign(&key, "jan", b"stamp", 0x6553_f100);
        let claim = Claim::read(&value).expect("ours");
        assert_eq!((claim.name.as_str(), claim.issued_s), ("jan", 0x6553_f100));
        assert!(claim.is_signed(&key, b"stamp"));
        assert!(!claim.is_signed(&other, b"stamp"), "another cluster's");
        assert!(!claim.is_signed(&key, b"stamq"), "the password was changed");
        for forged in [
            Claim { name: "jax".to_owned(), ..claim.clone() },
            Claim { issued_s: claim.issued_s + 1, ..claim.clone() },
            Claim { signature: Vec::new(), ..claim.clone() },
            Claim { signature: claim.signature[..31].to_vec(), ..claim },
        ] {
            assert!(!forged.is_signed(&key, b"stamp"), "{forged:?}");
        }
    }

    #[test]
    fn what_is_no_cookie_of_ours_is_not_read() {
        for value in ["", "x", "%", "bmFtZQ", "bmFtZToxMjM", "OjEyOmFi"] {
            assert_eq!(Claim::read(value), None, "{value}");
        }
    }

    #[test]
    fn a_session_ends_and_is_renewed_before() {
        let config = config::Auth::default();
        let claim = Claim { name: "a".to_owned(), issued_s: 1000, signature: Vec::new() };
        let at = |now| (claim.is_over(now, &config), claim.is_due(now, &config));
        assert_eq!(
            [1000, 1060, 1061, 1599, 1600].map(at),
            [(false, false), (false, false), (false, true), (false, true), (true, true)]
        );
        assert_eq!(at(900), (false, false), "another router's clock is ahead");
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(in_request(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; AuthSession=abc; AuthSessionX=d"));
        assert_eq!(in_request(&headers), Some("abc"));
        headers.insert(header::COOKIE, HeaderValue::from_static("AuthSession=\"\""));
        assert_eq!(in_request(&headers), None);
    }

    #[test]
    fn browsers_keep_it_to_themselves() {
        let config = config::Auth::default();
        let shown = |value: HeaderValue| value.to_str().expect("text").to_owned();
        assert_eq!(
            shown(set("abc", 1_700_000_000, &config)),
            "AuthSession=abc; Version=1; Expires=Tue, 14 Nov 2023 22:23:20 GMT; Max-Age=600; Path=/; HttpOnly; SameSite=Lax"
        );
        let strict = config::Auth { cookie_secure: true, cookie_same_site: SameSite::Strict, ..config };
        let cleared = shown(clear(&strict));
        assert!(cleared.starts_with("AuthSession=; ") && cleared.contains("Max-Age=0"), "{cleared}");
        assert!(cleared.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{cleared}");
    }
}
