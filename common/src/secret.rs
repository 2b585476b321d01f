//! Secrets: the cluster's, and the admin's password. Compared in constant time, never printed.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use http::HeaderValue;
use subtle::ConstantTimeEq;

/// Shortest secret accepted, in characters: below that it could be guessed over the network.
const SECRET_CHARS_MIN: usize = 16;

/// What the nodes and routers of one cluster share.
#[derive(Clone)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A secret from text; `None` if it is shorter than 16 characters or could not stand in a header.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let printable = text.bytes().all(|b| b.is_ascii_graphic());
        (printable && text.len() >= SECRET_CHARS_MIN).then(|| Self(text.to_owned()))
    }

    /// Reads the secret from a file, surrounding white space aside. Refuses a file that others may read.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o007 != 0 {
            let reason = format!("{} may be read by everybody (mode {:o}); chmod 600 it", path.display(), mode & 0o777);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        Self::new(&std::fs::read_to_string(path)?).ok_or_else(|| {
            let reason = format!("{} must hold at least {SECRET_CHARS_MIN} printable characters", path.display());
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })
    }

    /// Makes a new secret of 256 random bits and keeps it in a new file that only its owner may read.
    pub fn generate(path: &Path) -> io::Result<Self> {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        Ok(Self(text))
    }

    /// Whether `offered` is the secret; takes the same time whatever it is.
    pub fn matches(&self, offered: &str) -> bool {
        self.0.as_bytes().ct_eq(offered.as_bytes()).into()
    }

    /// Whether a header `Authorization: Bearer …` carries the secret.
    pub fn admits(&self, header: Option<&HeaderValue>) -> bool {
        let offered = header.and_then(|value| value.to_str().ok()).and_then(|text| text.strip_prefix("Bearer "));
        offered.is_some_and(|offered| self.matches(offered))
    }

    /// The header value that carries the secret, marked so that it is never logged.
    pub fn header(&self) -> HeaderValue {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).expect("checked to be printable");
        value.set_sensitive(true);
        value
    }
}

/// A password's Argon2id hash, as a PHC string.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl PasswordHash {
    /// Hashes a password with Argon2id and the crate's (OWASP's) parameters: some 20 ms and 19 MiB.
    pub fn hash(password: &str) -> Self {
        let hash = Argon2::default().hash_password(password.as_bytes());
        Self(hash.expect("Argon2's default parameters are valid and the salt is random").to_string())
    }

    /// Takes a configured password: a hash (`$argon2id$…`) as it is, anything else is hashed.
    /// Errors with the parser's reason if it looks like a hash and is none.
    pub fn from_configured(text: &str) -> Result<Self, String> {
        if !text.starts_with("$argon2") {
            return Ok(Self::hash(text));
        }
        Phc::new(text).map_err(|error| format!("the admin's password hash cannot be read: {error}"))?;
        Ok(Self(text.to_owned()))
    }

    /// Whether `password` is the one that was hashed. Costs as much as hashing.
    pub fn verify(&self, password: &str) -> bool {
        let Ok(hash) = Phc::new(&self.0) else { return false };
        Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
    }

    /// The PHC string, to be stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_for_its_owner_alone_and_never_printed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("cluster.secret");
        let made = Secret::generate(&path).expect("generated");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Secret::read(&path).expect("read");
        assert!(read.admits(Some(&made.header())));
        assert!(!read.matches("something else"));
        assert!(!read.admits(None));
        assert_eq!(format!("{made:?}"), "Secret(…)");
        assert!(Secret::generate(&path).is_err(), "an existing secret is never overwritten");
    }

    #[test]
    fn open_or_short_secret_files_are_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("s");
        std::fs::write(&path, "short").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        assert_eq!(Secret::read(&path).expect_err("short").kind(), io::ErrorKind::InvalidData);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        assert_eq!(Secret::read(&path).expect_err("open").kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn passwords_verify_against_their_hash_only() {
        let hash = PasswordHash::from_configured("geheim").expect("plain");
        assert!(hash.verify("geheim"));
        assert!(!hash.verify("Geheim"));
        assert_eq!(PasswordHash::from_configured(hash.as_str()), Ok(hash));
        assert!(PasswordHash::from_configured("$argon2id$nonsense").is_err());
    }
}
