//! Who may ask for what. Denied unless allowed here.

use http::request::Parts;
use http::{Method, header};

use super::error::Error;
use super::target::{Part, Server, Target};
use crate::auth::{Auth, User, require_loopback};

/// Who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Anybody, and credentials are not even looked at.
    Nothing,
    /// Anybody, but wrong credentials are told so.
    Anybody,
    /// Members of a database; until there are users, the server admin.
    Member,
    /// The server admin.
    Admin,
}

/// Tells who is asking, if they may ask for this.
pub(super) async fn admit(auth: &Auth, target: &Target, parts: &Parts) -> Result<User, Error> {
    if !auth.is_closed() {
        require_loopback(parts)?;
    }
    let need = need(target, &parts.method);
    if need == Need::Nothing {
        return Ok(User::Anonymous);
    }
    let header = parts.headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let user = auth.identify(header).await?;
    match need {
        Need::Admin if !user.is_admin() => Err(Error::NotAdmin),
        Need::Member if !user.is_admin() => Err(Error::NotMember),
        _ => Ok(user),
    }
}

fn need(target: &Target, method: &Method) -> Need {
    match target {
        Target::Server(Server::Up | Server::Ready) | Target::Dashboard(_) => Need::Nothing,
        Target::Server(Server::Root | Server::Session) => Need::Anybody,
        Target::Server(_) => Need::Admin,
        Target::Db(_) | Target::BadDb(_) if method == Method::PUT || method == Method::DELETE => Need::Admin,
        Target::Part(_, Part::Security | Part::RevsLimit | Part::PurgedInfosLimit) if method == Method::PUT => {
            Need::Admin
        }
        // Indexes are design documents.
        Target::Index(..) | Target::Part(_, Part::IndexBulkDelete) => Need::Admin,
        Target::Part(_, Part::Index) if method == Method::POST => Need::Admin,
        Target::Part(_, Part::Compact | Part::ViewCleanup | Part::Purge | Part::SyncShards) => Need::Admin,
        Target::Db(_) | Target::BadDb(_) | Target::Part(..) | Target::ShardOf(..) => Need::Member,
        Target::Doc(..) | Target::Local(..) | Target::BadDoc(..) | Target::BadLocal(..) => Need::Member,
        Target::Attachment(..) | Target::Refused(_) => Need::Member,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_welcome_and_the_liveness_are_open() {
        let need = |method, path| need(&Target::parse(path), &method);
        assert_eq!(need(Method::GET, "/_up"), Need::Nothing);
        assert_eq!(need(Method::GET, "/_utils/"), Need::Nothing);
        assert_eq!(need(Method::GET, "/_ready"), Need::Nothing);
        assert_eq!(need(Method::GET, "/"), Need::Anybody);
        assert_eq!(need(Method::GET, "/_session"), Need::Anybody);
        for path in ["/_all_dbs", "/_metrics", "/v1/_replication/state", "/_membership", "/v1/_backup/catalog"] {
            assert_eq!(need(Method::GET, path), Need::Admin, "{path}");
        }
        for path in ["/db", "/db/doc", "/db/_local/x", "/db/_changes", "/db/_find", "/_nope", "/db/_nope"] {
            assert_eq!(need(Method::GET, path), Need::Member, "{path}");
        }
        assert_eq!(need(Method::PUT, "/db"), Need::Admin);
        assert_eq!(need(Method::DELETE, "/db"), Need::Admin);
        assert_eq!(need(Method::PUT, "/db/doc"), Need::Member);
        assert_eq!(need(Method::PUT, "/db/_security"), Need::Admin);
    }
}
