//! Reads the configuration from its four sources.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat};

use super::Config;
use crate::secret::{PasswordHash, Secret};

/// The environment variable with the password that an operator's commands send. No setting of a server's.
pub const OPERATOR_PASSWORD: &str = "QUORATE_PASSWORD";

/// Why a configuration was not accepted. Nothing has been started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the configuration names cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key is unknown, or a value has the wrong type.
    #[error("configuration: {0}")]
    Value(#[from] config::ConfigError),
    /// Values that cannot be meant together.
    #[error("configuration: {0}")]
    Contradiction(String),
}

impl Config {
    /// Reads defaults, then `file`, then the environment (`QUORATE_`, levels parted by `__`), then `overrides`
    /// (dotted keys, from flags). Paths in the file are taken relative to the file's folder.
    pub fn load(file: Option<&Path>, overrides: &[(String, String)]) -> Result<Self, Error> {
        let text = |(key, value): (OsString, OsString)| Some((key.into_string().ok()?, value.into_string().ok()?));
        let ours = std::env::vars_os().filter_map(text).filter(|(key, _)| key != OPERATOR_PASSWORD).collect();
        Self::load_with(file, overrides, Environment::with_prefix("QUORATE").source(Some(ours)))
    }

    fn load_with(file: Option<&Path>, overrides: &[(String, String)], env: Environment) -> Result<Self, Error> {
        let mut builder = config::Config::builder();
        if let Some(path) = file {
            let text = read(path)?;
            builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
        }
        // Not parsed into numbers here: a password of digits must stay text.
        builder = builder.add_source(env.prefix_separator("_").separator("__").try_parsing(false));
        for (key, value) in overrides {
            builder = builder.set_override(key, value.as_str())?;
        }
        let mut config: Self = builder.build()?.try_deserialize()?;
        if let Some(folder) = file.and_then(Path::parent) {
            config.resolve_paths(folder);
        }
        Ok(config)
    }

    fn resolve_paths(&mut self, folder: &Path) {
        let admins = self.admin.iter_mut().chain(&mut self.admins);
        let admin_files = admins.filter_map(|admin| admin.password_file.as_mut());
        let keys = self.jwt.iter_mut().map(|key| &mut key.key_file);
        let single = [self.secret_file.as_mut(), self.storage.data.as_mut()].into_iter().flatten();
        for path in single.chain(admin_files).chain(keys) {
            *path = folder.join(&*path);
        }
    }

    /// The cluster secret, if one is configured.
    pub fn secret(&self) -> Result<Option<Secret>, Error> {
        let read = |path: &PathBuf| Secret::read(path).map_err(|source| Error::File { path: path.clone(), source });
        self.secret_file.as_ref().map(read).transpose()
    }

    /// The admins' names and passwords. A plain password is hashed here, which takes a moment.
    pub fn admins(&self) -> Result<Vec<ConfiguredAdmin>, Error> {
        let admins: Vec<_> = self.admin.iter().chain(&self.admins).map(configured).collect::<Result<_, _>>()?;
        let names: std::collections::BTreeSet<_> = admins.iter().map(|admin| &admin.name).collect();
        if names.len() != admins.len() {
            return Err(Error::Contradiction("two admins have the same name".to_owned()));
        }
        Ok(admins)
    }
}

/// A server admin as configured.
#[derive(Debug, Clone)]
pub struct ConfiguredAdmin {
    /// The name.
    pub name: String,
    /// The password's hash.
    pub hash: PasswordHash,
    /// What the configuration says, hash or password: the same on all routers, where the hash of a plain password is
    /// not, since each has its own salt.
    pub text: Secret,
}

