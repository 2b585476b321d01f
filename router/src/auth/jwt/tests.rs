//! Tokens signed in every way, good and bad.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
// Keys made for these tests and used nowhere else.
const RSA: &[u8] = include_bytes!("testkeys/rsa.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("testkeys/rsa.pub.pem");
const EC: &[u8] = include_bytes!("testkeys/ec.pem");
const EC_PUBLIC: &[u8] = include_bytes!("testkeys/ec.pub.pem");
const NOW: u64 = 1_700_000_000;

fn load(kid: &str, algorithm: JwtAlgorithm, key: &[u8]) -> Result<Tokens, Error> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(key).expect("written");
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).expect("chmod");
    Tokens::load(&[JwtKey { kid: kid.to_owned(), algorithm, key_file: file.path().to_owned() }])
}

fn tokens() -> Tokens {
    let mut all = load("_default", JwtAlgorithm::HS256, SECRET.as_bytes()).expect("a secret");
    all.0.extend(load("rsa", JwtAlgorithm::RS256, RSA_PUBLIC).expect("a public key").0);
    all.0.extend(load("ec", JwtAlgorithm::ES256, EC_PUBLIC).expect("a public key").0);
    all
}

fn signed(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> Vec<u8> {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).expect("signed").into_bytes()
}

fn hs256(claims: &Value) -> Vec<u8> {
    signed(Algorithm::HS256, None, &EncodingKey::from_secret(SECRET.as_bytes()), claims)
}

fn good() -> Value {
    json!({"sub": "jan", "exp": NOW + 10, "aud": "somebody else", "_couchdb.roles": ["r", "_admin"]})
}

#[test]
fn a_token_of_each_kind_names_its_user() {
    let rsa = EncodingKey::from_rsa_pem(RSA).expect("a key");
    let ec = EncodingKey::from_ec_pem(EC).expect("a key");
    for token in [
        hs256(&good()),
        signed(Algorithm::RS256, Some("rsa"), &rsa, &good()),
        signed(Algorithm::ES256, Some("ec"), &ec, &good()),
    ] {
        let user = tokens().verify(&token, NOW).expect("good");
        assert_eq!((user.name.as_deref(), user.by), (Some("jan"), Some(Handler::Jwt)));
        assert!(user.is_admin(), "whoever signs tokens says what roles there are");
    }
    let plain = tokens().verify(&hs256(&json!({"sub": "jan", "exp": NOW as f64 + 0.5})), NOW).expect("good");
    assert!(plain.roles.is_empty());
}

#[test]
fn time_is_kept() {
    let at = |claims: Value| tokens().verify(&hs256(&claims), NOW).map(|_| ());
    let denied = |reason| Err(Denied::Token(reason));
    assert_eq!(at(json!({"sub": "jan"})), denied("exp is missing"));
    assert_eq!(at(json!({"sub": "jan", "exp": NOW})), denied("exp not in future"));
    assert_eq!(at(json!({"sub": "jan", "exp": NOW + 1, "nbf": NOW + 1})), denied("nbf not in past"));
    assert_eq!(at(json!({"sub": "jan", "exp": NOW + 1, "nbf": NOW})), Ok(()));
    assert_eq!(at(json!({"exp": NOW + 1})), denied("sub is missing"));
    assert_eq!(at(json!({"sub": "", "exp": NOW + 1})), denied("sub is missing"));
    assert_eq!(at(json!({"sub": "jan", "exp": "soon"})), denied("Bad claims"));
    assert_eq!(at(json!({"sub": "jan", "exp": NOW + 1, "_couchdb.roles": "_admin"})), denied("Bad claims"));
}

#[test]
fn a_token_signed_otherwise_is_refused() {
    let verify = |token: &[u8]| tokens().verify(token, NOW).map(|_| ());
    let denied = |reason| Err(Denied::Token(reason));
    let encode = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned =
        |alg: &str| format!("{}.{}.", encode(json!({"alg": alg, "typ": "JWT"})), encode(good())).into_bytes();
    for alg in ["none", "None", "NONE", ""] {
        assert_eq!(verify(&unsigned(alg)), denied("Bad token"), "{alg}");
    }
    assert_eq!(verify(&unsigned("HS256")), denied("Bad signature"));
    // The public key is known to everybody: it must not be taken for a secret.
    let public = EncodingKey::from_secret(RSA_PUBLIC);
    assert_eq!(verify(&signed(Algorithm::HS256, Some("rsa"), &public, &good())), denied("Unsupported alg"));
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    assert_eq!(verify(&signed(Algorithm::HS512, None, &secret, &good())), denied("Unsupported alg"));
    assert_eq!(verify(&signed(Algorithm::HS256, Some("other"), &secret, &good())), denied("Unknown kid"));
    let other = EncodingKey::from_secret(b"another secret of enough bytes...");
    assert_eq!(verify(&signed(Algorithm::HS256, None, &other, &good())), denied("Bad signature"));
    let mut changed = hs256(&good());
    let payload = changed.iter().position(|byte| *byte == b'.').expect("three parts") + 5;
    changed[payload] ^= 1;
    assert_eq!(verify(&changed), denied("Bad signature"));
    for noise in [&b""[..], b".", b"..", b"a.b.c", b"a.b.c.d", "ä.ö.ü".as_bytes()] {
        assert_eq!(verify(noise), denied("Bad token"));
    }
}

#[test]
fn keys_that_are_none_are_refused_at_start() {
    assert!(load("a", JwtAlgorithm::HS256, b"too short a secret").is_err());
    assert!(load("a", JwtAlgorithm::RS256, EC_PUBLIC).is_err());
    assert!(load("a", JwtAlgorithm::ES256, RSA_PUBLIC).is_err());
    assert!(load("a", JwtAlgorithm::RS256, b"no key").is_err());
    let missing = JwtKey { kid: "a".to_owned(), algorithm: JwtAlgorithm::RS256, key_file: "/nowhere/key".into() };
    assert!(Tokens::load(&[missing]).is_err());
}

#[test]
fn a_bearer_header_is_taken_apart() {
    assert_eq!(bearer(b"Bearer  x.y.z "), Some(&b"x.y.z"[..]));
    assert_eq!(bearer(b"Basic x"), None);
    assert_eq!(bearer(b"Bearer"), None);
}
