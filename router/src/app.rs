//! What every request handler shares: the verbs, the door keeper, the settings, the counters.

use std::sync::Arc;

use common::config::{Config, Error, Quorum};
use common::query::Consistency;

use crate::auth::Auth;
use crate::cluster::Cluster;
use crate::cluster::catalog::Catalog;
use crate::metrics::Metrics;
use crate::ops::Ops;
use crate::ops::compact::Compactions;
use crate::ops::indexes::Indexes;
use crate::ops::upload::Uploads;
use crate::ops::validation::Validation;
use crate::ops::views::warm::Warming;
use crate::replicator::Replicator;

/// One router's state behind its HTTP API.
pub struct App {
    /// The database's verbs.
    pub ops: Ops,
    /// Who may come in.
    pub auth: Auth,
    /// The settings this router runs with.
    pub config: Arc<Config>,
    /// What `/_metrics` shows.
    pub metrics: Metrics,
    /// The databases being compacted.
    pub compactions: Compactions,
    /// The replications.
    pub replicator: Replicator,
}

impl App {
    /// Puts the parts together. Hashes a plain admin password, which takes a moment; errors if it cannot be read.
    pub fn new(cluster: Cluster, catalog: Catalog, config: Arc<Config>) -> Result<Arc<Self>, Error> {
        let auth = Auth::start(&config, &cluster, &catalog)?;
        let default_consistency = match config.replication.read_quorum {
            Quorum::One => Consistency::Eventual,
            Quorum::Majority | Quorum::All => Consistency::Linearizable,
        };
        let replicator = Replicator::new(config.replicator.clone(), cluster.clone(), catalog.clone());
        let (indexes, uploads, validation) = (Indexes::default(), Uploads::default(), Validation::default());
        let warming = Warming::default();
        let ops = Ops { cluster, catalog, default_consistency, indexes, uploads, validation, warming };
        let (metrics, compactions) = (Metrics::new(), Compactions::default());
        Ok(Arc::new(Self { ops, auth, config, metrics, compactions, replicator }))
    }
}
