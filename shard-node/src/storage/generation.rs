//! Generations of an engine: numbered folders beside each other, one of them current.
//!
//! `install` builds the next generation and then switches to it by replacing the small file `current`, so a crash
//! leaves the old pairs or the new ones. Folders are never renamed: engines keep absolute paths. Only one process may
//! have the folder open; the engines' own locks see to that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::files;

/// Names the current generation. Missing: the first.
const CURRENT: &str = "current";

/// One generation's folder, removed when the last user of a retired generation is gone.
#[derive(Debug)]
pub(super) struct Generation {
    root: PathBuf,
    number: u64,
    retired: AtomicBool,
}

impl Generation {
    /// The current generation under `root`. Removes what an interrupted [`Generation::next`] or a retired generation
    /// left there.
    pub(super) fn current(root: &Path) -> io::Result<Self> {
        files::make_dir(root)?;
        let number = Self::current_number(root)?;
        for entry in fs::read_dir(root)? {
            let path = entry?.path();
            let other = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
            if other.is_some_and(|other| other != number) {
                fs::remove_dir_all(path)?;
            }
        }
        Self::at(root, number)
    }

    /// Where the current generation lies. Changes nothing.
    pub(super) fn folder_of_current(root: &Path) -> io::Result<PathBuf> {
        Ok(root.join(Self::current_number(root)?.to_string()))
    }

    fn current_number(root: &Path) -> io::Result<u64> {
        match fs::read_to_string(root.join(CURRENT)) {
            Ok(text) => text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "bad `current`")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// A new, empty generation beside this one.
    pub(super) fn next(&self) -> io::Result<Self> {
        files::remove_tree(&self.root.join((self.number + 1).to_string()))?;
        Self::at(&self.root, self.number + 1)
    }

    fn at(root: &Path, number: u64) -> io::Result<Self> {
        let generation = Self { root: root.to_owned(), number, retired: AtomicBool::new(false) };
        files::make_dir(&generation.folder())?;
        Ok(generation)
    }

    /// Makes this generation, complete and durable by now, the current one, durably.
    pub(super) fn switch(&self) -> io::Result<()> {
        files::replace(&self.root, CURRENT, format!("{}\n", self.number).as_bytes())
    }

    /// Has the folder removed when the last user is gone.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Where the engine puts its files.
    pub(super) fn folder(&self) -> PathBuf {
        self.root.join(self.number.to_string())
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if *self.retired.get_mut()
            && let Err(error) = files::remove_tree(&self.folder())
        {
            // Costs room only: the next start removes it.
            tracing::warn!(folder = %self.folder().display(), %error, "old engine files stay until the next start");
        }
    }
}

/// The instance in use, replaced as a whole by `install`; readers of the old one keep it.
#[derive(Debug)]
pub(super) struct InUse<T>(RwLock<Arc<T>>);

impl<T> InUse<T> {
    pub(super) fn new(instance: T) -> Self {
        Self(RwLock::new(Arc::new(instance)))
    }

    pub(super) fn get(&self) -> Arc<T> {
        // A poisoned lock is fine here: an `Arc` is replaced as a whole or not at all.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the instance that was in use.
    pub(super) fn replace(&self, instance: T) -> Arc<T> {
        std::mem::replace(&mut self.0.write().unwrap_or_else(PoisonError::into_inner), Arc::new(instance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_generation_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let first = Generation::current(dir.path()).unwrap();
        fs::write(first.folder().join("a"), "1").unwrap();
        let second = first.next().unwrap();
        fs::write(second.folder().join("a"), "2").unwrap();

        let current = Generation::current(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(current.folder().join("a")).unwrap(), "1");
        assert!(!second.folder().exists());
    }

    #[test]
    fn a_switched_generation_is_current_and_the_retired_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let first = Generation::current(dir.path()).unwrap();
        let second = first.next().unwrap();
        fs::write(second.folder().join("a"), "2").unwrap();
        second.switch().unwrap();
        first.retire();
        assert!(first.folder().exists(), "still in use");
        let folder = first.folder();
        drop(first);
        assert!(!folder.exists());

        let current = Generation::current(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(current.folder().join("a")).unwrap(), "2");
        assert_eq!(current.number, 1);
    }

    #[test]
    fn a_retired_generation_left_by_a_crash_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let first = Generation::current(dir.path()).unwrap();
        first.next().unwrap().switch().unwrap();
        let _ = Generation::current(dir.path()).unwrap();
        assert!(!first.folder().exists());
    }
}
