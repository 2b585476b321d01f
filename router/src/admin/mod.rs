//! `quorate-router admin …`: what an operator asks of a running cluster.

use std::error::Error;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use http::Uri;

use crate::backup::{self, Reach};

/// The command line behind `admin`.
#[derive(Debug, Clone, Args)]
pub struct Admin {
    /// A router of the cluster.
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:5984")]
    pub url: Uri,
    /// The server admin's name; the password is in --password-file or in QUORATE_PASSWORD.
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// File with the server admin's password.
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Answers in JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: backup::Command,
}

impl Admin {
    /// Does it.
    pub async fn run(&self) -> Result<(), Box<dyn Error>> {
        let reach = Reach { url: self.url.clone(), credentials: self.credentials()?, json: self.json };
        Ok(backup::run(&self.command, &reach, &now_ms).await?)
    }

    fn credentials(&self) -> Result<Option<(String, String)>, Box<dyn Error>> {
        let Some(user) = &self.user else { return Ok(None) };
        let password = match &self.password_file {
            Some(file) => std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?,
            None => {
                std::env::var("QUORATE_PASSWORD").map_err(|_| "--user needs --password-file or QUORATE_PASSWORD")?
            }
        };
        Ok(Some((user.clone(), password.trim_end_matches(['\r', '\n']).to_owned())))
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