fn configured(admin: &super::Admin) -> Result<ConfiguredAdmin, Error> {
    if admin.name.is_empty() || admin.name.contains(':') {
        return Err(Error::Contradiction("admin.name must be set and may not contain ':'".to_owned()));
    }
    let password = match (&admin.password, &admin.password_file) {
        (Some(password), None) => password.clone(),
        (None, Some(path)) => read(path)?.trim_end_matches(['\r', '\n']).to_owned(),
        _ => {
            let reason = "admin needs exactly one of password and password_file";
            return Err(Error::Contradiction(reason.to_owned()));
        }
    };
    if password.is_empty() {
        return Err(Error::Contradiction("the admin's password is empty".to_owned()));
    }
    let hash = PasswordHash::from_configured(&password).map_err(Error::Contradiction)?;
    Ok(ConfiguredAdmin { name: admin.name.clone(), hash, text: Secret::of_any(&password) })
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{EngineKind, Quorum};
    use crate::ids::ShardId;

    fn load(text: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, Error> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("cluster.toml");
        std::fs::write(&path, text).expect("written");
        let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let flags: Vec<_> = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Config::load_with(Some(&path), &flags, Environment::with_prefix("QUORATE").source(Some(env)))
    }

    #[test]
    fn file_then_environment_then_flags() {
        let text = "[storage]\nengine = \"sled\"\n[limits]\njson_depth_max = 10\nbody_bytes_max = 5\n";
        let env = [("QUORATE_LIMITS__JSON_DEPTH_MAX", "11"), ("QUORATE_LIMITS__BODY_BYTES_MAX", "6")];
        let config = load(text, &env, &[("limits.body_bytes_max", "7")]).expect("valid");
        assert_eq!(config.storage.engine, EngineKind::Sled);
        assert_eq!((config.limits.json_depth_max, config.limits.body_bytes_max), (11, 7));
        assert_eq!(config.replication.write_quorum, Quorum::Majority);
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        for text in ["nam = \"x\"\n", "[storage]\nengin = \"sled\"\n", "[[node]]\nid = \"n1\"\naddres = \"x\"\n"] {
            let error = load(text, &[], &[]).expect_err("refused").to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
        let error = load("", &[("QUORATE_STORAGE__ENGIN", "sled")], &[]).expect_err("refused").to_string();
        assert!(error.contains("engin"), "{error}");
    }

    #[test]
    fn the_sample_of_the_design_is_accepted() {
        let text = r#"
            name = "demo"
            secret_file = "cluster.secret"
            [[node]]
            id = "n1"
            address = "127.0.0.1:7001"
            [[shard]]
            id = 0
            replicas = ["n1"]
            [replication]
            write_quorum = "all"
            read_quorum = "one"
            [admin]
            name = "admin"
            password_file = "admin.password"
        "#;
        let config = load(text, &[], &[]).expect("valid");
        assert_eq!(config.shard[0].id, ShardId(0));
        assert!(config.secret_file.expect("set").is_absolute(), "paths are relative to the file");
    }

    #[test]
    fn the_sample_for_operators_shows_the_defaults() {
        let sample = load(include_str!("../../../deploy/cluster.toml"), &[], &[]).expect("valid");
        sample.check(crate::config::Deployment::Cluster).expect("sound");
        let defaults = Config::default();
        assert_eq!((&sample.replication, &sample.limits), (&defaults.replication, &defaults.limits));
        assert_eq!((&sample.storage, &sample.log), (&defaults.storage, &defaults.log));
        assert_eq!(sample.telemetry, defaults.telemetry);
        assert_eq!((&sample.auth, &sample.cors), (&defaults.auth, &defaults.cors));
    }

    #[test]
    fn a_variable_is_a_list_by_its_commas() {
        let env = [
            ("QUORATE_REPLICATOR__ALLOW", "https://a.example, *"),
            ("QUORATE_REPLICATOR__NETWORKS", "10.0.0.0/8,::1/128"),
            ("QUORATE_CORS__ORIGINS", ""),
        ];
        let config = load("", &env, &[]).expect("valid");
        assert_eq!(config.replicator.allow, ["https://a.example", "*"]);
        let listed = load("[replicator]\nnetworks = [\"10.0.0.0/8\", \"::1/128\"]\n", &[], &[]).expect("valid");
        assert_eq!(config.replicator.networks, listed.replicator.networks);
        assert_eq!(config.cors.origins, Vec::<String>::new());
        let wrong = load("", &[("QUORATE_REPLICATOR__NETWORKS", "10.0.0.0/8,here")], &[]).expect_err("refused");
        assert!(wrong.to_string().contains("'here'"), "{wrong}");
        let number = load("[replicator]\nallow = 5\n", &[], &[]).expect_err("refused").to_string();
        assert!(number.contains("a list, or a text"), "{number}");
    }

    #[test]
    fn a_password_of_digits_stays_text() {
        let env = [("QUORATE_ADMIN__NAME", "admin"), ("QUORATE_ADMIN__PASSWORD", "007")];
        let admins = load("", &env, &[]).expect("valid").admins().expect("valid");
        assert_eq!(admins[0].name, "admin");
        assert!(admins[0].hash.verify("007") && !admins[0].hash.verify("7"));
    }

    #[test]
    fn there_may_be_several_admins_under_several_names() {
        let text = "[admin]\nname = \"a\"\npassword = \"x\"\n[[admins]]\nname = \"b\"\npassword = \"y\"\n";
        let admins = load(text, &[], &[]).expect("valid").admins().expect("valid");
        assert_eq!(admins.iter().map(|admin| admin.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(admins[1].hash.verify("y") && admins[1].text.as_bytes() == b"y");
        let error = load(&text.replace("\"b\"", "\"a\""), &[], &[]).expect("valid").admins().expect_err("refused");
        assert!(error.to_string().contains("same name"), "{error}");
    }
}
