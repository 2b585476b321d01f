//! The embedded mode: one process, started as a newcomer would.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use crate::Result;
use crate::binaries::binary;
use crate::client::Client;
use crate::cluster::PATIENCE;
use crate::ports::Port;
use crate::process::{Process, Spec};

/// A router in embedded mode; killed when dropped.
#[derive(Debug)]
pub struct Embedded {
    process: Process,
    port: Port,
}

impl Embedded {
    /// Starts it with its data under `folder`, and waits until it takes requests.
    pub async fn start(folder: &Path, args: &[&str]) -> Result<Self> {
        let embedded = Self::launch(folder, args)?;
        embedded.ready().await
    }

    /// The same with an admin called `admin`.
    pub async fn with_admin(folder: &Path, args: &[&str], password: &str) -> Result<Self> {
        let env = [("QUORATE_ADMIN__NAME", "admin"), ("QUORATE_ADMIN__PASSWORD", password)];
        Self::spawn(folder, args, &env)?.ready().await
    }

    /// Starts it and does not wait.
    pub fn launch(folder: &Path, args: &[&str]) -> Result<Self> {
        Self::spawn(folder, args, &[])
    }

    fn spawn(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<Self> {
        let port = Port::take()?;
        let mut all = Vec::new();
        if !args.contains(&"--listen") {
            all.extend(["--listen".to_owned(), port.address()]);
        }
        all.extend(["--data".to_owned(), folder.join("data").display().to_string()]);
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let process = Process::start(Spec {
            name: "embedded".to_owned(),
            program: binary("quorate-router")?,
            args: all,
            env: env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            folder: folder.to_owned(),
            log: folder.join("embedded.log"),
        })?;
        Ok(Self { process, port })
    }

    async fn ready(mut self) -> Result<Self> {
        let until = Instant::now() + PATIENCE;
        let client = self.client().patience(Duration::from_secs(2));
        loop {
            let up = client.get("/_up").await;
            match up {
                Ok(reply) if reply.status == 200 => return Ok(self),
                _ if !self.process.is_running() => return Err(format!("it ended:\n{}", self.log()).into()),
                _ if Instant::now() >= until => return Err(format!("never up: {up:?}\n{}", self.log()).into()),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(&self.port.address())
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it printed.
    pub fn log(&self) -> String {
        self.process.log_tail(20_000)
    }

    /// Sends Ctrl-C and waits for its end; the exit code.
    pub async fn interrupt(&mut self) -> Result<Option<i32>> {
        self.process.signal(Signal::INT);
        let ended = self.process.ended(Duration::from_secs(30)).await?;
        Ok(ended.ok_or("it did not end within 30 s of Ctrl-C")?.code())
    }
}
