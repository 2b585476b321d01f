//! The settings in `deploy/` are sound, and agree with what the files beside them start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::config::{Config, Deployment};

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)
}

fn read(file: &str) -> String {
    let path = deploy(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reads settings as a server does, and holds them to what every sample promises.
fn sound(path: &Path) -> Config {
    let config = Config::load(Some(path), &[]).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    config.check(Deployment::Cluster).expect("sound");
    // Beyond loopback: an admin and a secret.
    config.check_listen("0.0.0.0:5984", true).expect("has an admin");
    config.check_listen("0.0.0.0:7000", false).expect("has a secret");
    for shard in &config.shard {
        assert_eq!(shard.replicas.len(), 3, "shard {}", shard.id);
    }
    let founders: BTreeSet<_> =
        config.shard.iter().map(|shard| &shard.replicas[shard.id.0 as usize % shard.replicas.len()]).collect();
    assert_eq!(founders.len(), config.shard.len(), "each shard is founded, and first led, by another node");
    config
}

/// The lines of a YAML mapping's entry `key:` at `indent`, its own line left out.
fn block<'a>(yaml: &'a str, indent: usize, key: &str) -> Vec<&'a str> {
    let head = format!("{}{key}:", " ".repeat(indent));
    let lines = yaml.lines().skip_while(|line| !line.starts_with(&head)).skip(1);
    let inside = |line: &&str| line.trim().is_empty() || line.len() - line.trim_start().len() > indent;
    let block: Vec<&str> = lines.take_while(inside).collect();
    assert!(!block.is_empty(), "there is no {key}");
    block
}

/// The keys of a YAML mapping's entry `key:` at `indent`.
fn keys(yaml: &str, indent: usize, key: &str) -> BTreeSet<String> {
    let own = " ".repeat(indent + 2);
    let name = |line: &str| line.strip_prefix(&own)?.split_once(':').map(|(name, _)| name.to_owned());
    let names = block(yaml, indent, key).into_iter().filter_map(name);
    names.filter(|name| !name.starts_with([' ', '#'])).collect()
}

fn compose_agrees(compose: &str, settings: &str, routers: usize) {
    let config = sound(&deploy(settings));
    let yaml = read(compose);
    let services = keys(&yaml, 0, "services");
    let nodes: BTreeSet<String> = config.node.iter().map(|node| node.id.to_string()).collect();
    assert!(nodes.is_subset(&services), "a service for each node: {services:?}");
    assert_eq!(services.len(), nodes.len() + routers);
    let volumes = keys(&yaml, 0, "volumes");
    assert_eq!(volumes.len(), nodes.len(), "a volume for each node: {volumes:?}");
    for node in &config.node {
        assert_eq!(node.address, format!("{}:7000", node.id), "a service's name is its host's");
        let service = block(&yaml, 2, node.id.as_str()).join("\n");
        assert!(service.contains(&format!("--node, {}, ", node.id)), "{service}");
        assert!(service.contains(":7000\""), "it listens where the others look for it: {service}");
        assert!(volumes.iter().any(|volume| service.contains(&format!("\"{volume}:/data\""))), "{service}");
        assert!(service.contains(&format!("./{settings}:/etc/quorate/cluster.toml:ro")), "{service}");
    }
    let secrets = keys(&yaml, 0, "secrets");
    let mounted = |path: Option<&PathBuf>| {
        let name = path.and_then(|path| path.strip_prefix("/run/secrets").ok());
        name.and_then(Path::to_str).is_some_and(|name| secrets.contains(name))
    };
    assert!(mounted(config.secret_file.as_ref()));
    assert!(mounted(config.admin.as_ref().and_then(|admin| admin.password_file.as_ref())));
}

#[test]
fn the_compose_files_start_the_nodes_of_their_settings() {
    compose_agrees("docker-compose.yml", "compose/cluster.toml", 2);
    compose_agrees("docker-compose.small.yml", "compose/cluster.small.toml", 1);
}

#[test]
fn two_compose_files_share_no_volume_and_no_cluster() {
    let volumes = |file| keys(&read(file), 0, "volumes");
    let shared: Vec<String> =
        volumes("docker-compose.yml").intersection(&volumes("docker-compose.small.yml")).cloned().collect();
    assert!(shared.is_empty(), "{shared:?}: under one project name, one would start on the other's data");
    let name = |file: &str| sound(&deploy(file)).name;
    assert_ne!(name("compose/cluster.toml"), name("compose/cluster.small.toml"));
}

#[test]
fn the_kubernetes_manifests_start_the_nodes_of_their_settings() {
    let settings = block(&read("kubernetes/config.yaml"), 2, "cluster.toml")
        .iter()
        .map(|line| line.strip_prefix("    ").unwrap_or_default().to_owned() + "\n")
        .collect::<String>();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cluster.toml");
    std::fs::write(&file, settings).expect("written");
    let config = sound(&file);
    let nodes = read("kubernetes/nodes.yaml");
    assert!(nodes.contains(&format!("replicas: {}\n", config.node.len())));
    for (ordinal, node) in config.node.iter().enumerate() {
        // A pod is called after its set and its number, and found under its set's service.
        assert_eq!(node.id.as_str(), format!("quorate-node-{ordinal}"));
        assert_eq!(node.address, format!("{}.quorate-nodes:7000", node.id));
    }
    let secrets = read("kubernetes/secret.yaml.example");
    for path in [config.secret_file.as_ref(), config.admin.as_ref().and_then(|admin| admin.password_file.as_ref())] {
        let name = path.and_then(|path| path.strip_prefix("/run/secrets/quorate").ok()).and_then(Path::to_str);
        assert!(secrets.contains(&format!("\n  {}: ", name.expect("where the secrets are mounted"))));
    }
    for file in ["kubernetes/nodes.yaml", "kubernetes/routers.yaml"] {
        // Variables like QUORATE_SERVICE_HOST would be taken for settings, and refused.
        assert!(read(file).contains("enableServiceLinks: false"), "{file}");
    }
}

#[test]
fn a_secret_left_as_in_the_example_lets_no_server_start() {
    let example = read("kubernetes/secret.yaml.example");
    let value = |name: &str| {
        let line = example.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
        line.expect("there").trim_matches('"').to_owned()
    };
    assert!(common::secret::Secret::new(&value("cluster.secret")).is_none());
    assert_eq!(value("admin.password"), "");
}
