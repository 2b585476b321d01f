//! Cuts an answer that is still being sent when its reader is shut out meanwhile.
//!
//! A live feed may last for months; whoever is removed from a database, or whose user is, must not go on reading it.
//! The connection is cut, since an orderly end would look like the whole answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use common::ids::DbName;
use futures::{FutureExt, StreamExt, stream};
use http::Method;
use http_body::Body as _;

use super::access::USERS;
use super::target::Target;
use crate::app::App;
use crate::auth::User;
use crate::auth::rules::{Class, Verdict, decide};

/// How often a reader's rights are looked at again. Longer lets them read on for longer.
const INTERVAL: Duration = Duration::from_secs(5);

/// By what right somebody reads something in a database.
pub(super) struct Standing {
    app: Arc<App>,
    user: User,
    db: DbName,
    class: Class,
    method: Method,
}

impl Standing {
    /// The right to be looked at again; `None` if nobody can take it away.
    pub(super) fn of(app: &Arc<App>, user: &User, class: Class, target: &Target, method: &Method) -> Option<Self> {
        let db = target.db().filter(|db| class.is_in_database() && db.as_str() != USERS && !user.is_admin())?.clone();
        Some(Self { app: Arc::clone(app), user: user.clone(), db, class, method: method.clone() })
    }

    /// Sends an answer on for as long as the right lasts. One that is there as a whole goes as it is.
    pub(super) fn guard(self, response: Response) -> Response {
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        response.map(|body| {
            let lost = Box::pin(async move { self.lost().await }).map(Err).into_stream();
            let ended = stream::once(async { Ok(None) });
            let pieces = body.into_data_stream().map(|piece| piece.map(Some).map_err(io::Error::other)).chain(ended);
            let both = stream::select(pieces, lost).scan(false, |over, piece| {
                let piece = if *over { None } else { piece.transpose() };
                *over = !matches!(piece, Some(Ok(_)));
                std::future::ready(piece)
            });
            Body::from_stream(both)
        })
    }

    /// Done when the right is lost, or cannot be confirmed.
    async fn lost(&self) -> io::Error {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if !self.lasts().await {
                tracing::debug!(db = %self.db, "a reader was shut out");
                return io::Error::new(io::ErrorKind::PermissionDenied, "the reader was shut out");
            }
        }
    }

    async fn lasts(&self) -> bool {
        let Ok(user) = self.app.auth.again(&self.user).await else { return false };
        let Ok(entry) = self.app.ops.catalog.db_confirmed(&self.db).await else { return false };
        decide(self.class, &self.method, user.level_in(&entry.access)) == Verdict::Allow
    }
}
