//! Checks the replicas in a folder: identity, log, engine, and whether they fit together.

use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use common::config::EngineKind;
use serde::Serialize;

use super::attachments::Attachments;
use super::{Error, is_aside, owner, replicas, whole};
use crate::raft::committed::{self, Committed};
use crate::raft::snapshot;
use crate::replica::identity::{DAMAGED, FILE, Identity};
use crate::storage::{self, Engine, boot};
use crate::store::keys::Key;
use crate::store::record::DocRecord;
use crate::wal::{self, Inspection, LogId, Record, Summary};

/// Block cache of an engine that is read once from end to end.
const CACHE_BYTES: u64 = 32 << 20;
/// Broken records of one engine that are named one by one. Where there are more, they are counted.
const NAMED_MAX: u64 = 10;

/// What was found in a folder.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Each replica in it.
    pub replicas: Vec<Checked>,
    /// Folders that a node has moved aside as damaged; they are out of use.
    pub moved_aside: Vec<PathBuf>,
}

impl Report {
    /// Whether no replica is damaged.
    pub fn is_sound(&self) -> bool {
        self.replicas.iter().all(|replica| !replica.findings.iter().any(|finding| finding.damage))
    }
}

/// One replica.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Its folder.
    pub folder: PathBuf,
    /// Its log; none if it could not be read to its end.
    pub log: Option<LogFacts>,
    /// Its engine; none if there is none, or it does not open.
    pub engine: Option<EngineFacts>,
    /// What is wrong, and what is worth knowing.
    pub findings: Vec<Finding>,
}

/// What a log holds.
#[derive(Debug, Serialize)]
pub struct LogFacts {
    /// Files.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Index of the first entry.
    pub first: Option<u64>,
    /// Index of the last entry.
    pub last: Option<u64>,
    /// Its term.
    pub last_term: Option<u64>,
}

/// What an engine holds.
#[derive(Debug, Serialize)]
pub struct EngineFacts {
    /// `fjall` or `sled`.
    pub kind: &'static str,
    /// Index of the last entry folded in.
    pub applied: Option<u64>,
    /// Keys read.
    pub keys: u64,
    /// Bytes of keys and values read.
    pub bytes: u64,
}

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether the replica cannot be trusted with it; anything else is only worth knowing.
    pub damage: bool,
    /// The file, or the folder where the file is the engine's own business.
    pub file: PathBuf,
    /// Where in the file.
    pub byte: Option<u64>,
    /// What does not hold.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.damage { "DAMAGED" } else { "note" };
        let byte = self.byte.map_or_else(String::new, |byte| format!(" byte {byte}"));
        write!(f, "{kind}: {}{byte}: {}", self.file.display(), self.what)
    }
}

impl Finding {
    fn damage(file: &Path, byte: Option<u64>, what: impl Into<String>) -> Self {
        Self { damage: true, file: file.to_owned(), byte, what: what.into() }
    }

    fn note(file: &Path, byte: Option<u64>, what: impl Into<String>) -> Self {
        Self { damage: false, ..Self::damage(file, byte, what) }
    }
}

/// Checks every replica at or under `data`.
pub fn check(data: &Path) -> Result<Report, Error> {
    let data = &whole(data)?;
    let named = data.file_name().and_then(|name| name.to_str()).is_some_and(is_aside);
    let folders = if named { vec![data.to_owned()] } else { replicas(data)? };
    let mut moved_aside = Vec::new();
    for root in folders.iter().filter_map(|folder| folder.parent()) {
        for folder in super::folders(root)? {
            let aside = folder.file_name().and_then(|name| name.to_str()).is_some_and(is_aside);
            if aside && !named && !moved_aside.contains(&folder) {
                moved_aside.push(folder);
            }
        }
    }
    let replicas = folders.into_iter().map(check_replica).collect::<Result<_, _>>()?;
    Ok(Report { replicas, moved_aside })
}

