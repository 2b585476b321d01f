//! How a router talks to one node, whatever lies between them.
//!
//! An implementation tells apart what certainly was not sent ([`Refusal::Unreachable`]: any other node may be asked)
//! from a write that may have arrived ([`Refusal::UnknownOutcome`]: only the same request ids may be tried again).

use bytes::Bytes;
use common::backup::ExportRequest;
use common::change::ChangesRequest;
use common::command::Command;
use common::ids::{Index, NodeId, ShardId};
use common::metrics::Sheet;
use common::refusal::Refusal;
use common::state::{Campaign, Drain, NodeState, Promote};
use common::view::{ViewAnswer, ViewRequest};
use common::wire::{ChangesAnswer, ReadAnswer, ReadRequest, WriteAnswer};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// Committed entries of a log as NDJSON, in pieces that need not end with a line.
pub type WalStream = BoxStream<'static, Result<Bytes, Refusal>>;

/// A shard's part of a backup, in pieces that need not end with a block.
pub type ExportStream = BoxStream<'static, Result<Bytes, Refusal>>;

/// A way to one node. Every future may be dropped at any moment; what was sent then may still take effect.
pub trait Transport: Send + Sync + 'static {
    /// The node at the other end.
    fn node(&self) -> &NodeId;

    /// Sends a batch of commands.
    fn write<'a>(&'a self, shard: ShardId, commands: &'a [Command]) -> BoxFuture<'a, WriteAnswer>;

    /// Sends a batch of queries.
    fn read<'a>(&'a self, shard: ShardId, request: &'a ReadRequest) -> BoxFuture<'a, ReadAnswer>;

    /// Asks for changes; the answer may take as long as the request says.
    fn changes<'a>(&'a self, shard: ShardId, request: &'a ChangesRequest) -> BoxFuture<'a, ChangesAnswer>;

    /// Asks for rows of a view; the answer may take as long as the request says.
    fn view<'a>(&'a self, shard: ShardId, request: &'a ViewRequest) -> BoxFuture<'a, ViewAnswer>;

    /// Asks how all replicas of the node are. Never waits behind the other calls.
    fn state(&self) -> BoxFuture<'_, Result<NodeState, Refusal>>;

    /// Asks a replica to campaign. Never waits behind the other calls.
    fn promote<'a>(&'a self, promote: &'a Promote) -> BoxFuture<'a, Result<Campaign, Refusal>>;

    /// Begins or ends the draining of the node, which then says how it is. Never waits behind the other calls.
    fn drain(&self, drain: Drain) -> BoxFuture<'_, Result<NodeState, Refusal>>;

    /// Writes down what the node counts, if it has no port of its own to be asked at.
    fn measure(&self, _sheet: &mut Sheet) {}

    /// Asks for a shard's part of a backup. Refused in time or streamed; a stream that breaks off ends with an error.
    fn export<'a>(&'a self, shard: ShardId, request: &'a ExportRequest)
    -> BoxFuture<'a, Result<ExportStream, Refusal>>;

    /// Follows a shard's log.
    fn wal(&self, shard: ShardId, from: Index, follow: bool) -> BoxFuture<'_, Result<WalStream, Refusal>>;
}
