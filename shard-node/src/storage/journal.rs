//! Knows how far fjall's journal is surely on disk, and cuts it there when fjall cannot read what follows.
//!
//! fjall tells an end that was cut off from damage by what comes last in the file. After a power cut the pages behind
//! the last fsync are there in any selection, so a batch without an fsync may be whole but for a page of zeros in its
//! middle, and fjall then refuses the whole database. Nothing behind the last [`Engine::flush`](super::Engine::flush) is
//! promised, so cutting it off loses nothing; damage before it still fails the open.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::files;

/// Holds the name of a journal file and its synced length in bytes.
const SYNCED: &str = "journal.synced";
/// Bytes looked at in one step.
const STEP_BYTES: u64 = 64 << 10;

/// A journal file up to a length in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Position {
    journal: u64,
    bytes: u64,
}

impl Position {
    /// How far the newest journal in `folder` is filled. Nothing when there is none.
    pub(super) fn filled(folder: &Path) -> io::Result<Option<Self>> {
        let Some((journal, path)) = newest(folder)? else { return Ok(None) };
        Ok(Some(Self { journal, bytes: filled_bytes(&File::open(path)?)? }))
    }

    /// Remembers, durably, that the journals are on disk up to here. To be called after the fsync, with a position
    /// taken before it.
    pub(super) fn save(&self, folder: &Path) -> io::Result<()> {
        files::replace(folder, SYNCED, format!("{} {}\n", self.journal, self.bytes).as_bytes())
    }

    fn saved(folder: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read_to_string(folder.join(SYNCED)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut numbers = text.split_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(journal)), Some(Ok(bytes))) => Ok(Some(Self { journal, bytes })),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("bad `{SYNCED}`"))),
        }
    }
}

/// Cuts the newest journal in `folder` behind what was promised to be on disk. Older journals were synced as a whole
/// when the next one began. Returns whether that removed anything.
pub(super) fn cut(folder: &Path) -> io::Result<bool> {
    let Some((journal, path)) = newest(folder)? else { return Ok(false) };
    // Another journal in the note: since this one began, nothing was flushed.
    let keep = Position::saved(folder)?.filter(|saved| saved.journal == journal).map_or(0, |saved| saved.bytes);
    let file = File::options().write(true).open(path)?;
    if file.metadata()?.len() <= keep {
        return Ok(false);
    }
    file.set_len(keep)?;
    file.sync_all()?;
    Ok(true)
}

/// The journal that is written to: its number and its file.
pub(super) fn newest(folder: &Path) -> io::Result<Option<(u64, PathBuf)>> {
    let mut newest = None;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(number) = name.strip_suffix(".jnl").and_then(|number| number.parse::<u64>().ok()) {
            newest = newest.max(Some((number, path)));
        }
    }
    Ok(newest)
}

/// Position behind the last byte that is not zero; every batch ends with one. The rest is room allocated ahead.
fn filled_bytes(mut file: &File) -> io::Result<u64> {
    let mut end = end_of_data(file)?;
    while end > 0 {
        let start = end.saturating_sub(STEP_BYTES);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut bytes)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Position behind the last extent with data; the length on file systems that do not know.
fn end_of_data(file: &File) -> io::Result<u64> {
    use rustix::fs::{SeekFrom, seek};
    let mut end = 0;
    loop {
        match seek(file, SeekFrom::Data(end)) {
            Ok(data) => end = seek(file, SeekFrom::Hole(data))?,
            // No data behind `end`.
            Err(rustix::io::Errno::NXIO) => return Ok(end),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_newest_journal_is_filled_up_to_its_last_byte() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Position::filled(dir.path()).unwrap(), None);
        fs::write(dir.path().join("9.jnl"), "older").unwrap();
        let mut file = File::create(dir.path().join("10.jnl")).unwrap();
        file.set_len(64 << 20).unwrap();
        assert_eq!(Position::filled(dir.path()).unwrap(), Some(Position { journal: 10, bytes: 0 }));
        file.write_all(&[vec![0; 200_000], vec![7; 3]].concat()).unwrap();
        assert_eq!(Position::filled(dir.path()).unwrap(), Some(Position { journal: 10, bytes: 200_003 }));
    }

    #[test]
    fn only_what_was_not_promised_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("2.jnl");
        fs::write(&path, "promised, not promised").unwrap();
        Position { journal: 2, bytes: 8 }.save(dir.path()).unwrap();
        assert!(cut(dir.path()).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"promised");
        assert!(!cut(dir.path()).unwrap());

        fs::write(dir.path().join("3.jnl"), "began after the flush").unwrap();
        assert!(cut(dir.path()).unwrap());
        assert_eq!(fs::read(dir.path().join("3.jnl")).unwrap(), b"");
        assert_eq!(fs::read(&path).unwrap(), b"promised");
    }
}