fn check_replica(folder: PathBuf) -> Result<Checked, Error> {
    let mut checked = Checked { folder, log: None, engine: None, findings: Vec::new() };
    let Some(identity) = identity(&checked.folder, &mut checked.findings)? else { return Ok(checked) };
    if let Ok(reason) = fs::read_to_string(checked.folder.join(DAMAGED)) {
        let what = format!("its node marked it as damaged: {}; its next start rebuilds it", reason.trim());
        checked.findings.push(Finding::damage(&checked.folder.join(DAMAGED), None, what));
    }
    let dir = checked.folder.join("wal");
    if !dir.is_dir() {
        checked.findings.push(Finding::damage(&dir, None, "the log is missing"));
        return Ok(checked);
    }
    // Held to the end, so that nobody opens the engine meanwhile.
    let locked = Inspection::open(&dir, &owner(&identity)).map_err(|error| unseen(&dir, &error))?;
    let log = log(&dir, &locked, &mut checked.findings)?;
    let engine = engine(&checked.folder, &mut checked.findings)?;
    if let Some(log) = &log {
        fits(&checked.folder, log, &engine, &mut checked.findings);
    }
    checked.log = log.map(|log| LogFacts {
        segments: log.segments,
        bytes: log.bytes,
        first: log.first,
        last: log.last.map(|last| last.index),
        last_term: log.last.map(|last| last.term),
    });
    checked.engine = engine.facts;
    Ok(checked)
}

/// An error of looking, not of what was looked at.
fn unseen(path: &Path, error: &wal::Error) -> Error {
    match error {
        wal::Error::Locked { .. } => Error::InUse(path.parent().unwrap_or(path).to_owned()),
        error => Error::Io { path: path.to_owned(), reason: error.to_string() },
    }
}

fn identity(folder: &Path, findings: &mut Vec<Finding>) -> Result<Option<Identity>, Error> {
    let file = folder.join(FILE);
    let bytes = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.push(Finding::damage(&file, None, "the identity is missing: the files are nobody's"));
            return Ok(None);
        }
        Err(error) => return Err(Error::io(&file, &error)),
    };
    let identity: Identity = match serde_json::from_slice(&bytes) {
        Ok(identity) => identity,
        Err(error) => {
            findings.push(Finding::damage(&file, None, format!("the identity cannot be read: {error}")));
            return Ok(None);
        }
    };
    let name = |n: usize| folder.ancestors().nth(n).and_then(|path| path.file_name()?.to_str()).unwrap_or_default();
    let (node, shard) = (name(1), name(0));
    let of_shard = shard == format!("shard-{}", identity.shard) || is_aside(shard);
    if node != identity.node.as_str() || !of_shard {
        let (is, shard) = (&identity.node, identity.shard);
        let what = format!("it is the folder of node {is}, shard {shard}, and lies where another one's should");
        findings.push(Finding::damage(&file, None, what));
    }
    Ok(Some(identity))
}

/// Reads the log as a start does, then every record of it, also behind damage.
fn log(dir: &Path, locked: &Inspection, findings: &mut Vec<Finding>) -> Result<Option<Summary>, Error> {
    let mut found = Vec::new();
    let summary = match locked.summary() {
        Ok(summary) => Some(summary),
        Err(error) => {
            found.push(finding(dir, &error)?);
            None
        }
    };
    if let Some((file, byte)) = summary.as_ref().and_then(|summary| summary.torn.as_ref()) {
        let what = "the last write was cut short and was never acknowledged; the next start drops it";
        found.push(Finding::note(file, Some(*byte), what));
    }
    let each = |at: wal::Dumped<'_>| {
        let Record::Entry { id, payload } = at.record else { return };
        let entry = wal::Entry { id: *id, payload: Bytes::copy_from_slice(payload) };
        if let Err(reason) = Committed::of(entry) {
            let what = format!("entry {} cannot be read: {reason}", id.index);
            found.push(Finding::damage(at.file, Some(at.offset), what));
        }
    };
    let damage = wal::scan(dir, each).map_err(|error| unseen(dir, &error))?;
    for error in &damage {
        let one = finding(dir, error)?;
        // Both ways to read come upon the same place.
        if !found.iter().any(|known| (&known.file, known.byte) == (&one.file, one.byte)) {
            found.push(one);
        }
    }
    findings.append(&mut found);
    Ok(summary)
}

fn finding(dir: &Path, error: &wal::Error) -> Result<Finding, Error> {
    Ok(match error {
        wal::Error::Damaged { file, offset, reason } => Finding::damage(file, Some(*offset), reason),
        wal::Error::Foreign { .. } => Finding::damage(dir, None, error.to_string()),
        wal::Error::Format { file, .. } => Finding::damage(file, None, error.to_string()),
        error => return Err(unseen(dir, error)),
    })
}

/// How far a replica is without its log.
#[derive(Default)]
struct Folded {
    facts: Option<EngineFacts>,
    applied: Option<LogId>,
    /// What the engine would be rebuilt from.
    own: Option<LogId>,
}

