//! A shard's part of a backup, from whoever leads it.

use common::backup::ExportRequest;
use common::ids::ShardId;
use common::query::Consistency;
use common::refusal::Refusal;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::Cluster;
use super::ask::Ask;
use crate::shard::retry::Kind;
use crate::shard::transport::{ExportStream, Transport};

impl Ask for ExportRequest {
    type Answer = ExportStream;
    fn kind(&self) -> Kind {
        Kind::Read(Consistency::Linearizable)
    }
    fn send<'a>(&'a self, shard: ShardId, to: &'a dyn Transport) -> BoxFuture<'a, Result<Self::Answer, Refusal>> {
        to.export(shard, self)
    }
}

impl Cluster {
    /// A shard's part of a backup: sees every write acknowledged before this call. Failovers are ridden out until the
    /// stream begins; one that breaks off later must be asked for again, from its beginning.
    pub async fn export(&self, shard: ShardId, mut request: ExportRequest) -> Result<ExportStream, Refusal> {
        self.inner.members.ask(shard, &mut request, Instant::now(), &self.inner.patience).await
    }
}
