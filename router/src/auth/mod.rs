//! Who is asking: the configured admin by HTTP Basic, or, where no admin is configured, anybody.
//!
//! Without an admin everybody is admin; the start-up check allows that on loopback only, and a request must be addressed
//! to it. With one, a password is
//! verified with Argon2id once and remembered under a keyed hash, so that a request costs no Argon2 run.

mod basic;
mod host;
mod verified;

use std::sync::Arc;

use common::secret::PasswordHash;
use tokio::sync::Semaphore;

pub use host::{Foreign, require_loopback};
use verified::Verified;

/// Argon2 runs at a time: each takes a core for some 20 ms and 19 MiB, which must not starve the requests of those
/// who are in already.
const VERIFICATIONS_MAX: usize = 2;
/// Verifications that may wait; above that the caller is turned away. Two at a time make 64 wait less than a second.
const WAITING_MAX: usize = 64;

/// Checks credentials.
pub struct Auth {
    admin: Option<Admin>,
}

struct Admin {
    name: Arc<str>,
    hash: PasswordHash,
    verified: Verified,
    running: Semaphore,
    waiting: Semaphore,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// Nobody in particular: no credentials were given.
    Anonymous,
    /// The server admin; without a name where no admin is configured and everybody is one.
    Admin {
        /// The configured name.
        name: Option<Arc<str>>,
    },
}

/// Why credentials were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// They are wrong.
    #[error("Name or password is incorrect.")]
    Wrong,
    /// Too many are being verified.
    #[error("too many passwords wait to be verified")]
    Busy,
}

impl User {
    /// Whether this is a server admin.
    pub fn is_admin(&self) -> bool {
        matches!(self, User::Admin { .. })
    }
}

impl Auth {
    /// Admits the admin alone, or everybody if there is none.
    pub fn new(admin: Option<(String, PasswordHash)>) -> Self {
        let admin = admin.map(|(name, hash)| Admin {
            name: name.into(),
            hash,
            verified: Verified::new(),
            running: Semaphore::new(VERIFICATIONS_MAX),
            waiting: Semaphore::new(WAITING_MAX),
        });
        Self { admin }
    }

    /// Whether an admin is configured; if not, everybody is admin.
    pub fn is_closed(&self) -> bool {
        self.admin.is_some()
    }

    /// Tells who sent this `Authorization` header. A header of another scheme, or a malformed one, names nobody.
    pub async fn identify(&self, header: Option<&[u8]>) -> Result<User, Denied> {
        let Some(admin) = &self.admin else { return Ok(User::Admin { name: None }) };
        let Some(credentials) = header.and_then(basic::encoded) else { return Ok(User::Anonymous) };
        let known = admin.verified.contains(credentials);
        if known || admin.verify(credentials).await? {
            return Ok(User::Admin { name: Some(Arc::clone(&admin.name)) });
        }
        Err(Denied::Wrong)
    }
}

impl Admin {
    async fn verify(&self, credentials: &[u8]) -> Result<bool, Denied> {
        let Some((name, password)) = basic::decode(credentials) else { return Ok(false) };
        let _place = self.waiting.try_acquire().map_err(|_| Denied::Busy)?;
        let _turn = self.running.acquire().await.map_err(|_| Denied::Busy)?;
        // Another request may have verified the same password while this one waited.
        if self.verified.contains(credentials) {
            return Ok(true);
        }
        let hash = self.hash.clone();
        // The password is verified also under a wrong name, so that the time taken tells nothing about names.
        let matches = tokio::task::spawn_blocking(move || hash.verify(&password)).await.map_err(|_| Denied::Busy)?;
        let right = matches && name == *self.name;
        if right {
            self.verified.insert(credentials);
        }
        Ok(right)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    fn header(text: &str) -> Vec<u8> {
        format!("Basic {}", BASE64_STANDARD.encode(text)).into_bytes()
    }

    #[tokio::test]
    async fn without_an_admin_everybody_is_admin() {
        let auth = Auth::new(None);
        assert_eq!(auth.identify(None).await, Ok(User::Admin { name: None }));
        assert_eq!(auth.identify(Some(&header("x:y"))).await, Ok(User::Admin { name: None }));
    }

    #[tokio::test]
    async fn the_admin_comes_in_and_nobody_else() {
        let auth = Auth::new(Some(("adm".to_owned(), PasswordHash::hash("pass:word"))));
        let admin = User::Admin { name: Some("adm".into()) };
        assert_eq!(auth.identify(Some(&header("adm:pass:word"))).await, Ok(admin.clone()));
        assert_eq!(auth.identify(Some(&header("adm:pass:word"))).await, Ok(admin), "from memory");
        for wrong in ["adm:pass", "ad:pass:word", "adm", ""] {
            assert_eq!(auth.identify(Some(&header(wrong))).await, Err(Denied::Wrong), "{wrong}");
        }
        assert_eq!(auth.identify(Some(b"Basic !!!")).await, Err(Denied::Wrong));
    }

    #[tokio::test]
    async fn a_header_of_another_scheme_names_nobody() {
        let auth = Auth::new(Some(("adm".to_owned(), PasswordHash::hash("x"))));
        for header in [None, Some(&b"Basic:"[..]), Some(b"Bearer x"), Some(b"")] {
            assert_eq!(auth.identify(header).await, Ok(User::Anonymous));
        }
    }
}
