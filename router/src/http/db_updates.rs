//! `GET /_db_updates`: which databases were made, changed their settings or were removed, from the catalog's feed.
//!
//! Each database once, at its latest place, like the documents of any feed. Whoever drops it ends it; it owns no
//! task. An error cuts the connection.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use common::ids::{DbName, DbUid};
use http::{HeaderValue, StatusCode, header};
use tokio::time::Instant;

use super::call::Call;
use super::error::Error;
use super::params::Params;
use super::{Answer, render};
use crate::cluster::catalog::News;
use crate::feed::{self, FeedPage, Since, Token};
use crate::ops::{self, Ops};
use crate::telemetry::request;

/// Longest wait for news when the client names none, as in CouchDB.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Time between signs of life when the client wants them and names none.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(60);
/// A wait without an end, for those who asked for signs of life: their connection ends it.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

pub(super) async fn feed(call: &Call) -> Answer {
    let options = Options::of(&call.params())?;
    let kind = options.kind;
    let sending = Sending::begin(call.app.ops.clone(), options).await?;
    let (id, reader) = (request::current(), call.app.metrics.reads_db_updates());
    let pieces = futures::stream::try_unfold(Some(sending), move |state| {
        let _reads = &reader;
        request::within_any(id.clone(), async move {
            let Some(mut sending) = state else { return Ok(None) };
            let (piece, more) = sending.piece().await?;
            Ok::<_, ops::Error>(Some((piece, more.then_some(sending))))
        })
    });
    let body = Body::from_stream(pieces);
    if kind != Kind::EventSource {
        return Ok(render::json_stream(body));
    }
    let mut response = render::typed(StatusCode::OK, HeaderValue::from_static("text/event-stream"), body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    LongPoll,
    Continuous,
    EventSource,
}

#[derive(Debug, Clone)]
struct Options {
    kind: Kind,
    since: Since,
    limit: u64,
    descending: bool,
    timeout: Duration,
    heartbeat: Option<Duration>,
}

impl Options {
    fn of(params: &Params<'_>) -> Result<Self, Error> {
        let kind = match params.get("feed") {
            None | Some("normal") => Kind::Normal,
            Some("longpoll") => Kind::LongPoll,
            Some("continuous") => Kind::Continuous,
            Some("eventsource") => Kind::EventSource,
            Some(_) => return Err(Error::bad("Supported `feed` types: normal, continuous, longpoll, eventsource")),
        };
        let since = Since::parse(params.get("since").unwrap_or("0")).map_err(|wrong| Error::bad(wrong.to_string()))?;
        let heartbeat = match params.get("heartbeat") {
            None | Some("false") => None,
            Some("true") => Some(HEARTBEAT_DEFAULT),
            Some(_) => params.number("heartbeat")?.map(|ms| Duration::from_millis(ms.max(1))),
        };
        Ok(Self {
            kind,
            since,
            limit: params.number("limit")?.unwrap_or(u64::MAX),
            descending: params.is_true("descending"),
            timeout: match params.number("timeout")? {
                Some(ms) => Duration::from_millis(ms).min(FOR_EVER),
                None if heartbeat.is_some() => FOR_EVER,
                None => TIMEOUT_DEFAULT,
            },
            heartbeat,
        })
    }

    /// Whether it goes on when everything there is was sent.
    fn is_live(&self) -> bool {
        !self.descending && matches!(self.kind, Kind::Continuous | Kind::EventSource)
    }
}

/// A feed being sent.
struct Sending {
    ops: Ops,
    options: Options,
    /// Read and not sent yet; without one it waits for news.
    page: Option<FeedPage>,
    last: Token,
    begun: bool,
    sent: u64,
    /// When waiting began: with the last row.
    idle_since: Instant,
}

impl Sending {
    async fn begin(ops: Ops, options: Options) -> Result<Self, ops::Error> {
        let page = feed::page(&ops.cluster, DbUid::DBS, &options.since, &asked(&options, None)).await?;
        let last = page.last.clone();
        let idle_since = Instant::now();
        Ok(Self { ops, options, page: Some(page), last, begun: false, sent: 0, idle_since })
    }

    /// The next piece of text, and whether more follows.
    async fn piece(&mut self) -> Result<(Bytes, bool), ops::Error> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.begun, true) && !self.is_stream() {
            out.extend_from_slice(b"{\"results\":[\n");
        }
        let waited = self.page.is_none();
        let page = match self.page.take() {
            Some(page) => page,
            None => self.news().await?,
        };
        let (more, resume, before) = (page.more, page.resume.clone(), self.sent);
        self.rows(&mut out, page)?;
        let news = self.sent > before;
        if self.is_full() {
            return Ok(self.end(out));
        }
        if more {
            let options = asked(&self.options, resume);
            let since = Since::Token(self.last.clone());
            self.page = Some(feed::page(&self.ops.cluster, DbUid::DBS, &since, &options).await?);
            return Ok((out.into(), true));
        }
        let waits = match self.options.kind {
            Kind::LongPoll => !self.options.descending && self.sent == 0,
            _ => self.options.is_live(),
        };
        if !waits || (waited && !news && self.idle_since.elapsed() >= self.options.timeout) {
            return Ok(self.end(out));
        }
        if waited && !news && self.options.heartbeat.is_some() {
            out.extend_from_slice(if self.options.kind == Kind::EventSource {
                b"event: heartbeat\ndata: \n\n"
            } else {
                b"\n"
            });
        }
        Ok((out.into(), true))
    }

    /// Waits for news, for the time of the next sign of life, or for the end of patience.
    async fn news(&self) -> Result<FeedPage, ops::Error> {
        let left = self.options.timeout.saturating_sub(self.idle_since.elapsed());
        let patience = self.options.heartbeat.unwrap_or(Duration::MAX).min(left);
        let since = Since::Token(self.last.clone());
        let asked = asked(&self.options, None);
        Ok(feed::wait(&self.ops.cluster, DbUid::DBS, &since, &asked, patience).await?)
    }

    fn rows(&mut self, out: &mut Vec<u8>, page: FeedPage) -> Result<(), ops::Error> {
        self.last = page.last;
        for (token, change) in page.rows {
            if self.is_full() {
                break;
            }
            self.last = token;
            if let Some((name, news)) = self.ops.catalog.news(&change)? {
                let seq = self.last.to_string();
                row(out, self.options.kind, self.sent, &name, news, &seq);
                self.sent += 1;
                self.idle_since = Instant::now();
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.sent >= self.options.limit
    }

    fn is_stream(&self) -> bool {
        matches!(self.options.kind, Kind::Continuous | Kind::EventSource)
    }

    fn end(&self, mut out: Vec<u8>) -> (Bytes, bool) {
        match self.options.kind {
            Kind::EventSource => return (out.into(), false),
            Kind::Continuous => out.push(b'{'),
            Kind::Normal | Kind::LongPoll => out.extend_from_slice(b"\n],\n"),
        }
        out.extend_from_slice(b"\"last_seq\":");
        render::string(&mut out, &self.last.to_string());
        out.extend_from_slice(b"}\n");
        (out.into(), false)
    }
}

/// Writes the row number `at` (from 0).
fn row(out: &mut Vec<u8>, kind: Kind, at: u64, name: &DbName, news: News, seq: &str) {
    match kind {
        Kind::Normal | Kind::LongPoll if at > 0 => out.extend_from_slice(b",\n"),
        Kind::EventSource => out.extend_from_slice(b"data: "),
        _ => {}
    }
    let news = match news {
        News::Created => "created",
        News::Updated => "updated",
        News::Deleted => "deleted",
    };
    out.extend_from_slice(b"{\"db_name\":");
    render::string(out, name.as_str());
    out.extend_from_slice(format!(",\"type\":\"{news}\",\"seq\":").as_bytes());
    render::string(out, seq);
    out.push(b'}');
    match kind {
        Kind::Normal | Kind::LongPoll => {}
        Kind::Continuous => out.push(b'\n'),
        Kind::EventSource => {
            out.extend_from_slice(b"\nid: ");
            render::string(out, seq);
            out.extend_from_slice(b"\n\n");
        }
    }
}

fn asked(options: &Options, resume: Option<Token>) -> feed::Options {
    feed::Options { descending: options.descending, bodies: true, resume, ..feed::Options::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_told() {
        let options = |query| Options::of(&Params::of_query(Some(query))).map_err(|error| error.to_string());
        let plain = options("").expect("valid");
        assert_eq!((plain.kind, plain.limit, plain.timeout), (Kind::Normal, u64::MAX, TIMEOUT_DEFAULT));
        let live = options("feed=continuous&heartbeat=true&since=now&timeout=5").expect("valid");
        assert_eq!((live.heartbeat, live.since), (Some(HEARTBEAT_DEFAULT), Since::Now));
        assert_eq!(options("since=5").expect_err("no token"), "Malformed sequence supplied in 'since' parameter.");
        assert!(options("feed=x").is_err());
    }
}
