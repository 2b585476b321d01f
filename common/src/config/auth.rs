//! Settings of logins, tokens and other sites' scripts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Config;

/// Longest life of a session, in seconds: a slip of the pen must not make cookies eternal.
const SESSION_SECONDS_MAX: u64 = 90 * 24 * 3600;
/// Most memory of one Argon2 run, in KiB: more would let one login take the machine's.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Most passes of one Argon2 run.
pub const ARGON2_ITERATIONS_MAX: u32 = 16;
/// Most lanes of one Argon2 run.
pub const ARGON2_LANES_MAX: u32 = 8;

/// Logins by users of `_users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// How long a session lives without a request, in seconds. Longer spares logins and keeps a stolen cookie useful.
    pub session_timeout_s: u64,
    /// Whether cookies are marked `Secure`, so that browsers send them over TLS only. Needs TLS in front.
    pub cookie_secure: bool,
    /// Whether browsers send cookies with requests that other sites start. `none` needs `cookie_secure`.
    pub cookie_same_site: SameSite,
    /// Whether anybody may make a user of themselves in `_users`, without roles.
    pub sign_up: bool,
    /// Argon2id's memory for new passwords, in KiB. More makes guessing dearer and each login slower.
    pub argon2_memory_kib: u32,
    /// Argon2id's passes for new passwords.
    pub argon2_iterations: u32,
    /// Argon2id's lanes for new passwords.
    pub argon2_lanes: u32,
    /// Passwords hashed at a time. Each takes a core for its time; more let logins slow the requests of the others.
    pub hashes_at_once: usize,
    /// Passwords that may wait to be hashed; above that callers answer 429.
    pub hashes_waiting_max: usize,
}

/// A cookie's `SameSite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Never sent with another site's requests.
    Strict,
    /// Sent when somebody follows a link.
    Lax,
    /// Always sent.
    None,
}

/// A key that signs tokens (JSON Web Tokens).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtKey {
    /// Its name, as tokens give it in `kid`. A token without one goes by the key called `_default`.
    pub kid: String,
    /// What it signs with; a token that says otherwise is refused.
    pub algorithm: JwtAlgorithm,
    /// File with the key: the secret itself, its line end aside (HS256), or the public key as PEM.
    pub key_file: PathBuf,
}

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// RSA, PKCS #1 v1.5, with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
}

/// What browsers let scripts of other sites do (CORS). Off while there are no origins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Sites whose scripts may ask, as `https://app.example`; `*` alone is every site.
    #[serde(deserialize_with = "super::lists::read")]
    pub origins: Vec<String>,
    /// Whether they may ask with the user's cookies and passwords. Not with `*`: any site could act as whoever visits it.
    pub credentials: bool,
    /// Methods they may use.
    #[serde(deserialize_with = "super::lists::read")]
    pub methods: Vec<String>,
    /// Headers they may send.
    #[serde(deserialize_with = "super::lists::read")]
    pub headers: Vec<String>,
    /// How long browsers remember this, in seconds.
    pub max_age: u64,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            session_timeout_s: 600,
            cookie_secure: false,
            cookie_same_site: SameSite::Lax,
            sign_up: false,
            argon2_memory_kib: 19 * 1024,
            argon2_iterations: 2,
            argon2_lanes: 1,
            hashes_at_once: 2,
            hashes_waiting_max: 64,
        }
    }
}

impl Default for Cors {
    fn default() -> Self {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        Self {
            origins: Vec::new(),
            credentials: false,
            methods: list(&["GET", "HEAD", "POST", "PUT", "DELETE", "COPY"]),
            headers: list(&[
                "accept",
                "accept-language",
                "authorization",
                "cache-control",
                "content-encoding",
                "content-type",
                // Without it no script can copy a document.
                "destination",
                "idempotency-key",
                "if-match",
                "if-none-match",
                "last-event-id",
                "origin",
                "pragma",
                "range",
                "referer",
                "x-couch-full-commit",
                "x-requested-with",
            ]),
            max_age: 600,
        }
    }
}

