//! Who is asking.

use std::sync::Arc;

use crate::cluster::catalog::Security;

use super::rules::Level;

/// The role of server admins.
pub(super) const SERVER_ADMIN: &str = "_admin";

/// Who is asking: CouchDB's user context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name; `None` for nobody in particular, and for everybody where no admin is configured.
    pub name: Option<Arc<str>>,
    /// The roles. Those that start with `_` come from the configuration or from a token, never from `_users`.
    pub roles: Arc<[String]>,
    /// How the user was recognised.
    pub by: Option<Handler>,
}

/// How a user was recognised, in the words of `GET /_session`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handler {
    /// By a session's cookie.
    Cookie,
    /// By name and password.
    Default,
    /// By a token.
    Jwt,
}

impl Handler {
    /// CouchDB's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Handler::Cookie => "cookie",
            Handler::Default => "default",
            Handler::Jwt => "jwt",
        }
    }
}

impl User {
    /// Nobody in particular: no credentials were given.
    pub fn anonymous() -> Self {
        Self { name: None, roles: Arc::default(), by: None }
    }

    /// Everybody, where no admin is configured.
    pub fn anybody() -> Self {
        Self { name: None, roles: [SERVER_ADMIN.to_owned()].into(), by: None }
    }

    /// Whether this is a server admin.
    pub fn is_admin(&self) -> bool {
        self.roles.iter().any(|role| role == SERVER_ADMIN)
    }

    /// What the user is to the server as a whole.
    pub fn level(&self) -> Level {
        match &self.name {
            _ if self.is_admin() => Level::ServerAdmin,
            None => Level::Anonymous,
            Some(_) => Level::User,
        }
    }

    /// What the user is to a database.
    pub fn level_in(&self, security: &Security) -> Level {
        let (name, roles) = (self.name.as_deref(), &self.roles);
        match self.level() {
            Level::ServerAdmin => Level::ServerAdmin,
            _ if security.admins.has(name, roles) => Level::DbAdmin,
            Level::Anonymous if security.is_public() => Level::Guest,
            _ if security.is_public() || security.members.has(name, roles) => Level::Member,
            level => level,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: Option<&str>, roles: &[&str]) -> User {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        User { name: name.map(Into::into), roles, by: None }
    }

    #[test]
    fn names_and_roles_decide_what_somebody_is_to_a_database() {
        let closed = Security::default();
        let public = Security::parse(r#"{"admins":{"names":["boss"]}}"#).expect("valid");
        let team = Security::parse(r#"{"admins":{"roles":["lead"]},"members":{"names":["a"],"roles":["team"]}}"#);
        let team = team.expect("valid");
        for (who, levels) in [
            (User::anonymous(), [Level::Anonymous, Level::Guest, Level::Anonymous]),
            (User::anybody(), [Level::ServerAdmin; 3]),
            (user(Some("admin"), &["_admin"]), [Level::ServerAdmin; 3]),
            (user(Some("a"), &[]), [Level::User, Level::Member, Level::Member]),
            (user(Some("b"), &[]), [Level::User, Level::Member, Level::User]),
            (user(Some("b"), &["team"]), [Level::User, Level::Member, Level::Member]),
            (user(Some("b"), &["lead"]), [Level::User, Level::Member, Level::DbAdmin]),
            (user(Some("boss"), &[]), [Level::User, Level::DbAdmin, Level::User]),
        ] {
            assert_eq!([&closed, &public, &team].map(|security| who.level_in(security)), levels, "{who:?}");
        }
    }
}
