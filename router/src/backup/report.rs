//! What was done, for people and for tools.

use std::fmt;
use std::path::Path;

use common::backup::tally::Tally;
use common::ids::DbName;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::error::Error;
use super::manifest::Manifest;

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    ok: bool,
    command: &'static str,
    folder: String,
    backup: Uuid,
    cluster: String,
    /// Files.
    shards: usize,
    /// Bytes of all files.
    file_bytes: u64,
    databases: Vec<Row>,
    left_out: Vec<DbName>,
    total: Tally,
}

#[derive(Debug, Clone, Serialize)]
struct Row {
    name: DbName,
    #[serde(flatten)]
    tally: Tally,
}

impl Report {
    /// About a backup in `folder`; about these of its databases `only`.
    pub(super) fn new(command: &'static str, folder: &Path, manifest: &Manifest, only: Option<&[DbName]>) -> Self {
        let wanted = |name: &DbName| only.is_none_or(|only| only.contains(name));
        let saved = manifest.databases.iter().filter(|saved| wanted(&saved.database.name));
        let databases: Vec<Row> =
            saved.map(|saved| Row { name: saved.database.name.clone(), tally: saved.tally }).collect();
        let mut total = Tally::default();
        databases.iter().for_each(|row| total.add(&row.tally));
        Self {
            ok: true,
            command,
            folder: folder.display().to_string(),
            backup: manifest.backup,
            cluster: manifest.cluster.clone(),
            shards: manifest.shards.len(),
            file_bytes: manifest.shards.iter().map(|part| part.bytes).sum(),
            databases,
            left_out: manifest.left_out.clone(),
            total,
        }
    }

    /// The databases were restored under these names.
    pub(super) fn restored(mut self, names: Vec<DbName>) -> Self {
        if let ([row], [name]) = (&mut self.databases[..], &names[..]) {
            row.name = name.clone();
        }
        self
    }

    /// As one JSON object.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report always serialises")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.databases.iter().map(|row| row.name.as_str().len()).max().unwrap_or(0).max(8);
        writeln!(f, "{:width$} {:>12} {:>10} {:>8} {:>14}", "database", "documents", "deleted", "local", "bytes")?;
        for Row { name, tally } in &self.databases {
            let Tally { docs, deleted, locals, bytes, .. } = tally;
            writeln!(f, "{:width$} {docs:>12} {deleted:>10} {locals:>8} {bytes:>14}", name.as_str())?;
        }
        for name in &self.left_out {
            writeln!(f, "{name} was deleted while the backup was taken, and is not in it")?;
        }
        let Self { folder, backup, cluster, shards, file_bytes, .. } = self;
        match self.command {
            "backup" => write!(f, "backup {backup} of {cluster}: {shards} shards, {file_bytes} bytes in {folder}"),
            "restore" => write!(f, "restored from {folder}; read back and compared: equal"),
            _ => write!(f, "backup {backup} of {cluster} in {folder}: {shards} shards, {file_bytes} bytes, all sound"),
        }
    }
}

/// What went wrong, as one JSON object.
pub(super) fn failure(error: &Error) -> String {
    let (name, damages) = match error {
        Error::Usage(_) => ("usage", None),
        Error::Unreachable { .. } => ("unreachable", None),
        Error::Answered { .. } => ("refused", None),
        Error::File { .. } => ("file", None),
        Error::Incomplete(_) => ("incomplete", None),
        Error::Damaged(damages) => ("damaged", Some(damages)),
        Error::Different { .. } => ("different", None),
    };
    json!({ "ok": false, "error": name, "reason": error.to_string(), "damages": damages }).to_string()
}
