//! Which requests wrote a document lately, so that a repeated one takes effect once.
//!
//! In the order of the log, not of the revisions: a losing branch is remembered as well as the winner, and a request
//! outlives the revision it wrote when that is stemmed away.

use serde::{Deserialize, Serialize};

use super::Node;
use crate::ids::RequestId;
use crate::rev::Rev;

/// Requests a document remembers. Each costs some 20 bytes in every update of the document. One that is repeated is
/// repeated within seconds, after a failover or a broken connection, and a document takes an update a round trip: so
/// many others seldom come between. Where they do, `Requests::may_have_forgotten` says so, and the outcome of a
/// router's retry is told to be unknown, never wrong.
pub const REQUESTS_MAX: usize = 100;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Requests(Vec<(RequestId, Rev)>);

/// A request as it is stored: most revisions stand in the tree, too, where two bytes name them.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored(RequestId, Place);

#[derive(Serialize, Deserialize)]
enum Place {
    /// At this position of the tree.
    At(u32),
    /// No longer in the tree.
    Gone(Rev),
}

impl Requests {
    /// The revision that a request wrote, if it is remembered.
    pub(super) fn find(&self, request: RequestId) -> Option<&Rev> {
        // From the newest: a retry follows its first try closely.
        self.0.iter().rev().find(|(known, _)| *known == request).map(|(_, rev)| rev)
    }

    /// Notes that a request wrote a revision, and forgets the oldest one if there are too many.
    pub(super) fn remember(&mut self, request: RequestId, rev: Rev) {
        if self.may_have_forgotten() {
            self.0.remove(0);
        }
        self.0.push((request, rev));
    }

    /// Whether a request that is not remembered may have written here.
    pub(super) fn may_have_forgotten(&self) -> bool {
        self.0.len() >= REQUESTS_MAX
    }

    /// As they are stored beside these nodes, which are sorted.
    pub(super) fn stored(&self, nodes: &[Node]) -> Vec<Stored> {
        let place = |rev: &Rev| match nodes.binary_search_by(|node| node.rev.cmp(rev)) {
            Ok(at) => Place::At(super::merge::position(at)),
            Err(_) => Place::Gone(rev.clone()),
        };
        self.0.iter().map(|(request, rev)| Stored(*request, place(rev))).collect()
    }

    /// What was stored beside these nodes; `None` if it does not fit them.
    pub(super) fn read(stored: Vec<Stored>, nodes: &[Node]) -> Option<Self> {
        let read = |Stored(request, place)| match place {
            Place::At(at) => nodes.get(at as usize).map(|node| (request, node.rev.clone())),
            Place::Gone(rev) => Some((request, rev)),
        };
        let fits = stored.len() <= REQUESTS_MAX;
        stored.into_iter().map(read).collect::<Option<_>>().filter(|_| fits).map(Self)
    }
}
