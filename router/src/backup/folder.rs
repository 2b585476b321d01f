//! The folder of a backup: files appear in it whole and synced, or under a name that says they are not.
//!
//! Only its owner may read it: it holds every document, and the users' password hashes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::{Damage, Error};
use super::manifest::{self, Manifest, hex};

/// A folder that a backup is written to.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes the folder, or takes an empty one.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file(path))?;
        let mut entries = fs::read_dir(path).map_err(Error::file(path))?;
        if entries.next().is_some() {
            let shown = path.display();
            let state = match path.join(manifest::FILE).exists() {
                true => "it holds a backup".to_owned(),
                false => "if it holds an interrupted backup, remove that first".to_owned(),
            };
            return Err(Error::Usage(format!("{shown} is not empty; a backup needs a folder of its own ({state})")));
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Begins a file.
    pub(super) fn begin(&self, name: &str) -> Result<Part, Error> {
        let path = self.path.join(format!("{name}.part"));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(Error::file(&path))?;
        Ok(Part { path, whole: self.path.join(name), file, digest: Sha256::new(), bytes: 0 })
    }

    /// Writes the manifest; with it the backup is whole.
    pub(super) fn seal(&self, manifest: &Manifest) -> Result<(), Error> {
        let mut part = self.begin(manifest::FILE)?;
        part.write(manifest.to_text().as_bytes())?;
        part.finish().map(drop)
    }
}

/// A file that is being written.
pub(super) struct Part {
    path: PathBuf,
    whole: PathBuf,
    file: File,
    digest: Sha256,
    bytes: u64,
}

impl Part {
    /// Writes more.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(Error::file(&self.path))
    }

    /// Syncs the file and gives it its name; its size and digest.
    pub(super) fn finish(self) -> Result<(u64, String), Error> {
        // The file before its name, and the name before the next file's: the manifest must never be there without
        // all that it names.
        let switch = || {
            self.file.sync_all()?;
            fs::rename(&self.path, &self.whole)?;
            File::open(self.whole.parent().expect("it is in the folder"))?.sync_all()
        };
        switch().map_err(Error::file(&self.whole))?;
        Ok((self.bytes, hex(&self.digest.finalize())))
    }
}

/// Reads the manifest of the backup in `path`.
pub(super) fn open(path: &Path) -> Result<Manifest, Error> {
    let file = path.join(manifest::FILE);
    match fs::read(&file) {
        Ok(text) => Ok(Manifest::parse(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_dir() => {
            Err(Error::Incomplete(path.to_owned()))
        }
        Err(source) => Err(Error::File { path: file, source }),
    }
}

/// Damage of a file at a place.
pub(super) fn damage(file: &str, offset: u64, reason: impl ToString) -> Error {
    Damage { file: file.to_owned(), offset, reason: reason.to_string() }.into()
}
