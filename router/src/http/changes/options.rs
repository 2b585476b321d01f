//! What a feed is asked for. Pure.

use std::time::Duration;

use common::change::{Change, FilterFunction};
use common::rev::Rev;

use super::filter::Filter;
use crate::feed::Since;
use crate::http::attachments::shown::Shown as Attachments;
use crate::http::error::Error;
use crate::http::params::Params;

/// Longest wait for a change when the client names none, as in CouchDB.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Time between signs of life when the client wants them and names none.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(60);
/// A wait without an end, for those who asked for signs of life: their connection ends it.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How a feed is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What is there now.
    Normal,
    /// What is there now, or the first thing that comes.
    LongPoll,
    /// What is there and what comes, a line each.
    Continuous,
    /// The same as server-sent events.
    EventSource,
}

/// The options of a feed.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) kind: Kind,
    pub(super) since: Since,
    pub(super) limit: Option<u64>,
    pub(super) descending: bool,
    pub(super) include_docs: bool,
    pub(super) conflicts: bool,
    /// How to show the attachments of documents.
    pub(super) attachments: Attachments,
    /// Whether to show all leaves of a document (`style=all_docs`).
    pub(super) all_leaves: bool,
    /// How long to wait for a change.
    pub(super) timeout: Duration,
    /// How often to show life while waiting.
    pub(super) heartbeat: Option<Duration>,
    /// Shows the seq of each n-th row only.
    pub(super) seq_interval: u64,
    pub(super) filter: Filter,
    /// The function that the filter names, once it was read.
    pub(super) function: Option<Box<FilterFunction>>,
}

impl Options {
    /// `last_event_id`: where a browser's event source left off. `posted`: whether there was a body.
    pub(super) fn of(params: &Params<'_>, last_event_id: Option<&str>, posted: bool) -> Result<Self, Error> {
        let since = last_event_id.or(params.get("last-event-id")).or(params.get("since")).unwrap_or("0");
        let since = Since::parse(since).map_err(|malformed| Error::bad(malformed.to_string()))?;
        let heartbeat = heartbeat(params)?;
        let timeout = match params.number("timeout")? {
            Some(ms) => Duration::from_millis(ms).min(FOR_EVER),
            None if heartbeat.is_some() => FOR_EVER,
            None => TIMEOUT_DEFAULT,
        };
        Ok(Self {
            kind: kind(params)?,
            since,
            // As CouchDB: no rows at all is not a thing one can ask for.
            limit: params.number("limit")?.map(|limit| limit.max(1)),
            descending: params.flag("descending", false)?,
            include_docs: params.flag("include_docs", false)?,
            conflicts: params.flag("conflicts", false)?,
            attachments: Attachments::of(params)?,
            all_leaves: params.get("style") == Some("all_docs"),
            timeout,
            heartbeat,
            seq_interval: match params.number("seq_interval")? {
                Some(0) => return Err(Error::bad("invalid_seq_interval")),
                interval => interval.unwrap_or(1),
            },
            filter: Filter::of(params, posted)?,
            function: None,
        })
    }

    /// Whether the leaves of documents are needed besides the winners.
    pub(super) fn needs_leaves(&self) -> bool {
        self.all_leaves || self.needs_conflicts()
    }

    /// Whether documents are shown with their conflicts.
    pub(super) fn needs_conflicts(&self) -> bool {
        self.include_docs && self.conflicts
    }

    /// The leaves to show of a change: with a selector, those that match.
    pub(super) fn leaves<'c>(&self, change: &'c Change) -> impl Iterator<Item = &'c Rev> {
        let shown = if self.all_leaves { &change.leaves } else { change.leaves.get(..1).unwrap_or_default() };
        shown.iter().filter(|leaf| change.matching.as_ref().is_none_or(|matching| matching.contains(leaf)))
    }

    /// Whether a change is shown.
    pub(super) fn shows(&self, change: &Change) -> bool {
        self.filter.passes(change) && self.leaves(change).next().is_some()
    }
}

fn kind(params: &Params<'_>) -> Result<Kind, Error> {
    match params.get("feed") {
        None | Some("normal") => Ok(Kind::Normal),
        Some("longpoll") => Ok(Kind::LongPoll),
        Some("continuous" | "live") => Ok(Kind::Continuous),
        Some("eventsource") => Ok(Kind::EventSource),
        Some(_) => Err(Error::bad("Supported `feed` types: normal, continuous, live, longpoll, eventsource")),
    }
}

fn heartbeat(params: &Params<'_>) -> Result<Option<Duration>, Error> {
    match params.get("heartbeat") {
        None | Some("false") => Ok(None),
        Some("true") => Ok(Some(HEARTBEAT_DEFAULT)),
        Some(text) => match text.parse::<i64>() {
            Ok(ms) if ms > 0 => Ok(Some(Duration::from_millis(ms.unsigned_abs()))),
            Ok(_) => Err(Error::bad("The heartbeat value should be a positive integer (in milliseconds).")),
            Err(_) => Err(Error::bad("Invalid heartbeat value. Expecting a positive integer value (in milliseconds).")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(query: &str) -> Result<Options, String> {
        Options::of(&Params::of_query(Some(query)), None, false).map_err(|error| error.to_string())
    }

    #[test]
    fn options_have_couchdbs_defaults() {
        let plain = options("").expect("valid");
        assert_eq!((plain.kind, &plain.since, plain.timeout), (Kind::Normal, &Since::Zero, TIMEOUT_DEFAULT));
        let live = options("feed=longpoll&heartbeat=5&since=now&limit=0").expect("valid");
        assert_eq!((live.kind, &live.since, live.limit), (Kind::LongPoll, &Since::Now, Some(1)));
        assert_eq!((live.heartbeat, live.timeout), (Some(Duration::from_millis(5)), FOR_EVER));
        let event = Options::of(&Params::of_query(Some("since=0")), Some("now"), false).expect("valid");
        assert_eq!(event.since, Since::Now, "an event source goes on from where it was");
    }

    #[test]
    fn wrong_options_are_told_in_couchdbs_words() {
        for (query, reason) in [
            ("since=nope", "Malformed sequence supplied in 'since' parameter."),
            ("since=5", "Malformed sequence supplied in 'since' parameter."),
            ("heartbeat=0", "The heartbeat value should be a positive integer (in milliseconds)."),
            ("heartbeat=x", "Invalid heartbeat value. Expecting a positive integer value (in milliseconds)."),
            ("feed=x", "Supported `feed` types: normal, continuous, live, longpoll, eventsource"),
            ("limit=x", "Invalid value for integer: \"x\""),
        ] {
            assert_eq!(options(query).expect_err(query), reason);
        }
    }
}
