//! A document that is too large to be held: it goes from one end to the other as it comes.
//!
//! The source sends it with its attachments as `multipart/related`, which the target takes as it is, so nothing is
//! looked into and nothing kept but the piece under way.

use std::time::Duration;

use axum::body::Body;
use http::{Method, header};
use http_body_util::{BodyExt, Limited};

use super::{Ask, Error, Failure, PAUSE, PAUSE_MAX, Peer, REASON_BYTES_MAX, Reply, is_passing, segment};

/// Longest wait for all of it.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// How it went.
enum Tried {
    /// It is there.
    Done,
    /// The target does not take it.
    Refused(String),
    /// Perhaps later.
    Again(String),
}

impl Peer {
    /// Brings one revision over, or what it has become meanwhile. The reason if the target does not take it.
    pub(crate) async fn send_on(&self, target: &Peer, id: &str, rev: &str) -> Result<Result<(), String>, Error> {
        let mut pause = PAUSE;
        for tried in 1.. {
            let trying = tokio::time::timeout(PATIENCE, self.try_to_send_on(target, id, rev)).await;
            let why = match trying.unwrap_or_else(|_| Ok(Tried::Again("it took too long".to_owned())))? {
                Tried::Done => return Ok(Ok(())),
                Tried::Refused(why) => return Ok(Err(why)),
                Tried::Again(why) => why,
            };
            if tried > self.asking.retries {
                return Err(Error::Unavailable(format!("{} to {}: {id}: {why}", self.shown, target.shown)));
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
        unreachable!("the loop ends with an answer or an error")
    }

    async fn try_to_send_on(&self, target: &Peer, id: &str, rev: &str) -> Result<Tried, Error> {
        let mut read = Ask::new(Method::GET, format!("/{}", segment(id))).with("rev", rev).bringing();
        read = read.with("revs", "true").with("latest", "true").with("attachments", "true");
        read.accept = "multipart/related, application/json;q=0.5";
        let mut write = Ask::new(Method::PUT, format!("/{}", segment(id))).with("new_edits", "false").bringing();
        // Both before anything is read: a source need not wait for long until its answer is taken.
        let _reading = self.connection(&read).await;
        let _writing = target.connection(&write).await;
        let found = match self.exchange(&read, &[], Body::empty()).await {
            Ok(found) => found,
            Err(failure) => return again(failure),
        };
        if found.status() != 200 {
            let reply = short(found).await;
            let gone = reply.is(&[404]) && reply.is_gone();
            return match is_passing(reply.status) {
                _ if gone => Ok(Tried::Done),
                true => Ok(Tried::Again(format!("{} {}", reply.status, reply.reason()))),
                false => Err(self.refused(id, &reply)),
            };
        }
        write.kind = found.headers().get(header::CONTENT_TYPE).cloned();
        let written = match target.exchange(&write, &[], found.into_body()).await {
            Ok(written) => short(written).await,
            Err(failure) => return again(failure),
        };
        match written.status.as_u16() {
            200..=202 => Ok(Tried::Done),
            _ if is_passing(written.status) => Ok(Tried::Again(format!("{} {}", written.status, written.reason()))),
            401 | 404 => Err(target.refused(id, &written)),
            _ => Ok(Tried::Refused(format!("{} {}", written.status, written.reason()))),
        }
    }
}

fn again(failure: Failure) -> Result<Tried, Error> {
    match failure {
        Failure::Unavailable(why) => Ok(Tried::Again(why)),
        Failure::Forbidden(why) => Err(Error::Forbidden(why)),
        Failure::TooLarge => Ok(Tried::Refused("it is too large".to_owned())),
    }
}

/// An answer that is only looked at for what it says.
async fn short(response: http::Response<Body>) -> Reply {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, 8 * REASON_BYTES_MAX).collect().await;
    Reply { status: head.status, body: body.map(http_body_util::Collected::to_bytes).unwrap_or_default() }
}
