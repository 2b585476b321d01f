//! What an exercise does to a cluster, whatever its servers run in.

use crate::Result;
use crate::client::Client;

/// A cluster whose servers can be hurt and healed. Servers go by their names: `n1`, `r1` …
#[expect(async_fn_in_trait, reason = "nobody names the futures, and they stay on one task")]
pub trait Target {
    /// In a few words, what it is.
    fn describe(&self) -> String;

    /// Names and clients of the routers, admins all.
    fn routers(&self) -> Vec<(String, Client)>;

    /// Kills a server with SIGKILL.
    async fn kill(&mut self, server: &str) -> Result<()>;

    /// Asks a server to end (SIGTERM) and waits until it has. An error unless it ended by itself and in order.
    async fn stop(&mut self, server: &str) -> Result<()>;

    /// Starts a server that was killed or stopped.
    async fn start(&mut self, server: &str) -> Result<()>;

    /// Freezes a server: it keeps its connections and says nothing.
    async fn pause(&mut self, server: &str) -> Result<()>;

    /// Lets a frozen server go on.
    async fn resume(&mut self, server: &str) -> Result<()>;

    /// Cuts a node off from all other servers; what is sent is dropped, not refused.
    async fn cut(&mut self, node: &str) -> Result<()>;

    /// Joins it again.
    async fn join(&mut self, node: &str) -> Result<()>;

    /// Empties the data folder of a node that was killed, and starts it.
    async fn wipe(&mut self, node: &str) -> Result<()>;

    /// Undoes what is still in force, after an exercise that ended early.
    async fn heal(&mut self) -> Result<()>;

    /// The last part of every server's log.
    async fn logs(&self) -> String;
}
