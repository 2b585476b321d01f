//! JSON Web Tokens (RFC 7519) instead of a password: `Authorization: Bearer …`, signed with a configured key.
//!
//! A key signs in one way only: a token that names another algorithm, or none, is refused, whatever its signature. It
//! must say until when it is good (`exp`) and for whom (`sub`). Time comes in; nothing here reads a clock.

use common::config::{Error, JwtAlgorithm, JwtKey};
use common::secret::Secret;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

use super::Denied;
use super::user::{Handler, User};

/// The key of tokens that name none.
const DEFAULT_KID: &str = "_default";
/// Shortest secret for HS256, in bytes, as RFC 7518 (3.2) wants it: a shorter one can be found by trying.
const SECRET_BYTES_MIN: usize = 32;

/// The keys that tokens are checked with.
pub(super) struct Tokens(Vec<Key>);

struct Key {
    kid: String,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What a token says. Times are in seconds since 1970 and may have a fraction.
#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(rename = "_couchdb.roles", default)]
    roles: Vec<String>,
}

/// The token in an `Authorization` header; `None` if the header is of another scheme.
pub(super) fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

impl Tokens {
    /// Reads the configured keys. Errors name the file and what is wrong with it.
    pub(super) fn load(keys: &[JwtKey]) -> Result<Self, Error> {
        keys.iter().map(Key::load).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are no keys, so that no token can be good.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The user a token speaks for.
    pub(super) fn verify(&self, token: &[u8], now_s: u64) -> Result<User, Denied> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Denied::Token("Bad token"))?;
        let kid = header.kid.as_deref().unwrap_or(DEFAULT_KID);
        let key = self.0.iter().find(|key| key.kid == kid).ok_or(Denied::Token("Unknown kid"))?;
        let mut validation = Validation::new(key.algorithm);
        // Checked below, by the clock that everything else goes by.
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        validation.required_spec_claims.clear();
        let token = jsonwebtoken::decode::<Claims>(token, &key.key, &validation);
        let claims = token.map_err(|error| Denied::Token(reason(error.kind())))?.claims;
        claims.check(now_s as f64)?;
        let name = claims.sub.filter(|sub| !sub.is_empty()).ok_or(Denied::Token("sub is missing"))?;
        Ok(User { name: Some(name.into()), roles: claims.roles.into(), by: Some(Handler::Jwt) })
    }
}

impl Claims {
    fn check(&self, now_s: f64) -> Result<(), Denied> {
        match (self.exp, self.nbf) {
            (None, _) => Err(Denied::Token("exp is missing")),
            (Some(exp), _) if exp <= now_s => Err(Denied::Token("exp not in future")),
            (_, Some(nbf)) if nbf > now_s => Err(Denied::Token("nbf not in past")),
            _ => Ok(()),
        }
    }
}

impl Key {
    fn load(entry: &JwtKey) -> Result<Self, Error> {
        let path = &entry.key_file;
        let unread = |source| Error::File { path: path.clone(), source };
        let bad =
            |reason: &str| Error::Contradiction(format!("jwt key '{}' in {}: {reason}", entry.kid, path.display()));
        let pem = || std::fs::read(path).map_err(unread);
        let (algorithm, key) = match entry.algorithm {
            JwtAlgorithm::HS256 => {
                let secret = Secret::read(path).map_err(unread)?;
                if secret.as_bytes().len() < SECRET_BYTES_MIN {
                    return Err(bad(&format!("an HS256 secret needs {SECRET_BYTES_MIN} characters")));
                }
                (Algorithm::HS256, Ok(DecodingKey::from_secret(secret.as_bytes())))
            }
            JwtAlgorithm::RS256 => (Algorithm::RS256, DecodingKey::from_rsa_pem(&pem()?)),
            JwtAlgorithm::ES256 => (Algorithm::ES256, DecodingKey::from_ec_pem(&pem()?)),
        };
        let key = key.map_err(|error| bad(&format!("is no public key in PEM form: {error}")))?;
        Ok(Self { kid: entry.kid.clone(), algorithm, key })
    }
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => "Bad signature",
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "Unsupported alg",
        ErrorKind::Json(_) => "Bad claims",
        _ => "Bad token",
    }
}

#[cfg(test)]
mod tests;