fn engine(folder: &Path, findings: &mut Vec<Finding>) -> Result<Folded, Error> {
    let mut folded = Folded::default();
    match snapshot::check_own(folder) {
        Ok(own) => folded.own = own.and_then(|(_, upto)| upto),
        Err(error) => findings.push(of_storage(error)?),
    }
    let dir = folder.join("engine");
    let unseen = |error: storage::Error| Error::Io { path: dir.clone(), reason: error.to_string() };
    let kind = if dir.is_dir() { storage::kind_of(&dir).map_err(unseen)? } else { None };
    let Some(kind) = kind else {
        findings.push(Finding::note(&dir, None, "there is no engine; the next start makes one"));
        return Ok(folded);
    };
    let boot_id = boot::boot_id().map_err(|error| Error::io(&dir, &error))?;
    if boot::would_wipe(&dir, storage::crash_safe(kind), &boot_id).map_err(unseen)? {
        let what = "the host went down under this engine; the next start rebuilds it, so it is not looked at";
        findings.push(Finding::note(&dir, None, what));
        return Ok(folded);
    }
    match storage::open(kind, &dir, CACHE_BYTES) {
        Ok(engine) => read(engine.as_ref(), kind, &dir, &mut folded, findings)?,
        Err(error) => findings.push(of_storage(error)?),
    }
    Ok(folded)
}

fn of_storage(error: storage::Error) -> Result<Finding, Error> {
    match error {
        storage::Error::Damaged { path, reason } => Ok(Finding::damage(&path, None, reason)),
        storage::Error::Io { path, reason } => Err(Error::Io { path, reason }),
        storage::Error::DiskFull { path } => Err(Error::Io { path, reason: "no room on the disk".to_owned() }),
    }
}

/// Reads everything, which has the engine check its checksums.
fn read(
    engine: &dyn Engine,
    kind: EngineKind,
    dir: &Path,
    folded: &mut Folded,
    findings: &mut Vec<Finding>,
) -> Result<(), Error> {
    match committed::applied(engine) {
        Ok(applied) => folded.applied = applied,
        Err(storage::Error::Damaged { reason, .. }) => findings.push(Finding::damage(dir, None, reason)),
        Err(error) => findings.push(of_storage(error)?),
    }
    let (mut keys, mut bytes, mut broken) = (0, 0, 0);
    let mut attachments = Attachments::default();
    for pair in engine.scan(Bound::Unbounded, Bound::Unbounded, false) {
        let (key, value) = match pair {
            Ok(pair) => pair,
            Err(error) => {
                findings.push(of_storage(error)?);
                break;
            }
        };
        keys += 1;
        bytes += (key.len() + value.len()) as u64;
        for what in unreadable(&key, &value, &mut attachments) {
            broken += 1;
            if broken <= NAMED_MAX {
                findings.push(Finding::damage(dir, None, what));
            }
        }
    }
    for what in attachments.finish() {
        broken += 1;
        if broken <= NAMED_MAX {
            findings.push(Finding::damage(dir, None, what));
        }
    }
    if broken > NAMED_MAX {
        findings.push(Finding::damage(dir, None, format!("{broken} records are damaged in all")));
    }
    let name = if kind == EngineKind::Sled { "sled" } else { "fjall" };
    let applied = folded.applied.map(|id| id.index);
    folded.facts = Some(EngineFacts { kind: name, applied, keys, bytes });
    Ok(())
}

fn unreadable(key: &Bytes, value: &Bytes, attachments: &mut Attachments) -> Vec<String> {
    let Ok(key) = Key::decode(key) else { return vec![format!("a key that is none of ours: {key:?}")] };
    let document = match &key {
        Key::Doc(db, id) => {
            let sound = DocRecord::decode(value).is_ok_and(|record| record.tree().is_ok());
            (!sound).then(|| format!("the record of document {id} in database {db} cannot be read"))
        }
        _ => None,
    };
    document.into_iter().chain(attachments.push(&key, value)).collect()
}

/// Whether the log goes on where the engine, or what it would be rebuilt from, ends.
fn fits(folder: &Path, log: &Summary, engine: &Folded, findings: &mut Vec<Finding>) {
    let applied = engine.applied.or(engine.own);
    let at = applied.map_or(0, |id| id.index);
    if let Some(purged) = log.purged.filter(|purged| at < purged.index) {
        let what = format!("the log begins behind entry {}, and the engine ends at entry {at}", purged.index);
        findings.push(Finding::damage(folder, None, what));
    }
    if let Some((applied, entry)) = applied.and_then(|applied| Some((applied, log.id_at(applied.index)?)))
        && applied != entry
    {
        let (index, is, was) = (applied.index, entry.term, applied.term);
        let what = format!("entry {index} of the log is of term {is}, and the engine has one of term {was}");
        findings.push(Finding::damage(folder, None, what));
    }
    if log.last.is_none_or(|last| at > last.index) && at > 0 {
        let last = log.last.map_or(0, |last| last.index);
        let what = format!("the engine is at entry {at}, behind the log's last entry {last}: a snapshot was installed");
        findings.push(Finding::note(folder, None, what));
    }
}

