//! Documents of `_replicator`: what they want, and the notes that are made in them when nothing more is to be done.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use common::ids::{DbUid, DocId};
use common::refusal::Refusal;
use common::rev::Rev;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::ident::Id;
use super::mirror::Kept;
use super::{Inner, Notes, Refused, Replicator, Spec, Stats, Wanted, view};
use crate::auth::{Acting, User};

/// What documents want, read once for each of their revisions.
#[derive(Default)]
pub(super) struct Wishes {
    read: HashMap<String, (Rev, Result<Option<Wanted>, String>)>,
}

/// What all documents want together.
#[derive(Default)]
pub(super) struct Sorted {
    /// By the id of the replication.
    pub(super) wanted: BTreeMap<String, Wanted>,
    /// Documents that ask for nothing that can be done, and why.
    pub(super) failed: Vec<(String, String)>,
}

impl Wishes {
    /// Reads what is new among `docs`. `holders` says which document a replication that is under way belongs to.
    pub(super) fn sort(
        &mut self,
        inner: &Inner,
        cluster: Uuid,
        docs: &BTreeMap<String, Kept>,
        holder: impl Fn(&str) -> Option<String>,
    ) -> Sorted {
        self.read.retain(|id, (rev, _)| docs.get(id).is_some_and(|kept| &kept.rev == rev));
        let mut sorted = Sorted::default();
        for (doc, kept) in docs {
            let (_, wish) =
                self.read.entry(doc.clone()).or_insert_with(|| (kept.rev.clone(), wish(inner, cluster, doc, kept)));
            let wanted = match wish {
                Ok(None) => continue,
                Err(why) => {
                    sorted.failed.push((doc.clone(), why.clone()));
                    continue;
                }
                Ok(Some(wanted)) => wanted.clone(),
            };
            let id = wanted.id.to_string();
            let other = sorted.wanted.get(&id).and_then(|other| other.doc.as_ref()).map(|(other, _)| other.clone());
            let Some(other) = other else {
                sorted.wanted.insert(id, wanted);
                continue;
            };
            // Of two that want the same the one that has it keeps it, else the first by its id.
            let loser = if holder(&id).as_deref() == Some(doc) {
                sorted.wanted.insert(id.clone(), wanted);
                other.clone()
            } else {
                doc.clone()
            };
            let winner = if loser == other { doc } else { &other };
            sorted.failed.push((loser, format!("Replication `{id}` is specified by document `{winner}` already")));
        }
        sorted
    }
}

fn wish(inner: &Inner, cluster: Uuid, doc: &str, kept: &Kept) -> Result<Option<Wanted>, String> {
    let notes = Notes::of(&kept.json);
    if notes.is_over() {
        return Ok(None);
    }
    let spec = Spec::parse(&kept.json)?;
    inner.check_ends(&spec).map_err(|refused| refused.to_string())?;
    let acting = Acting::Owner(notes.owner.map(Into::into));
    let id = Id::of(cluster, &spec, &acting);
    let doc = Some((doc.to_owned(), kept.rev.to_string()));
    Ok(Some(Wanted { id, spec: Arc::new(spec), acting, doc }))
}

/// What a document is told at its end.
pub(super) enum Ending {
    Completed(Stats),
    Failed(String),
}

/// Notes the end of a replication in the document that wanted it, if that is still as it was.
pub(super) async fn note(inner: &Inner, doc: &str, rev: &Rev, ending: Ending) -> Result<bool, Refusal> {
    let Some(kept) = inner.docs.get(doc).filter(|kept| &kept.rev == rev) else { return Ok(false) };
    let Ok(id) = DocId::parse(doc) else { return Ok(false) };
    // Each member's text stays as it was written.
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&kept.json).unwrap_or_default();
    let (state, reason, stats) = match ending {
        Ending::Completed(stats) => ("completed", None, Some(stats)),
        Ending::Failed(reason) => ("failed", Some(reason), None),
    };
    for stale in ["_replication_state_reason", "_replication_stats", "_replication_id"] {
        members.remove(stale);
    }
    let mut put = |name: &str, value: &dyn erased::Json| members.insert(name.to_owned(), value.raw());
    put("_replication_state", &state);
    put("_replication_state_time", &view::time(inner.now_ms()));
    if let Some(reason) = reason {
        put("_replication_state_reason", &reason);
    }
    if let Some(stats) = stats {
        put("_replication_stats", &stats);
    }
    let written = inner.system(DbUid::REPLICATOR).put(&id, Some(kept.rev), &members).await?;
    if let Some(rev) = &written {
        let json = serde_json::to_vec(&members).expect("JSON texts become JSON");
        inner.docs.wrote(doc, rev.clone(), Some(json.into()));
    }
    Ok(written.is_some())
}

/// Values of different types in one list.
mod erased {
    use super::{RawValue, Serialize, to_raw_value};

    pub(super) trait Json {
        fn raw(&self) -> Box<RawValue>;
    }

    impl<T: Serialize> Json for T {
        fn raw(&self) -> Box<RawValue> {
            to_raw_value(self).expect("counts and texts become JSON")
        }
    }
}

/// A document of `_replicator` on its way in: as it is stored, or why it is refused. Whoever writes it owns it, and it
/// is run in the owner's name.
pub fn check(replicator: &Replicator, id: &DocId, json: &[u8], user: &User) -> Result<Vec<u8>, Refused> {
    if id.is_design() {
        return Ok(json.to_vec());
    }
    let notes = Notes::of(json);
    if !notes.is_over() {
        let spec = Spec::parse(json).map_err(Refused::NotAllowed)?;
        replicator.inner.check_ends(&spec)?;
    }
    if notes.owner.is_some() {
        return Ok(json.to_vec());
    }
    let mut members: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(json).map_err(|error| Refused::Bad(error.to_string()))?;
    members.insert("owner".to_owned(), erased::Json::raw(&user.name.as_deref()));
    Ok(serde_json::to_vec(&members).expect("JSON texts become JSON"))
}
