//! Secrets: the cluster's, and the admin's password. Compared in constant time, never printed.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
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

    /// A new secret of 256 random bits.
    ///
    /// # Panics
    /// If the system has no randomness to give; nothing would be secret then.
    pub fn random() -> Self {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).expect("the system has randomness");
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Any text, to be kept without being printed.
    pub fn of_any(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The secret itself, to be hashed.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
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
        let made = Self::random();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", made.0)?;
        file.sync_all()?;
        Ok(made)
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

/// What one Argon2id run costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Cost {
    /// The crate's (OWASP's): some 20 ms and 19 MiB.
    fn default() -> Self {
        let params = Params::DEFAULT;
        Self { memory_kib: params.m_cost(), iterations: params.t_cost(), lanes: params.p_cost() }
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
        Self::hash_with(password, Cost::default()).expect("Argon2's default parameters are valid")
    }

    /// Hashes a password with Argon2id at this cost; `None` if the cost is none that Argon2 knows.
    pub fn hash_with(password: &str, cost: Cost) -> Option<Self> {
        let params = Params::new(cost.memory_kib, cost.iterations, cost.lanes, None).ok()?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Some(Self(argon2.hash_password(password.as_bytes()).ok()?.to_string()))
    }

    /// Takes a stored hash (`$argon2id$…`); `None` if it is none, or dearer than `max`: whoever may store one could
    /// otherwise make each of their logins take the machine.
    pub fn from_stored(text: &str, max: Cost) -> Option<Self> {
        let hash = Phc::new(text).ok()?;
        let params = Params::try_from(&hash).ok()?;
        let within = params.m_cost() <= max.memory_kib && params.t_cost() <= max.iterations;
        let complete = hash.salt.is_some() && hash.hash.is_some();
        let fits = within && params.p_cost() <= max.lanes && complete && hash.algorithm.as_str() == "argon2id";
        fits.then(|| Self(text.to_owned()))
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

    #[test]
    fn a_stored_hash_may_not_cost_more_than_allowed() {
        let cheap = Cost { memory_kib: 64, iterations: 1, lanes: 1 };
        let hash = PasswordHash::hash_with("x", cheap).expect("a cost that is known");
        assert!(hash.verify("x"));
        assert_eq!(PasswordHash::from_stored(hash.as_str(), cheap), Some(hash.clone()));
        assert_eq!(PasswordHash::from_stored(hash.as_str(), Cost { memory_kib: 63, ..cheap }), None);
        let dear = hash.as_str().replace("t=1", "t=4000000000");
        assert_eq!(PasswordHash::from_stored(&dear, Cost::default()), None);
        let other = hash.as_str().replace("argon2id", "argon2d");
        assert_eq!(PasswordHash::from_stored(&other, Cost::default()), None);
        assert_eq!(PasswordHash::from_stored("$argon2id$v=19$m=64,t=1,p=1", Cost::default()), None);
    }
}
