//! The harness's own cluster as the target of exercises: where there are no containers.

use std::time::Duration;

use rustix::process::Signal;

use super::target::Target;
use crate::Result;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::layout::Layout;
use crate::proxy::Link;

/// Longest wait for a server that was asked to end: as long as its container would get.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Processes on this machine that end with this value.
#[derive(Debug)]
pub struct Processes(Cluster);

impl Processes {
    /// Starts a cluster. Networks can only be cut if the layout has proxies.
    pub async fn start(layout: Layout) -> Result<Self> {
        Ok(Self(Cluster::start(layout).await?))
    }
}

impl Target for Processes {
    fn describe(&self) -> String {
        let Layout { nodes, shards, replicas, routers, .. } = self.0.layout();
        format!("{nodes} nodes, {shards} shards x {replicas}, {routers} routers, processes on this machine")
    }

    fn routers(&self) -> Vec<(String, Client)> {
        let routers = self.0.routers().into_iter().enumerate();
        routers.map(|(at, client)| (format!("r{}", at + 1), client)).collect()
    }

    async fn kill(&mut self, server: &str) -> Result<()> {
        self.0.kill(server);
        Ok(())
    }

    async fn stop(&mut self, server: &str) -> Result<()> {
        let process = self.0.process(server);
        process.signal(Signal::TERM);
        match process.ended(STOP_PATIENCE).await? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("{server} ended with {status}").into()),
            None => Err(format!("{server} did not end within {STOP_PATIENCE:?}").into()),
        }
    }

    async fn start(&mut self, server: &str) -> Result<()> {
        self.0.restart(server)
    }

    async fn pause(&mut self, server: &str) -> Result<()> {
        self.0.pause(server);
        Ok(())
    }

    async fn resume(&mut self, server: &str) -> Result<()> {
        self.0.resume(server);
        Ok(())
    }

    async fn cut(&mut self, node: &str) -> Result<()> {
        self.0.isolate(node, Link::Silent);
        Ok(())
    }

    async fn join(&mut self, node: &str) -> Result<()> {
        self.0.isolate(node, Link::Open);
        Ok(())
    }

    async fn wipe(&mut self, node: &str) -> Result<()> {
        self.0.wipe(node)?;
        self.0.restart(node)
    }

    /// They end with this value, hurt or not.
    async fn heal(&mut self) -> Result<()> {
        Ok(())
    }

    async fn logs(&self) -> String {
        self.0.logs()
    }
}
