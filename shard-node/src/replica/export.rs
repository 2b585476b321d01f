//! Gives out a replica's documents for a backup: one view of the engine, read block by block as blocks are taken.
//!
//! Nothing is kept in memory but a block. Whoever takes the blocks sets the pace; meanwhile the engine keeps what the
//! view shows, as it does for a snapshot.

use std::sync::Arc;

use bytes::Bytes;
use common::backup::block::{Records, Writer};
use common::backup::{ExportRequest, FORMAT, Header};
use common::refusal::Refusal;
use futures::StreamExt;

use super::Replica;
use crate::raft::group;
use crate::storage::{self, Read};
use crate::store::export::Export;
use crate::transport::Frames;

/// What is left to be given out.
struct Rest {
    view: Box<dyn Read>,
    header: Option<Header>,
    writer: Writer,
    export: Export,
}

impl Rest {
    /// The next block, and what is left behind it.
    fn step(mut self) -> Result<(Bytes, Option<Self>), storage::Error> {
        if let Some(header) = self.header.take() {
            return Ok((self.writer.header(&header), Some(self)));
        }
        let mut block = Records::default();
        self.export.fill(self.view.as_ref(), &mut block)?;
        if block.is_empty() {
            return Ok((self.writer.end(&self.export.finish()), None));
        }
        Ok((self.writer.records(&block), Some(self)))
    }
}

impl Replica {
    /// The shard's part of a backup, at a point behind every write acknowledged before this call.
    pub(crate) async fn export(self: &Arc<Self>, request: ExportRequest) -> Result<Frames, Refusal> {
        self.reads.confirm().await?;
        let group = self.group.clone();
        let viewed = group::blocking(self.group.engine().as_ref(), move || group.view()).await;
        let (term, index, view) = viewed.map_err(|error| self.broken(&error))?;
        let (cluster, shard) = (self.home.cluster, self.shard());
        tracing::info!(%shard, %index, backup = %request.backup, "giving out the shard for a backup");
        let header = Header { format: FORMAT, backup: request.backup, cluster, shard, term, index };
        let export = Export::new(request.databases);
        let rest = Rest { view, header: Some(header), writer: Writer::default(), export };
        let this = self.clone();
        let blocks = futures::stream::try_unfold(Some(rest), move |rest| {
            let this = this.clone();
            async move {
                let Some(rest) = rest else { return Ok(None) };
                let engine = this.group.engine();
                let step = tokio::select! {
                    biased;
                    () = this.group.stopping() => return Err(std::io::Error::other("the replica is stopping")),
                    step = group::blocking(engine.as_ref(), move || rest.step()) => step,
                };
                step.map(Some).map_err(|error| std::io::Error::other(this.broken(&error)))
            }
        });
        Ok(blocks.boxed())
    }
}
