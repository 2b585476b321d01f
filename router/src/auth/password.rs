//! A stored password: our own Argon2id hash, or a PBKDF2 key that came from a CouchDB with its user. Pure.

use common::config::{ARGON2_ITERATIONS_MAX, ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX};
use common::secret::{Cost, PasswordHash};
use serde_json::{Map, Value};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The name of our scheme in a user's document.
pub(super) const ARGON2ID: &str = "argon2id";
/// The name of CouchDB's scheme.
const PBKDF2: &str = "pbkdf2";
/// Most rounds of PBKDF2 taken: CouchDB's own 600,000 and some more. Each login costs them.
const ROUNDS_MAX: u64 = 1_000_000;
/// Dearest Argon2id hash taken from a document.
const COST_MAX: Cost =
    Cost { memory_kib: ARGON2_MEMORY_KIB_MAX, iterations: ARGON2_ITERATIONS_MAX, lanes: ARGON2_LANES_MAX };

/// What a password is checked against.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Password {
    /// Argon2id.
    Argon2(PasswordHash),
    /// PBKDF2 as CouchDB does it.
    Pbkdf2 { prf: Prf, rounds: u32, salt: String, key: Vec<u8> },
}

/// The function under PBKDF2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prf {
    Sha,
    Sha256,
}

impl Prf {
    fn key_bytes(self) -> usize {
        match self {
            Prf::Sha => 20,
            Prf::Sha256 => 32,
        }
    }
}

impl Password {
    /// Reads the fields of a user's document; `None` if there is no password. Errors with what is wrong.
    pub(super) fn of(document: &Map<String, Value>) -> Result<Option<Self>, String> {
        let text = |name| document.get(name).and_then(Value::as_str);
        match (document.get("password_scheme"), text("password_scheme")) {
            (None | Some(Value::Null), _) => Ok(None),
            (_, Some(ARGON2ID)) => {
                let stored = text("derived_key").and_then(|key| PasswordHash::from_stored(key, COST_MAX));
                let wrong = "derived_key must be an argon2id hash that is not too dear.";
                Ok(Some(Self::Argon2(stored.ok_or(wrong)?)))
            }
            (_, Some(PBKDF2)) => Self::pbkdf2(document).map(Some),
            (Some(other), name) => {
                let name = name.map_or_else(|| other.to_string(), str::to_owned);
                Err(format!("Password scheme `{name}` not supported."))
            }
        }
    }

    fn pbkdf2(document: &Map<String, Value>) -> Result<Self, String> {
        let text = |name| document.get(name).and_then(Value::as_str);
        let prf = match (document.get("pbkdf2_prf"), text("pbkdf2_prf")) {
            (None, _) | (_, Some("sha")) => Prf::Sha,
            (_, Some("sha256")) => Prf::Sha256,
            (Some(other), _) => return Err(format!("pbkdf2_prf {other} is not supported.")),
        };
        let rounds = document.get("iterations").and_then(Value::as_u64).ok_or("iterations must be a number.")?;
        if !(1..=ROUNDS_MAX).contains(&rounds) {
            return Err(format!("iterations must be 1 to {ROUNDS_MAX}."));
        }
        let key = text("derived_key").ok_or("derived_key must be a string.")?;
        let key = unhex(key).filter(|key| key.len() == prf.key_bytes());
        let key = key.ok_or("derived_key must be hexadecimal, as long as its pbkdf2_prf makes it.")?;
        let salt = text("salt").ok_or("salt must be a string.")?.to_owned();
        Ok(Self::Pbkdf2 { prf, rounds: u32::try_from(rounds).map_err(|error| error.to_string())?, salt, key })
    }

    /// Whether `password` is the one. Takes its time: not for a thread that serves requests.
    pub(super) fn verify(&self, password: &str) -> bool {
        match self {
            Self::Argon2(hash) => hash.verify(password),
            Self::Pbkdf2 { prf, rounds, salt, key } => {
                let mut derived = vec![0; prf.key_bytes()];
                let (password, salt) = (password.as_bytes(), salt.as_bytes());
                match prf {
                    Prf::Sha => pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, *rounds, &mut derived),
                    Prf::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, *rounds, &mut derived),
                }
                derived.ct_eq(key).into()
            }
        }
    }

    /// What is different after every change of the password: sessions and remembered passwords are bound to it.
    pub(super) fn stamp(&self) -> Vec<u8> {
        match self {
            Self::Argon2(hash) => hash.as_str().as_bytes().to_vec(),
            Self::Pbkdf2 { salt, key, .. } => [salt.as_bytes(), b"\0", key].concat(),
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || text.len() % 2 == 1 {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Option<Password>, String> {
        Password::of(&serde_json::from_str(json).expect("an object"))
    }

    #[test]
    fn keys_derived_by_couchdb_verify() {
        // Vectors of RFC 6070 (SHA-1) and of RFC 7914 (SHA-256, its first 32 bytes).
        let sha = r#"{"password_scheme":"pbkdf2","iterations":4096,"salt":"salt",
            "derived_key":"4b007901b765489abead49d926f721d065a429c1"}"#;
        let sha = of(sha).expect("valid").expect("there");
        assert!(sha.verify("password") && !sha.verify("Password"));
        let sha256 = r#"{"password_scheme":"pbkdf2","pbkdf2_prf":"sha256","iterations":1,"salt":"salt",
            "derived_key":"55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"}"#;
        let sha256 = of(sha256).expect("valid").expect("there");
        assert!(sha256.verify("passwd") && !sha256.verify("password"));
        assert_ne!(sha.stamp(), sha256.stamp());
    }

    #[test]
    fn our_own_hashes_verify_within_bounds() {
        let cost = Cost { memory_kib: 64, iterations: 1, lanes: 1 };
        let hash = PasswordHash::hash_with("geheim", cost).expect("valid");
        let json = format!(r#"{{"password_scheme":"argon2id","derived_key":"{}"}}"#, hash.as_str());
        assert!(of(&json).expect("valid").expect("there").verify("geheim"));
        assert!(of(&json.replace("t=1", "t=99")).is_err(), "a login must not cost what its owner likes");
        assert_eq!(of("{}").map(|it| it.is_some()), Ok(false));
    }

    #[test]
    fn what_cannot_be_checked_is_refused() {
        for (json, reason) in [
            (r#"{"password_scheme":"simple"}"#, "Password scheme `simple` not supported."),
            (r#"{"password_scheme":"pbkdf2","derived_key":"00"}"#, "iterations must be a number."),
            (r#"{"password_scheme":"pbkdf2","iterations":10}"#, "derived_key must be a string."),
            (r#"{"password_scheme":"pbkdf2","iterations":2000000}"#, "iterations must be 1 to 1000000."),
            (
                r#"{"password_scheme":"pbkdf2","iterations":1,"pbkdf2_prf":"md5"}"#,
                "pbkdf2_prf \"md5\" is not supported.",
            ),
        ] {
            assert_eq!(of(json).err().as_deref(), Some(reason));
        }
    }
}
