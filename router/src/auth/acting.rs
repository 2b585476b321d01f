//! In whose name this process asks itself: a replication reads and writes databases of its own cluster as its owner.
//!
//! Carried by a request of this process in its extensions, which nothing that comes over a socket can set.

use std::sync::Arc;

use super::{Auth, Denied, User};

/// Who a request of this process is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acting {
    /// Whoever has this name, with the roles they have when the request is made; without a name nobody in particular,
    /// or, where no admin is configured, everybody.
    Owner(Option<Arc<str>>),
    /// A name and roles that a server admin, or whoever signed a token, has given.
    As {
        /// The name.
        name: Option<Arc<str>>,
        /// The roles.
        roles: Arc<[String]>,
    },
}

impl Acting {
    /// For whoever is asking now.
    pub fn of(user: &User) -> Self {
        match user.by {
            // Nobody knows later what a token has said.
            Some(super::user::Handler::Jwt) => Self::As { name: user.name.clone(), roles: user.roles.clone() },
            _ => Self::Owner(user.name.clone()),
        }
    }

    /// The name.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Owner(name) | Self::As { name, .. } => name.as_deref(),
        }
    }
}

impl Auth {
    /// The user for whom this process asks.
    pub async fn acting(&self, acting: &Acting) -> Result<User, Denied> {
        match acting {
            _ if !self.is_closed() => Ok(User::anybody()),
            Acting::Owner(None) => Ok(User::anonymous()),
            Acting::Owner(Some(name)) => {
                let account = self.account(name).await?;
                Ok(account.map_or_else(User::anonymous, |account| account.user(super::user::Handler::Default)))
            }
            Acting::As { name, roles } => Ok(User { name: name.clone(), roles: roles.clone(), by: None }),
        }
    }
}
