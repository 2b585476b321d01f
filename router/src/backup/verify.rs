//! Reads a whole backup and checks everything: checksums, order, counts, the manifest.

use std::collections::BTreeMap;
use std::path::Path;

use common::backup::tally::Tally;
use common::ids::DbUid;

use super::error::{Damage, Error};
use super::folder;
use super::manifest::{self, Manifest};
use super::progress::Progress;
use super::stored::Stored;

/// The manifest of the backup in `from`, if all of it is as it was written; otherwise each damaged file with the
/// first place that is not. Blocks on the disk.
pub(super) fn verify(from: &Path, progress: &Progress) -> Result<Manifest, Error> {
    let manifest = folder::open(from)?;
    progress.begin("verifying", manifest.shards.iter().map(|part| part.bytes).sum());
    let mut sums: BTreeMap<DbUid, Tally> = BTreeMap::new();
    let mut damages = Vec::new();
    for part in &manifest.shards {
        match read(from, &manifest, part, &mut sums, progress) {
            Ok(()) => {}
            Err(Error::Damaged(more)) => damages.extend(more),
            Err(error) => return Err(error),
        }
    }
    if damages.is_empty() {
        damages = manifest.databases.iter().filter_map(|saved| differs(saved, &sums)).collect();
    }
    progress.end();
    if damages.is_empty() { Ok(manifest) } else { Err(Error::Damaged(damages)) }
}

fn read(
    from: &Path,
    manifest: &Manifest,
    part: &manifest::Part,
    sums: &mut BTreeMap<DbUid, Tally>,
    progress: &Progress,
) -> Result<(), Error> {
    let mut stored = Stored::open(from, manifest, part)?;
    let mut before = 0;
    while stored.next()?.is_some() {
        progress.add(stored.bytes() - before);
        before = stored.bytes();
    }
    progress.add(stored.bytes() - before);
    for saved in &manifest.databases {
        if let Some(tally) = stored.tallies().of(saved.database.uid) {
            sums.entry(saved.database.uid).or_default().add(tally);
        }
    }
    Ok(())
}

fn differs(saved: &manifest::Saved, sums: &BTreeMap<DbUid, Tally>) -> Option<Damage> {
    let here = sums.get(&saved.database.uid).copied().unwrap_or_default();
    (here != saved.tally).then(|| Damage {
        file: manifest::FILE.to_owned(),
        offset: 0,
        reason: format!("database {} should be {:?}, and {here:?} is here", saved.database.name, saved.tally),
    })
}
