//! A node in this very process: the embedded mode's way to its shards.
//!
//! Nothing is encoded and nothing can get lost on the way, so every refusal is the node's own.

use std::sync::Arc;
use std::time::Duration;

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
use futures::{FutureExt, StreamExt, stream};
use shard_node::node::Node;

use super::transport::{ExportStream, Transport, WalStream};

/// Log entries read at once.
const WAL_PAGE_ENTRIES: usize = 256;
/// Between two looks for new log entries. A tool's convenience, so it need not be quick.
const WAL_PAUSE: Duration = Duration::from_millis(50);

/// A node of this process.
pub struct LocalTransport {
    node: Arc<Node>,
}

impl LocalTransport {
    /// The way to `node`.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
}

impl Transport for LocalTransport {
    fn node(&self) -> &NodeId {
        self.node.id()
    }

    fn write<'a>(&'a self, shard: ShardId, commands: &'a [Command]) -> BoxFuture<'a, WriteAnswer> {
        // Cheap: ids and bodies are shared, not copied. Kept here for a retry.
        self.node.write(shard, commands.to_vec()).boxed()
    }

    fn read<'a>(&'a self, shard: ShardId, request: &'a ReadRequest) -> BoxFuture<'a, ReadAnswer> {
        self.node.read(shard, request.clone()).boxed()
    }

    fn changes<'a>(&'a self, shard: ShardId, request: &'a ChangesRequest) -> BoxFuture<'a, ChangesAnswer> {
        self.node.changes(shard, request.clone()).boxed()
    }

    fn view<'a>(&'a self, shard: ShardId, request: &'a ViewRequest) -> BoxFuture<'a, ViewAnswer> {
        self.node.view(shard, request.clone()).boxed()
    }

    fn state(&self) -> BoxFuture<'_, Result<NodeState, Refusal>> {
        async { Ok(self.node.state()) }.boxed()
    }

    fn promote<'a>(&'a self, promote: &'a Promote) -> BoxFuture<'a, Result<Campaign, Refusal>> {
        async { Ok(self.node.campaign(promote.clone()).await) }.boxed()
    }

    fn drain(&self, drain: Drain) -> BoxFuture<'_, Result<NodeState, Refusal>> {
        async move { Ok(self.node.drain(drain.drain)) }.boxed()
    }

    fn measure(&self, sheet: &mut Sheet) {
        self.node.measure(sheet);
    }

    fn export<'a>(
        &'a self,
        shard: ShardId,
        request: &'a ExportRequest,
    ) -> BoxFuture<'a, Result<ExportStream, Refusal>> {
        async move {
            let blocks = self.node.export(shard, request.clone()).await?;
            let broken = move |error: std::io::Error| Refusal::OutOfService { shard, reason: error.to_string() };
            Ok(blocks.map(move |block| block.map_err(broken)).boxed())
        }
        .boxed()
    }

    fn wal(&self, shard: ShardId, from: Index, follow: bool) -> BoxFuture<'_, Result<WalStream, Refusal>> {
        async move {
            // The first page here, so that a refusal is one and not a broken stream.
            let first = lines(&self.node, shard, from).await?;
            let node = self.node.clone();
            let rest = stream::try_unfold(first.1, move |from| {
                let node = node.clone();
                async move {
                    loop {
                        let (text, next) = lines(&node, shard, from).await?;
                        if next > from {
                            return Ok(Some((text, next)));
                        }
                        if !follow {
                            return Ok(None);
                        }
                        tokio::time::sleep(WAL_PAUSE).await;
                    }
                }
            });
            Ok(stream::once(async { Ok(first.0) }).chain(rest).boxed())
        }
        .boxed()
    }
}

/// A page of a log as NDJSON, and the index behind it.
async fn lines(node: &Node, shard: ShardId, from: Index) -> Result<(Bytes, Index), Refusal> {
    let page = node.wal(shard, from, WAL_PAGE_ENTRIES).await?;
    let next = page.entries.last().map_or(from, |entry| Index(entry.index.0 + 1));
    let mut text = Vec::new();
    for entry in &page.entries {
        let unfit = |error: serde_json::Error| Refusal::OutOfService { shard, reason: error.to_string() };
        serde_json::to_writer(&mut text, entry).map_err(unfit)?;
        text.push(b'\n');
    }
    Ok((text.into(), next))
}