#[cfg(test)]
mod tests {
    use common::ids::{ClusterId, NodeId, ShardId};
    use openraft::EntryPayload;

    use super::*;
    use crate::raft::types::payload_bytes;
    use crate::replica::identity::Home;
    use crate::wal::{Entry, Options, Wal};

    fn id(index: u64) -> LogId {
        LogId { term: 1, leader: 7, index }
    }

    /// The folder of shard 2 on n1, with a log of five entries and an engine without any.
    fn replica(data: &Path, kind: EngineKind) -> (Home, Wal) {
        let home = Home::new(data, ClusterId::of("c"), &NodeId::parse("n1").expect("valid"), ShardId(2));
        let identity = home.open().expect("made");
        let options = Options { segment_bytes: 64 << 10, cache_bytes: 0 };
        let wal = Wal::open(&home.dir().join("wal"), &owner(&identity), options).expect("opens");
        let payload = payload_bytes(&EntryPayload::Blank);
        let entries = (0..5).map(|index| Entry { id: id(index), payload: payload.clone() }).collect();
        wal.append(entries, |outcome| outcome.expect("appended"));
        let engine = home.dir().join("engine");
        let boot_id = boot::boot_id().expect("on Linux");
        let (marker, _) = boot::start(&engine, storage::crash_safe(kind), &boot_id).expect("marked");
        storage::open(kind, &engine, 1 << 20).expect("opens").flush().expect("flushed");
        marker.clean().expect("marked");
        (home, wal)
    }

    fn found(data: &Path) -> Vec<(bool, String)> {
        let report = check(data).expect("looked at");
        let all = report.replicas.into_iter().flat_map(|replica| replica.findings);
        all.map(|finding| (finding.damage, finding.what)).collect()
    }

    #[test]
    fn a_sound_replica_of_either_engine_says_what_it_holds() {
        for (kind, name) in [(EngineKind::Fjall, "fjall"), (EngineKind::Sled, "sled")] {
            let data = tempfile::tempdir().expect("a temporary folder");
            let (_, wal) = replica(data.path(), kind);
            assert!(matches!(check(data.path()), Err(Error::InUse(_))), "its log is open");
            wal.close().expect("closes");
            let report = check(data.path()).expect("looked at");
            assert!(report.is_sound(), "{report:?}");
            let [checked] = &report.replicas[..] else { panic!("{report:?}") };
            let log = checked.log.as_ref().expect("a log");
            assert_eq!((log.first, log.last, log.last_term), (Some(0), Some(4), Some(1)));
            assert_eq!(checked.engine.as_ref().expect("an engine").kind, name);
        }
    }

    #[test]
    fn a_log_that_begins_behind_the_engine_is_damage() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let (_, wal) = replica(data.path(), EngineKind::Fjall);
        wal.purge(id(3), |outcome| outcome.expect("purged"));
        wal.close().expect("closes");
        let what = "the log begins behind entry 3, and the engine ends at entry 0";
        assert_eq!(found(data.path()), [(true, what.to_owned())]);
    }

    #[test]
    fn a_folder_of_another_node_and_one_without_a_log_are_named() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let (home, wal) = replica(data.path(), EngineKind::Fjall);
        wal.close().expect("closes");
        drop(wal);
        fs::rename(data.path().join("n1"), data.path().join("n2")).expect("renamed");
        let what = "it is the folder of node n1, shard 2, and lies where another one's should";
        assert_eq!(found(data.path()), [(true, what.to_owned())]);
        fs::rename(data.path().join("n2"), data.path().join("n1")).expect("renamed");
        fs::remove_dir_all(home.dir().join("wal")).expect("removed");
        assert_eq!(found(data.path()), [(true, "the log is missing".to_owned())]);
        home.mark_damaged("bit rot").expect("marked");
        home.open().expect("made anew");
        let report = check(data.path()).expect("looked at");
        assert_eq!(report.moved_aside.len(), 1, "{report:?}");
        assert!(matches!(check(&data.path().join("n1/nothing")), Err(Error::Io { .. })));
    }
}
