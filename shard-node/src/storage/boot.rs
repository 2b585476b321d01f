//! Tells whether the host stopped uncleanly since a replica's engine was last in use.
//!
//! An engine that is not crash-safe survives a killed process, because the system still writes what the process gave
//! it, but not a power cut. The marker file beside the engine's folder holds the boot id of the running host and, after
//! a clean stop, that it was clean. Another boot id without the clean mark means that the host went down under the
//! engine: its folder is wiped, to be rebuilt from our own snapshot and the log.
//!
//! The order is what makes this safe: the wipe is durable before the new boot id is, so a crash between the two wipes
//! again; and the new boot id is durable before the engine writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Error, files};

const FILE: &str = "engine.mark";

/// How the engine was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Its folder, if there was one, can be opened.
    Kept,
    /// Its folder could not be trusted and is gone.
    Wiped,
}

/// The mark that an engine is in use.
#[derive(Debug)]
#[must_use = "an engine that is not marked clean at the end may be wiped at the next start"]
pub struct Marker {
    dir: PathBuf,
    boot_id: String,
}

/// Marks the engine in `engine_dir` as in use during the boot `boot_id`, after wiping it if it cannot be trusted.
/// The mark is kept in the parent of `engine_dir`. Call before opening the engine.
pub fn start(engine_dir: &Path, crash_safe: bool, boot_id: &str) -> Result<(Marker, Start), Error> {
    let failed = |error: io::Error| Error::io(engine_dir, &error);
    let dir = engine_dir.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    files::make_dir(&dir).map_err(failed)?;
    let last = match fs::read_to_string(dir.join(FILE)) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let start = if must_rebuild(last.as_deref(), crash_safe, boot_id) && engine_dir.exists() {
        wipe(engine_dir)?;
        Start::Wiped
    } else {
        Start::Kept
    };
    let marker = Marker { dir, boot_id: boot_id.to_owned() };
    marker.write("running").map_err(failed)?;
    Ok((marker, start))
}

/// Whether [`start`] would wipe the engine in `engine_dir`. Changes nothing.
pub fn would_wipe(engine_dir: &Path, crash_safe: bool, boot_id: &str) -> Result<bool, Error> {
    let mark = engine_dir.with_file_name(FILE);
    match fs::read_to_string(&mark) {
        Ok(text) => Ok(must_rebuild(Some(&text), crash_safe, boot_id)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(must_rebuild(None, crash_safe, boot_id)),
        Err(error) => Err(Error::io(&mark, &error)),
    }
}

/// The host's boot id: another one after each start of the host.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Removes an engine's folder, durably: also the answer to [`Error::Damaged`].
pub fn wipe(engine_dir: &Path) -> Result<(), Error> {
    files::remove_tree(engine_dir).map_err(|error| Error::io(engine_dir, &error))
}

impl Marker {
    /// Marks the stop as clean. Call after the engine's last `flush`, with the engine closed.
    pub fn clean(self) -> Result<(), Error> {
        self.write("clean").map_err(|error| Error::io(&self.dir, &error))
    }

    fn write(&self, state: &str) -> io::Result<()> {
        files::replace(&self.dir, FILE, format!("{state} {}\n", self.boot_id).as_bytes())
    }
}

/// Whether an engine's folder cannot be trusted, given the last mark.
fn must_rebuild(last: Option<&str>, crash_safe: bool, boot_id: &str) -> bool {
    if crash_safe {
        return false;
    }
    match last.and_then(|mark| mark.trim().split_once(' ')) {
        Some(("clean", _)) => false,
        // The process died, the host did not.
        Some(("running", booted)) => booted != boot_id,
        // No mark, or one we do not understand: then nothing is known about the folder.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with an engine in it, started in boot `one`.
    fn in_use() -> (tempfile::TempDir, PathBuf, Marker) {
        let dir = tempfile::tempdir().unwrap();
        let engine = dir.path().join("engine");
        let (marker, start) = start(&engine, false, "one").unwrap();
        assert_eq!(start, Start::Kept);
        fs::create_dir(&engine).unwrap();
        fs::write(engine.join("pairs"), "all").unwrap();
        (dir, engine, marker)
    }

    #[test]
    fn a_killed_process_keeps_the_engine() {
        let (_dir, engine, _killed) = in_use();
        assert_eq!(start(&engine, false, "one").unwrap().1, Start::Kept);
        assert!(engine.join("pairs").exists());
    }

    #[test]
    fn a_clean_stop_keeps_the_engine_over_boots() {
        let (_dir, engine, marker) = in_use();
        marker.clean().unwrap();
        assert_eq!(start(&engine, false, "two").unwrap().1, Start::Kept);
        assert!(engine.join("pairs").exists());
    }

    #[test]
    fn a_clean_stop_counts_once() {
        let (_dir, engine, marker) = in_use();
        marker.clean().unwrap();
        let _killed = start(&engine, false, "two").unwrap();
        assert_eq!(start(&engine, false, "three").unwrap().1, Start::Wiped);
    }

    #[test]
    fn a_host_that_went_down_wipes_the_engine_once() {
        let (_dir, engine, _marker) = in_use();
        assert_eq!(start(&engine, false, "two").unwrap().1, Start::Wiped);
        assert!(!engine.exists());
        fs::create_dir(&engine).unwrap();
        assert_eq!(start(&engine, false, "two").unwrap().1, Start::Kept);
    }

    #[test]
    fn a_crash_safe_engine_is_never_wiped() {
        let (_dir, engine, _marker) = in_use();
        assert_eq!(start(&engine, true, "two").unwrap().1, Start::Kept);
        assert!(engine.join("pairs").exists());
    }

    #[test]
    fn a_folder_without_a_readable_mark_is_not_trusted() {
        for mark in [None, Some(""), Some("running"), Some("?? one")] {
            let (dir, engine, _marker) = in_use();
            match mark {
                None => fs::remove_file(dir.path().join(FILE)).unwrap(),
                Some(text) => fs::write(dir.path().join(FILE), text).unwrap(),
            }
            assert_eq!(start(&engine, false, "one").unwrap().1, Start::Wiped, "{mark:?}");
        }
    }
}