impl Config {
    /// Checks what a single field's type cannot say.
    pub(super) fn check_auth(&self) -> Result<(), String> {
        let Auth { session_timeout_s, cookie_secure, cookie_same_site, .. } = self.auth;
        if !(1..=SESSION_SECONDS_MAX).contains(&session_timeout_s) {
            return Err(format!("auth.session_timeout_s must be 1 to {SESSION_SECONDS_MAX}"));
        }
        if cookie_same_site == SameSite::None && !cookie_secure {
            return Err("auth.cookie_same_site 'none' needs cookie_secure: browsers refuse it otherwise".to_owned());
        }
        if self.auth.hashes_at_once == 0 || self.auth.hashes_waiting_max == 0 {
            return Err("auth.hashes_at_once and auth.hashes_waiting_max must be at least 1".to_owned());
        }
        self.check_argon2().and_then(|()| self.check_jwt()).and_then(|()| self.check_cors())
    }

    fn check_argon2(&self) -> Result<(), String> {
        let Auth { argon2_memory_kib: memory, argon2_iterations: iterations, argon2_lanes: lanes, .. } = self.auth;
        if !(1..=ARGON2_LANES_MAX).contains(&lanes) {
            return Err(format!("auth.argon2_lanes must be 1 to {ARGON2_LANES_MAX}"));
        }
        if !(8 * lanes..=ARGON2_MEMORY_KIB_MAX).contains(&memory) {
            return Err(format!("auth.argon2_memory_kib must be {} to {ARGON2_MEMORY_KIB_MAX}", 8 * lanes));
        }
        if !(1..=ARGON2_ITERATIONS_MAX).contains(&iterations) {
            return Err(format!("auth.argon2_iterations must be 1 to {ARGON2_ITERATIONS_MAX}"));
        }
        Ok(())
    }

    fn check_jwt(&self) -> Result<(), String> {
        let kids: std::collections::BTreeSet<_> = self.jwt.iter().map(|key| &key.kid).collect();
        if kids.len() != self.jwt.len() {
            return Err("two [[jwt]] keys have the same kid".to_owned());
        }
        // Without an admin nobody is asked who they are.
        if !self.jwt.is_empty() && !self.has_admin() {
            return Err("[[jwt]] keys need an [admin]: without one everybody is admin".to_owned());
        }
        Ok(())
    }

    fn check_cors(&self) -> Result<(), String> {
        let any = self.cors.origins.iter().any(|origin| origin == "*");
        if any && self.cors.origins.len() > 1 {
            return Err("cors.origins: '*' stands alone".to_owned());
        }
        if any && self.cors.credentials {
            let reason = "any site could act as whoever visits it; list the origins";
            return Err(format!("cors.credentials cannot go with origins '*': {reason}"));
        }
        let is_origin = |text: &String| {
            let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
            text == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ', ',']))
        };
        match self.cors.origins.iter().find(|origin| !is_origin(origin)) {
            Some(origin) => Err(format!("cors.origins: '{origin}' is no origin as https://app.example")),
            None => Ok(()),
        }
    }

    /// Whether a server admin is configured; if not, everybody on this machine is one.
    pub fn has_admin(&self) -> bool {
        self.admin.is_some() || !self.admins.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Admin, Deployment};

    fn refusal(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config { admin: Some(Admin::default()), ..Config::default() };
        change(&mut config);
        config.check(Deployment::Embedded).expect_err("refused").to_string()
    }

    #[test]
    fn what_would_open_a_door_is_refused() {
        let origins = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert!(refusal(|c| c.auth.session_timeout_s = 0).contains("session_timeout_s"));
        assert!(refusal(|c| c.auth.cookie_same_site = SameSite::None).contains("cookie_secure"));
        assert!(refusal(|c| c.auth.argon2_memory_kib = 1).contains("argon2_memory_kib"));
        assert!(refusal(|c| c.auth.hashes_at_once = 0).contains("hashes_at_once"));
        let any = |c: &mut Config| c.cors = Cors { origins: origins(&["*"]), credentials: true, ..Cors::default() };
        assert!(refusal(any).contains("any site"));
        for origin in ["app.example", "https://", "https://a/", "https://*.example"] {
            assert!(refusal(|c| c.cors.origins = origins(&[origin])).contains("is no origin"), "{origin}");
        }
        let key = |kid: &str| JwtKey { kid: kid.to_owned(), algorithm: JwtAlgorithm::HS256, key_file: "k".into() };
        assert!(refusal(|c| c.jwt = vec![key("a"), key("a")]).contains("same kid"));
        let open = |c: &mut Config| (c.admin, c.jwt) = (None, vec![key("a")]);
        assert!(refusal(open).contains("need an [admin]"));
    }
}
