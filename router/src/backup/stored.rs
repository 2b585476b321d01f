//! Reads a shard's file back: record by record, with everything checked that can be.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use common::backup::reader::{Piece, Reader};
use common::backup::record::Record;
use common::backup::tally::Tallies;
use common::backup::{End, FORMAT, Header};
use common::ids::ClusterId;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::error::Error;
use super::folder::damage;
use super::manifest::{Manifest, Part, hex};

/// Read at a time.
const READ_BYTES: usize = 64 << 10;

/// One shard's file.
pub(super) struct Stored {
    path: PathBuf,
    part: Part,
    backup: Uuid,
    cluster: ClusterId,
    file: File,
    reader: Reader,
    digest: Sha256,
    bytes: u64,
    buffer: Vec<u8>,
    end: Option<End>,
}

impl Stored {
    /// Opens the file of `part`, which `manifest` names, in `folder`.
    pub(super) fn open(folder: &Path, manifest: &Manifest, part: &Part) -> Result<Self, Error> {
        let path = folder.join(&part.file);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(damage(&part.file, 0, "it is missing"));
            }
            opened => opened.map_err(Error::file(&path))?,
        };
        Ok(Self {
            path,
            part: part.clone(),
            backup: manifest.backup,
            cluster: manifest.cluster_id,
            file,
            reader: Reader::default(),
            digest: Sha256::new(),
            bytes: 0,
            buffer: vec![0; READ_BYTES],
            end: None,
        })
    }

    /// The next records; `None` when all were read and the file is as it was written.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Record>>, Error> {
        loop {
            let piece = self.reader.read();
            match piece.map_err(|damaged| damage(&self.part.file, damaged.offset, damaged.reason))? {
                Some(Piece::Header(header)) => self.check(&header)?,
                Some(Piece::Records(records)) => return Ok(Some(records)),
                Some(Piece::End(end)) => self.end = Some(end),
                None => {
                    let read = self.file.read(&mut self.buffer).map_err(Error::file(&self.path))?;
                    if read == 0 {
                        return self.finish().map(|()| None);
                    }
                    self.digest.update(&self.buffer[..read]);
                    self.bytes += read as u64;
                    self.reader.push(&self.buffer[..read]);
                }
            }
        }
    }

    /// What was read so far.
    pub(super) fn tallies(&self) -> &Tallies {
        self.reader.tallies()
    }

    /// Bytes of the file read so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn check(&self, header: &Header) -> Result<(), Error> {
        let part = &self.part;
        let expected = Header {
            format: FORMAT,
            backup: self.backup,
            cluster: self.cluster,
            shard: part.shard,
            term: part.term,
            index: part.index,
        };
        match *header == expected {
            true => Ok(()),
            false => Err(damage(&part.file, 0, "it is not the file that the manifest names (another backup or shard)")),
        }
    }

    fn finish(&self) -> Result<(), Error> {
        let file = &self.part.file;
        self.reader.finish().map_err(|damaged| damage(file, damaged.offset, damaged.reason))?;
        if self.bytes != self.part.bytes {
            let reason = format!("it has {} bytes, the manifest says {}", self.bytes, self.part.bytes);
            return Err(damage(file, self.bytes.min(self.part.bytes), reason));
        }
        if hex(&self.digest.clone().finalize()) != self.part.sha256 {
            return Err(damage(file, 0, "its digest is not that in the manifest"));
        }
        match self.tallies().documents() == self.part.documents {
            true => Ok(()),
            false => Err(damage(file, 0, "it has not as many documents as the manifest says")),
        }
    }
}
