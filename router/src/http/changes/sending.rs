//! Sends a feed piece by piece: the pages there are, then, if the client wants to wait, what comes.
//!
//! Whoever drops it ends it; it owns no task. An error cuts the connection, since nothing that follows could be told
//! from a feed without the missing part.

use std::sync::Arc;
use std::time::Duration;

use common::change::Change;
use common::ids::DbName;
use common::partition::Partition;
use common::query::{Consistency, Revs};
use common::rev::Rev;
use tokio::time::Instant;

use super::filter::Filter;
use super::options::{Kind, Options};
use super::row;
use crate::cluster::catalog::DbEntry;
use crate::feed::{self, FeedPage, Since, Token};
use crate::http::attachments::splice::{Pieces, Spliced};
use crate::ops::get::Wanted;
use crate::ops::{Error, Ops};

/// A feed being sent.
pub(super) struct Sending {
    ops: Ops,
    db: Arc<DbEntry>,
    partition: Option<Partition>,
    options: Options,
    /// Read and not sent yet.
    page: Option<FeedPage>,
    /// Where a normal feed ends, although writers go on.
    until: Option<Token>,
    /// Where it stands.
    last: Token,
    pending: u64,
    /// Whether what stands before the first row is sent.
    begun: bool,
    /// Rows sent.
    sent: u64,
    /// When waiting began: with the last row.
    idle_since: Instant,
    /// When something was sent last, be it a sign of life.
    spoke: Instant,
}

impl Sending {
    /// Reads the first page.
    pub(super) async fn begin(
        ops: Ops,
        name: &DbName,
        partition: Option<Partition>,
        options: Options,
    ) -> Result<Self, Error> {
        // A router that has not heard of a deletion yet meets a dropped feed once, and then knows.
        let mut tries = 0;
        loop {
            let db = match partition {
                Some(_) => ops.partitioned(name, Consistency::Linearizable).await?,
                None => ops.db(name).await?,
            };
            let asked = feed_options(&options, partition.as_ref(), 0, None, None);
            let page = feed::page(&ops.cluster, db.uid, &options.since, &asked).await?;
            if page.dropped {
                ops.catalog.forget(db.uid);
                tries += 1;
                if tries > 1 {
                    return Err(Error::NoDatabase);
                }
                continue;
            }
            let until = match options.kind {
                Kind::Normal | Kind::LongPoll if !options.descending => Some(page.end.clone()),
                _ => None,
            };
            let (last, pending) = (page.last.clone(), page.pending);
            let idle_since = Instant::now();
            return Ok(Self {
                ops,
                db,
                partition,
                options,
                page: Some(page),
                until,
                last,
                pending,
                begun: false,
                sent: 0,
                idle_since,
                spoke: idle_since,
            });
        }
    }

    /// The next piece of text, and whether more follows.
    pub(super) async fn chunk(&mut self) -> Result<(Spliced, bool), Error> {
        let (mut text, more) = self.piece().await?;
        // A filter may pass over many changes in silence.
        if text.is_empty() && more && self.options.heartbeat.is_some_and(|pace| self.spoke.elapsed() >= pace) {
            text = Spliced::from(row::heartbeat(self.options.kind).to_vec());
        }
        if !text.is_empty() {
            self.spoke = Instant::now();
        }
        Ok((text, more))
    }

    /// Text with the bytes that belong into it.
    pub(super) fn pieces(&self, text: Spliced) -> Pieces {
        text.pieces(&self.ops, &self.db, Consistency::Linearizable)
    }

    async fn piece(&mut self) -> Result<(Spliced, bool), Error> {
        let mut out = Spliced::default();
        let Some(page) = self.page.take() else { return self.wait().await };
        if !std::mem::replace(&mut self.begun, true) {
            out.text.extend_from_slice(row::head(self.options.kind));
        }
        let (more, resume, busy) = (page.more, page.resume.clone(), page.busy);
        if page.dropped {
            return Err(Error::NoDatabase);
        }
        self.send_rows(&mut out, page).await?;
        if self.is_full() {
            return Ok(self.end(out));
        }
        if more {
            self.page = Some(self.next_page(resume, busy).await?);
            return Ok((out, true));
        }
        match self.options.kind {
            Kind::Normal => Ok(self.end(out)),
            Kind::LongPoll if self.sent > 0 => Ok(self.end(out)),
            _ if self.options.descending => Ok(self.end(out)),
            _ if out.is_empty() => self.wait().await,
            _ => Ok((out, true)),
        }
    }

