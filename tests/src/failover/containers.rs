//! The containers of a running compose project as the target of exercises, over the docker command line.
//!
//! A container's compose service is its server's name. Whatever was done to a container is remembered until it is
//! undone, so that an exercise that ends early leaves the project as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use tokio::process::Command;

use super::target::Target;
use crate::Result;
use crate::client::Client;

/// Longest wait for a docker command: stopping a container takes up to its grace of 30 s.
const DOCKER_PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for a connection to a router. While a container comes or goes, packets to its published port may be
/// dropped and not refused; the kernel tries again after a second, an app that has another router should not wait.
const CONNECT_PATIENCE: Duration = Duration::from_millis(200);
/// The port on which routers serve clients inside their containers.
const ROUTER_PORT: &str = "5984/tcp";
/// Where a node's volume is in its container.
const DATA: &str = "/data";
/// How much of each log a failed exercise shows.
const LOG_LINES: &str = "40";

/// A compose project.
#[derive(Debug)]
pub struct Project {
    name: String,
    file: PathBuf,
    /// The container of each service.
    containers: BTreeMap<String, String>,
    routers: Vec<(String, Client)>,
    ended: BTreeSet<String>,
    paused: BTreeSet<String>,
    /// The networks a container was cut from.
    cut: BTreeMap<String, Vec<String>>,
}

impl Project {
    /// Finds the running project `name`, started from the compose file `file`, and logs in as its admin. Errors in
    /// plain words when there is no engine or no such project: then there is nothing to exercise on.
    pub async fn find(name: &str, file: PathBuf, password_file: &std::path::Path) -> Result<Self> {
        docker(&["version", "--format", "{{.Server.Version}}"])
            .await
            .map_err(|error| format!("no docker engine is reachable ({error})"))?;
        let label = format!("label=com.docker.compose.project={name}");
        let format = "{{.Label \"com.docker.compose.service\"}} {{.Names}}";
        let listed = docker(&["ps", "--filter", &label, "--format", format]).await?;
        let pair =
            |line: &str| line.split_once(' ').map(|(service, container)| (service.to_owned(), container.to_owned()));
        let containers: BTreeMap<String, String> = listed.lines().filter_map(pair).collect();
        if containers.is_empty() {
            return Err(format!("no container of a compose project '{name}' runs").into());
        }
        let password = std::fs::read_to_string(password_file)
            .map_err(|error| format!("the admin's password in {}: {error}", password_file.display()))?;
        let mut routers = Vec::new();
        for (service, container) in &containers {
            // Only routers publish a port; docker's answer for the others is an error.
            let Ok(published) = docker(&["port", container, ROUTER_PORT]).await else { continue };
            let address = published.lines().next().unwrap_or_default();
            let client = Client::connecting_within(address, CONNECT_PATIENCE).basic("admin", password.trim_end());
            routers.push((service.clone(), client));
        }
        let name = name.to_owned();
        let (ended, paused, cut) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        Ok(Self { name, file, containers, routers, ended, paused, cut })
    }

    fn container(&self, server: &str) -> Result<&str> {
        self.containers.get(server).map(String::as_str).ok_or_else(|| format!("no container is {server}").into())
    }

    async fn inspect(&self, server: &str, format: &str) -> Result<String> {
        docker(&["inspect", "--format", format, self.container(server)?]).await
    }

    /// The compose command of this machine: the plugin, or the program of its own.
    async fn compose(&self, args: &[&str]) -> Result<String> {
        let file = self.file.display().to_string();
        let of_project = [&["-p", self.name.as_str(), "-f", file.as_str()], args].concat();
        if docker(&["compose", "version"]).await.is_ok() {
            docker(&[&["compose"], &of_project[..]].concat()).await
        } else {
            call("docker-compose", &of_project).await
        }
    }
}

impl Target for Project {
    fn describe(&self) -> String {
        let routers = self.routers.len();
        format!("{} nodes, {routers} routers, containers of project '{}'", self.containers.len() - routers, self.name)
    }

    fn routers(&self) -> Vec<(String, Client)> {
        self.routers.clone()
    }

    async fn kill(&mut self, server: &str) -> Result<()> {
        self.ended.insert(server.to_owned());
        docker(&["kill", "--signal", "KILL", self.container(server)?]).await.map(drop)
    }

