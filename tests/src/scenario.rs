//! One test on one cluster: takes the machine for itself, and shows the logs when the test fails.

use crate::cluster::Cluster;
use crate::layout::Layout;
use crate::{HEAVY, Result};

/// Starts a cluster of this shape and runs the test on it.
///
/// # Panics
/// If the cluster does not start or the test fails; the logs of all processes go to the standard error first.
pub async fn scenario(layout: Layout, test: impl AsyncFnOnce(&mut Cluster) -> Result<()>) {
    let _alone = HEAVY.lock().await;
    let mut cluster = match Cluster::start(layout).await {
        Ok(cluster) => cluster,
        Err(error) => panic!("the cluster did not start: {error}"),
    };
    if let Err(error) = test(&mut cluster).await {
        eprintln!("{}", cluster.logs());
        panic!("{error}");
    }
}

/// How many kills a test makes: `HARNESS_KILLS`, or `few` where time matters more.
pub fn kills(few: usize) -> usize {
    std::env::var("HARNESS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}
