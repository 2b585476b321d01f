//! Who is asking: server admins of the configuration and users of `_users`, by HTTP Basic, by a session's cookie or by
//! a token; or, where no admin is configured, anybody.
//!
//! Without an admin everybody is admin; the start-up check allows that on loopback only, and a request must be addressed
//! to it. With one, a password is verified by hashing once and then remembered under a keyed hash, so that a request
//! costs no run of Argon2. Who may do what is in `rules`.

mod accounts;
mod acting;
mod basic;
mod cookie;
mod hashing;
mod host;
mod jwt;
mod password;
pub mod rules;
mod user;
pub mod user_document;
mod verified;

use std::sync::Arc;

use common::config::{self, Config, ConfiguredAdmin};
use common::refusal::Refusal;
use common::secret::{Cost, PasswordHash};
use http::{HeaderMap, HeaderValue, header};

pub use accounts::ID_PREFIX;
pub use acting::Acting;
pub use host::{Foreign, require_loopback};
pub use user::{Handler, User};

use crate::cluster::Cluster;
use crate::cluster::catalog::{Catalog, CatalogError};
use accounts::{Account, Accounts};
use cookie::Claim;
use hashing::Hashing;
use jwt::Tokens;
use password::Password;
use user::SERVER_ADMIN;
use verified::Verified;

/// Checks credentials.
pub struct Auth {
    admins: Vec<Arc<Account>>,
    accounts: Accounts,
    catalog: Catalog,
    tokens: Tokens,
    config: config::Auth,
    verified: Verified,
    hashing: Hashing,
}

/// Who is asking, and what to send along with the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who is asking.
    pub user: User,
    /// `Set-Cookie`: a session that goes on.
    pub renewal: Option<HeaderValue>,
}

/// A session that has begun.
#[derive(Debug, Clone)]
pub struct Session {
    /// Who logged in.
    pub user: User,
    /// `Set-Cookie`.
    pub cookie: HeaderValue,
}

/// Why credentials were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// They are wrong.
    #[error("Name or password is incorrect.")]
    Wrong,
    /// The token is not good.
    #[error("{0}")]
    Token(&'static str),
    /// Too many are being verified.
    #[error("too many passwords wait to be verified")]
    Busy,
    /// Shard 0, which knows the users, did not answer.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<CatalogError> for Denied {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Refused(refusal) => Denied::Refused(refusal),
            // Asked of databases only.
            CatalogError::NotFound | CatalogError::Exists => Denied::Wrong,
        }
    }
}

impl Auth {
    /// Admits the configured admins and the users of `_users`, or everybody if there is no admin. Reads the keys of
    /// tokens and hashes plain admin passwords, which takes a moment.
    pub fn start(config: &Config, cluster: &Cluster, catalog: &Catalog) -> Result<Self, config::Error> {
        let admins: Vec<_> = config.admins()?.into_iter().map(admin).collect();
        Ok(Self {
            accounts: Accounts::start(cluster.clone(), !admins.is_empty()),
            admins,
            catalog: catalog.clone(),
            tokens: Tokens::load(&config.jwt)?,
            config: config.auth.clone(),
            verified: Verified::new(),
            hashing: Hashing::new(&config.auth),
        })
    }

    /// Whether an admin is configured; if not, everybody is admin.
    pub fn is_closed(&self) -> bool {
        !self.admins.is_empty()
    }

    /// Whether anybody may make a user of themselves.
    pub fn allows_sign_up(&self) -> bool {
        self.config.sign_up
    }