    async fn next_page(&mut self, resume: Option<Token>, busy: usize) -> Result<FeedPage, Error> {
        let mut options = feed_options(&self.options, self.partition.as_ref(), self.sent, self.until.clone(), resume);
        options.busy = Some(busy);
        let since = Since::Token(self.last.clone());
        Ok(feed::page(&self.ops.cluster, self.db.uid, &since, &options).await?)
    }

    /// Waits for the next change, or for the time of the next sign of life, or for the end of patience.
    async fn wait(&mut self) -> Result<(Spliced, bool), Error> {
        let left = self.options.timeout.saturating_sub(self.idle_since.elapsed());
        if left.is_zero() {
            return Ok(self.end(Spliced::default()));
        }
        let silence = self.options.heartbeat.map(|pace| pace.saturating_sub(self.spoke.elapsed()));
        // As long as it takes for a sign of life to be due, whatever the clocks make of the last millisecond.
        let patience = silence.map_or(Duration::MAX, |left| left.max(Duration::from_millis(1))).min(left);
        // What comes while waiting is wanted, so nothing is left out behind any token.
        let options = feed_options(&self.options, self.partition.as_ref(), self.sent, None, None);
        let since = Since::Token(self.last.clone());
        let page = feed::wait(&self.ops.cluster, self.db.uid, &since, &options, patience).await?;
        if page.dropped {
            self.ops.catalog.forget(self.db.uid);
            return Ok(self.end(Spliced::default()));
        }
        // Nothing came until the end of patience. The clocks need not agree that it is the end: asking for the moment
        // that may be left would show a sign of life for each part of a millisecond.
        if page.rows.is_empty() && patience == left {
            (self.last, self.pending) = (page.last, page.pending);
            return Ok(self.end(Spliced::default()));
        }
        let mut out = Spliced::default();
        let more = page.more;
        self.send_rows(&mut out, page).await?;
        // What was sent before counts: its rest may be nothing that is wanted.
        if self.is_full() || (self.sent > 0 && !more && self.options.kind == Kind::LongPoll) {
            return Ok(self.end(out));
        }
        // May be empty: the server leaves out empty pieces.
        Ok((out, true))
    }

    /// Writes the rows of a page that are wanted.
    async fn send_rows(&mut self, out: &mut Spliced, page: FeedPage) -> Result<(), Error> {
        let rows = page.rows.len() as u64;
        (self.last, self.pending) = (page.last, page.pending);
        for (at, (token, change)) in page.rows.into_iter().enumerate() {
            if !self.options.shows(&change) {
                continue;
            }
            let conflicts = self.conflicts(&change).await?;
            row::row(out, &self.options, self.sent, &token, &change, &conflicts);
            self.sent += 1;
            self.idle_since = Instant::now();
            if self.is_full() {
                self.pending = page.pending + rows - 1 - at as u64;
                self.last = token;
                break;
            }
        }
        Ok(())
    }

    /// The losing live leaves of a changed document, if they are to be shown. The feed does not say which of its
    /// leaves are deletions, so documents that have several are read once more.
    async fn conflicts(&self, change: &Change) -> Result<Vec<Rev>, Error> {
        if !self.options.needs_conflicts() || change.leaves.len() < 2 {
            return Ok(Vec::new());
        }
        let wanted = Wanted { revs: Revs::List { revs: Vec::new(), latest: false }, tree: true };
        let (doc, _) = self.ops.get_placed(&self.db, &change.id, &wanted, Consistency::Linearizable).await?;
        Ok(doc.and_then(|doc| doc.tree).map(|tree| tree.conflicts()).unwrap_or_default())
    }

    fn is_full(&self) -> bool {
        self.options.limit.is_some_and(|limit| self.sent >= limit)
    }

    fn end(&self, mut out: Spliced) -> (Spliced, bool) {
        row::tail(&mut out.text, self.options.kind, &self.last, self.pending);
        (out, false)
    }
}

/// What to ask the feed for, when `sent` rows are sent already.
fn feed_options(
    options: &Options,
    partition: Option<&Partition>,
    sent: u64,
    until: Option<Token>,
    resume: Option<Token>,
) -> feed::Options {
    // A filter leaves out rows that were read, so it cannot be said beforehand how many to read.
    let limit =
        options.limit.filter(|_| matches!(options.filter, Filter::None)).map(|limit| limit.saturating_sub(sent));
    feed::Options {
        limit,
        descending: options.descending,
        all_leaves: options.needs_leaves(),
        bodies: options.include_docs,
        until,
        resume,
        selector: options.filter.selector().map(Box::from),
        function: options.function.clone(),
        partition: partition.cloned(),
        // Without a limit nothing is pending at the end but what came meanwhile.
        count_pending: options.limit.is_some(),
        busy: None,
    }
}
