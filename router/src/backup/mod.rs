//! Backups from an operator's side: `backup`, `restore`, `verify`.
//!
//! A backup is a folder: a file a shard, each the stream that the shard's primary gave out ([`common::backup`]), and a
//! manifest. Files are written under a name that ends in `.part`, synced and renamed; the manifest comes last, so that
//! a folder without one is known to be unfinished. Nothing here holds more than a block of each shard in memory.

pub mod catalog;
pub mod error;
mod folder;
mod manifest;
mod progress;
mod report;
mod restore;
mod server;
mod stored;
mod take;
#[cfg(test)]
mod tests;
mod verify;

use std::path::PathBuf;

use clap::Subcommand;
use common::ids::DbName;
use http::Uri;

use error::Error;
use progress::Progress;
use report::Report;
use restore::Wanted;
use server::Server;

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Copies all databases into a new folder while the cluster goes on; every write acknowledged before is in it.
    Backup {
        /// The folder; made if missing, and refused if anything is in it.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Shards read at once. More is quicker, and more work for the cluster beside its own.
        #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=64))]
        jobs: u16,
    },
    /// Makes the databases of a backup in a cluster that does not have them, whatever its number of shards.
    Restore {
        /// The backup's folder.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// Only this database.
        #[arg(long, value_name = "NAME", value_parser = DbName::parse)]
        database: Option<DbName>,
        /// Under this name.
        #[arg(long = "as", value_name = "NAME", requires = "database", value_parser = DbName::parse)]
        rename: Option<DbName>,
        /// Goes on with databases that an interrupted restore of the same backup left.
        #[arg(long = "continue")]
        proceed: bool,
        /// Files read at once.
        #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=64))]
        jobs: u16,
    },
    /// Reads a backup and checks all of it; asks no server. Exit code 1 and the place if it is damaged.
    Verify {
        /// The backup's folder.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
    },
}

/// The server to ask, and how to answer.
#[derive(Debug, Clone)]
pub struct Reach {
    /// `http://HOST:PORT` of a router.
    pub url: Uri,
    /// The server admin's name and password.
    pub credentials: Option<(String, String)>,
    /// Answer in JSON.
    pub json: bool,
}

/// Does it, and tells about it on the standard output.
pub async fn run(command: &Command, reach: &Reach, clock: take::Clock<'_>) -> Result<(), Error> {
    let progress = Progress::new(reach.json);
    let done = perform(command, reach, &progress, clock).await;
    progress.end();
    match done {
        Ok(report) => println!("{}", if reach.json { report.to_json() } else { report.to_string() }),
        Err(error) => {
            if reach.json {
                println!("{}", report::failure(&error));
            }
            return Err(error);
        }
    }
    Ok(())
}

async fn perform(
    command: &Command,
    reach: &Reach,
    progress: &Progress,
    clock: take::Clock<'_>,
) -> Result<Report, Error> {
    let server = || {
        let credentials = reach.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
        Server::new(&reach.url, credentials)
    };
    match command {
        Command::Backup { to, jobs } => {
            let manifest = take::take(&server()?, to, usize::from(*jobs), progress, clock).await?;
            Ok(Report::new("backup", to, &manifest, None))
        }
        Command::Restore { from, database, rename, proceed, jobs } => {
            let wanted = Wanted {
                from: from.clone(),
                database: database.clone(),
                rename: rename.clone(),
                proceed: *proceed,
                jobs: usize::from(*jobs),
            };
            let (manifest, restored) = restore::restore(&server()?, &wanted, progress).await?;
            let only = database.clone().map(|name| vec![name]);
            Ok(Report::new("restore", from, &manifest, only.as_deref()).restored(restored))
        }
        Command::Verify { from } => {
            let manifest = verify::verify(from, progress)?;
            Ok(Report::new("verify", from, &manifest, None))
        }
    }
}