    /// The ways to be recognised, as `GET /_session` lists them.
    pub fn handlers(&self) -> Vec<&'static str> {
        let jwt = (!self.tokens.is_empty()).then_some(Handler::Jwt);
        jwt.into_iter().chain([Handler::Cookie, Handler::Default]).map(Handler::name).collect()
    }

    /// Tells who sent these headers. Credentials of another scheme, malformed ones, and a session that is over or was
    /// never one, name nobody; a wrong password and a bad token are told.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Identity, Denied> {
        let identity = |user| Identity { user, renewal: None };
        if !self.is_closed() {
            return Ok(identity(User::anybody()));
        }
        let authorization = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        if let Some(token) = authorization.and_then(jwt::bearer).filter(|_| !self.tokens.is_empty()) {
            return self.tokens.verify(token, self.now_s()).map(identity);
        }
        if let Some(value) = cookie::in_request(headers)
            && let Some(found) = self.by_cookie(value).await?
        {
            return Ok(found);
        }
        let Some(encoded) = authorization.and_then(basic::encoded) else { return Ok(identity(User::anonymous())) };
        let (name, password) = basic::decode(encoded).ok_or(Denied::Wrong)?;
        let account = self.check(&name, &password).await?;
        Ok(identity(account.user(Handler::Default)))
    }

    /// Begins a session.
    pub async fn login(&self, name: &str, password: &str) -> Result<Session, Denied> {
        let account = self.check(name, password).await?;
        let cookie = self.cookie(&account).await?;
        Ok(Session { user: account.user(Handler::Cookie), cookie })
    }

    /// `Set-Cookie` that ends a session. Nothing is stored of one, so a copy of the cookie is good until its time is
    /// over or the password is changed.
    pub fn logout(&self) -> HeaderValue {
        cookie::clear(&self.config)
    }

    /// The hash to store of a new password.
    pub async fn hash(&self, password: String) -> Result<PasswordHash, Denied> {
        let cost = self.cost();
        let hash = self.hashing.turn().await?.run(move || PasswordHash::hash_with(&password, cost)).await?;
        Ok(hash.expect("the cost was checked at start"))
    }

    /// A user as they are now: with the roles they have, or nobody in particular if they are gone. What a token says
    /// is not said again.
    pub async fn again(&self, user: &User) -> Result<User, Denied> {
        match (&user.name, user.by) {
            (Some(name), Some(by @ (Handler::Cookie | Handler::Default))) => {
                let account = self.account(name).await?;
                Ok(account.map_or_else(User::anonymous, |account| account.user(by)))
            }
            _ => Ok(user.clone()),
        }
    }

    /// A document of `_users` was written here.
    pub fn users_changed(&self) {
        self.accounts.forget();
    }

    async fn by_cookie(&self, value: &str) -> Result<Option<Identity>, Denied> {
        let Some(claim) = Claim::read(value).filter(|claim| !claim.is_over(self.now_s(), &self.config)) else {
            return Ok(None);
        };
        let Some(account) = self.account(&claim.name).await? else { return Ok(None) };
        if !claim.is_signed(self.catalog.session_key().await?, &account.stamp) {
            return Ok(None);
        }
        let due = claim.is_due(self.now_s(), &self.config);
        let renewal = if due { Some(self.cookie(&account).await?) } else { None };
        Ok(Some(Identity { user: account.user(Handler::Cookie), renewal }))
    }

    async fn cookie(&self, account: &Account) -> Result<HeaderValue, Denied> {
        let (key, now_s) = (self.catalog.session_key().await?, self.now_s());
        Ok(cookie::set(&cookie::sign(key, &account.name, &account.stamp, now_s), now_s, &self.config))
    }

    /// Whoever has this name and password.
    async fn check(&self, name: &str, password: &str) -> Result<Arc<Account>, Denied> {
        let account = self.account(name).await?;
        let known = || account.as_ref().filter(|account| self.verified.contains(name, password, &account.stamp));
        if let Some(account) = known() {
            return Ok(account.clone());
        }
        let turn = self.hashing.turn().await?;
        // Another request may have verified the same password while this one waited.
        if let Some(account) = known() {
            return Ok(account.clone());
        }
        let stored = account.as_ref().map(|account| account.password.clone());
        let (text, cost) = (password.to_owned(), self.cost());
        let verify = move || match stored {
            Some(stored) => stored.verify(&text),
            // As dear as for a name that is known, so that the time taken tells nothing about names.
            None => PasswordHash::hash_with(&text, cost).is_some_and(|_| false),
        };
        let right = turn.run(verify).await?;
        let account = account.filter(|_| right).ok_or(Denied::Wrong)?;
        self.verified.insert(name, password, &account.stamp);
        Ok(account)
    }

    /// An admin of that name, else a user.
    async fn account(&self, name: &str) -> Result<Option<Arc<Account>>, Refusal> {
        match self.admins.iter().find(|admin| &*admin.name == name) {
            Some(admin) => Ok(Some(admin.clone())),
            None => self.accounts.find(name).await,
        }
    }

    fn cost(&self) -> Cost {
        let config::Auth { argon2_memory_kib, argon2_iterations, argon2_lanes, .. } = self.config;
        Cost { memory_kib: argon2_memory_kib, iterations: argon2_iterations, lanes: argon2_lanes }
    }

    fn now_s(&self) -> u64 {
        self.catalog.now_ms() / 1000
    }
}

impl Account {
    fn user(&self, by: Handler) -> User {
        User { name: Some(self.name.clone()), roles: self.roles.clone(), by: Some(by) }
    }
}

fn admin(configured: ConfiguredAdmin) -> Arc<Account> {
    let ConfiguredAdmin { name, hash, text } = configured;
    Arc::new(Account {
        name: name.into(),
        roles: [SERVER_ADMIN.to_owned()].into(),
        password: Password::Argon2(hash),
        // Not the hash: that of a plain password is another one on each router.
        stamp: [b"admin\0", text.as_bytes()].concat(),
    })
}
