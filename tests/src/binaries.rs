//! Finds the servers' binaries beside the running test, and has cargo bring them up to date once.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::Result;

/// Folder to take the binaries from instead, as they are; nothing is built then.
const BIN_DIR: &str = "HARNESS_BIN_DIR";

/// The path of `quorate-router` or `quorate-shard-node`, built in the profile of the running test.
pub fn binary(name: &str) -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| prepare().map_err(|error| error.to_string())).clone()?;
    let path = folder.join(name);
    if path.is_file() { Ok(path) } else { Err(format!("{} is not there", path.display()).into()) }
}

fn prepare() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(BIN_DIR) {
        return Ok(folder.into());
    }
    let exe = std::env::current_exe()?;
    // target/<profile>/deps/<test> or target/<profile>/<binary>
    let folder = exe.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).ok_or("no target folder")?;
    let profile = folder.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // All packages, so that cargo settles on the same features as for the running test: with others it would build
    // everything anew, here and in the next run.
    build.args(["build", "--quiet", "--workspace", "--bins"]);
    build.args(["--profile", if profile == "debug" { "dev" } else { profile }]);
    let done = build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).status()?;
    if done.success() { Ok(folder.to_owned()) } else { Err(format!("cargo build of the servers: {done}").into()) }
}
