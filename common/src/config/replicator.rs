//! Settings of the replicator: whom it may call, how much at once.

use std::path::PathBuf;

use http::Uri;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Config;

/// Most replications at once on a router: each holds a few batches of documents.
const JOBS_MAX: usize = 10_000;

/// What replications may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replicator {
    /// Servers that may be replicated with: `https://db.example`, `https://*.example`, `http://db.example:5984/prefix`,
    /// or `*` for every server at a public address. None by default: whoever may ask for a replication could
    /// otherwise have this server call whatever it reaches.
    #[serde(deserialize_with = "super::lists::read")]
    pub allow: Vec<String>,
    /// Networks that are not public and may be called all the same, as `10.0.0.0/8`: loopback, private, link-local and
    /// other addresses outside of these are refused, whatever name leads there.
    #[serde(deserialize_with = "super::lists::read")]
    pub networks: Vec<IpNet>,
    /// File with certificates (PEM) of further authorities that are trusted for `https`.
    pub ca_file: Option<PathBuf>,
    /// Replications that run at once on one router; the others wait for their turn.
    pub jobs_max: usize,
    /// How long a continuous replication runs at least, in seconds, before it makes room for one that waits.
    pub turn_s: u64,
    /// How often a replication notes how far it is, in milliseconds. Longer repeats more after an interruption.
    pub checkpoint_interval_ms: u64,
    /// Longest pause after a replication has failed again and again, in seconds.
    pub backoff_max_s: u64,
    /// A router that gave no sign of life for so long loses its replications to the others, in milliseconds. Shorter
    /// takes over sooner, and from a router that is only slow as well.
    pub takeover_ms: u64,
}

impl Default for Replicator {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            networks: Vec::new(),
            ca_file: None,
            jobs_max: 100,
            turn_s: 60,
            checkpoint_interval_ms: 5_000,
            backoff_max_s: 600,
            takeover_ms: 10_000,
        }
    }
}

impl Config {
    /// Checks what a single field's type cannot say.
    pub(super) fn check_replicator(&self) -> Result<(), String> {
        let Replicator { allow, jobs_max, turn_s, checkpoint_interval_ms, backoff_max_s, takeover_ms, .. } =
            &self.replicator;
        if let Some(wrong) = allow.iter().find(|entry| *entry != "*" && !is_prefix(entry)) {
            return Err(format!(
                "replicator.allow: '{wrong}' is neither '*' nor the start of a URL as https://db.example"
            ));
        }
        if !(1..=JOBS_MAX).contains(jobs_max) {
            return Err(format!("replicator.jobs_max must be 1 to {JOBS_MAX}"));
        }
        if *checkpoint_interval_ms < 100 || *takeover_ms < 1_000 || *turn_s == 0 || *backoff_max_s == 0 {
            let least = "checkpoint_interval_ms 100, takeover_ms 1000, turn_s 1 and backoff_max_s 1";
            return Err(format!("replicator: the least is {least}"));
        }
        Ok(())
    }
}

/// Whether it can stand in front of a database's URL.
fn is_prefix(entry: &str) -> bool {
    let Ok(uri) = entry.parse::<Uri>() else { return false };
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.authority().filter(|authority| !authority.as_str().contains('@')).map(|authority| authority.host());
    // A star stands for whole labels at the start.
    let host = host.map(|host| host.strip_prefix("*.").unwrap_or(host));
    known && host.is_some_and(|host| !host.is_empty() && !host.contains('*')) && uri.query().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Deployment;

    #[test]
    fn what_is_no_start_of_a_url_is_refused() {
        let check = |entry: &str| {
            let mut config = Config::default();
            config.replicator.allow = vec![entry.to_owned()];
            config.check(Deployment::Embedded).map_err(|error| error.to_string())
        };
        for good in ["*", "https://db.example", "https://*.example", "http://[::1]:5984/a", "http://10.0.0.1"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "db.example", "ftp://x", "https://", "https://a*b.example", "https://u:p@x", "https://x/?q"] {
            assert!(check(bad).is_err_and(|why| why.contains("replicator.allow")), "{bad}");
        }
    }

    #[test]
    fn networks_are_written_with_their_length() {
        let read = |text: &str| toml::from_str::<Replicator>(text);
        assert_eq!(read(r#"networks = ["10.0.0.0/8", "::1/128"]"#).expect("networks").networks.len(), 2);
        assert!(read(r#"networks = ["10.0.0.0"]"#).is_err());
    }
}
