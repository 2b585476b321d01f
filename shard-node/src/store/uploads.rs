//! Looks for uploads that nobody goes on with.

use common::ids::Index;

use super::keys::{self, Key};
use super::record::{self, UploadRecord};
use super::{damaged, decoded, key_of, scan};
use crate::storage::{Error, Read};

/// Whether there are open uploads that got nothing since the log entry `before`.
pub fn has_old(reader: &dyn Read, before: Index) -> Result<bool, Error> {
    for pair in scan(reader, &keys::all_uploads()) {
        let (key, value) = pair?;
        let Key::Upload(..) = key_of(&key)? else { return Err(damaged(&key, "it lies among the uploads")) };
        let upload: Option<UploadRecord> = decoded(&key, Some(value), |value| record::decode(value))?;
        if upload.is_some_and(|upload| upload.touched < before) {
            return Ok(true);
        }
    }
    Ok(false)
}