    async fn stop(&mut self, server: &str) -> Result<()> {
        self.ended.insert(server.to_owned());
        // The grace is the container's own.
        docker(&["stop", self.container(server)?]).await?;
        match self.inspect(server, "{{.State.ExitCode}}").await?.as_str() {
            "0" => Ok(()),
            // 137: it did not end by itself and was killed.
            code => Err(format!("{server} ended with code {code}").into()),
        }
    }

    async fn start(&mut self, server: &str) -> Result<()> {
        docker(&["start", self.container(server)?]).await?;
        self.ended.remove(server);
        Ok(())
    }

    async fn pause(&mut self, server: &str) -> Result<()> {
        self.paused.insert(server.to_owned());
        docker(&["pause", self.container(server)?]).await.map(drop)
    }

    async fn resume(&mut self, server: &str) -> Result<()> {
        docker(&["unpause", self.container(server)?]).await?;
        self.paused.remove(server);
        Ok(())
    }

    async fn cut(&mut self, node: &str) -> Result<()> {
        let names =
            self.inspect(node, "{{range $name, $network := .NetworkSettings.Networks}}{{$name}} {{end}}").await?;
        let networks: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        for network in &networks {
            self.cut.entry(node.to_owned()).or_default().push(network.clone());
            docker(&["network", "disconnect", network, self.container(node)?]).await?;
        }
        Ok(())
    }

    async fn join(&mut self, node: &str) -> Result<()> {
        for network in self.cut.get(node).cloned().unwrap_or_default() {
            // The service's name is an alias that compose gave it; without it nobody would find it again.
            docker(&["network", "connect", "--alias", node, &network, self.container(node)?]).await?;
        }
        self.cut.remove(node);
        Ok(())
    }

    /// As an operator would replace a machine: the container and its volume go, and compose makes them anew.
    async fn wipe(&mut self, node: &str) -> Result<()> {
        let mounts =
            format!("{{{{range .Mounts}}}}{{{{if eq .Destination \"{DATA}\"}}}}{{{{.Name}}}}{{{{end}}}}{{{{end}}}}");
        let volume = self.inspect(node, &mounts).await?;
        docker(&["rm", "--force", self.container(node)?]).await?;
        docker(&["volume", "rm", &volume]).await?;
        self.compose(&["up", "-d", "--no-deps", node]).await?;
        self.ended.remove(node);
        Ok(())
    }

    async fn heal(&mut self) -> Result<()> {
        for server in std::mem::take(&mut self.paused) {
            docker(&["unpause", self.container(&server)?]).await?;
        }
        for node in self.cut.keys().cloned().collect::<Vec<_>>() {
            self.join(&node).await?;
        }
        // Compose, since a container may be gone altogether.
        let ended = std::mem::take(&mut self.ended);
        let up = ["up", "-d", "--no-deps", "--no-recreate"];
        let args: Vec<&str> = up.into_iter().chain(ended.iter().map(String::as_str)).collect();
        if ended.is_empty() { Ok(()) } else { self.compose(&args).await.map(drop) }
    }

    async fn logs(&self) -> String {
        let mut text = String::new();
        for (server, container) in &self.containers {
            let tail = raw("docker", &["logs", "--tail", LOG_LINES, container]).await;
            let tail = match &tail {
                Ok(output) => [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat(),
                Err(error) => error.to_string(),
            };
            text.push_str(&format!("=== {server}\n{tail}\n"));
        }
        text
    }
}

async fn docker(args: &[&str]) -> Result<String> {
    call("docker", args).await
}

/// Runs a command; its output, or an error that says what it said.
async fn call(program: &str, args: &[&str]) -> Result<String> {
    let output = raw(program, args).await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", args.first().unwrap_or(&""), said.trim_end().lines().last().unwrap_or("failed"))
        .into())
}

async fn raw(program: &str, args: &[&str]) -> Result<Output> {
    let run = Command::new(program).args(args).kill_on_drop(true).output();
    let late = |_| format!("{program} {} took longer than {DOCKER_PATIENCE:?}", args.join(" "));
    let output = tokio::time::timeout(DOCKER_PATIENCE, run).await.map_err(late)?;
    Ok(output.map_err(|error| format!("{program}: {error}"))?)
}
