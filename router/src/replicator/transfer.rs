//! Brings one batch of changes over: asks the target what it lacks, reads that from the source, writes it.
//!
//! Whoever calls goes on behind a batch only when this has said that it is done. What is too large to go together
//! goes in parts; what the target refuses by itself is counted, logged and left behind, as CouchDB does.

use std::collections::VecDeque;

use super::error::Error;
use super::peer::{Batch, Doc, Peer, TooLarge, Written};
use super::stats::Stats;

/// Revisions asked for at once. More would hold more of them in memory.
const READ_MAX: usize = 100;
/// Bytes of documents written at once: servers take a few megabytes in one request.
const WRITE_BYTES: usize = 2 << 20;

/// The two ends.
pub(super) struct Ends<'a> {
    pub(super) source: &'a Peer,
    pub(super) target: &'a Peer,
}

impl Ends<'_> {
    /// Brings over what the target lacks of a batch; what was done.
    pub(super) async fn transfer(&self, batch: &Batch) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        if batch.rows.is_empty() {
            return Ok(stats);
        }
        stats.revisions_checked = batch.rows.iter().map(|row| row.changes.len() as u64).sum();
        let missing = self.target.missing(&batch.rows).await?;
        let wanted: Vec<(String, String)> =
            missing.into_iter().flat_map(|(id, revs)| revs.into_iter().map(move |rev| (id.clone(), rev))).collect();
        stats.missing_revisions_found = wanted.len() as u64;
        let mut parts: VecDeque<Vec<(String, String)>> = wanted.chunks(READ_MAX).map(<[_]>::to_vec).collect();
        while let Some(mut part) = parts.pop_front() {
            stats.bulk_get_attempts += 1;
            stats.bulk_get_docs += part.len() as u64;
            match self.read(&part).await? {
                Ok(docs) => {
                    stats.docs_read += docs.len() as u64;
                    self.write(docs, &mut stats).await?;
                }
                Err(TooLarge) if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.push_front(rest);
                    parts.push_front(part);
                }
                Err(TooLarge) => {
                    stats.docs_read += 1;
                    self.send_on(&part[0].0, &part[0].1, &mut stats).await?;
                }
            }
        }
        Ok(stats)
    }

    async fn read(&self, wanted: &[(String, String)]) -> Result<Result<Vec<Doc>, TooLarge>, Error> {
        let fetched = match self.source.read_bulk(wanted).await? {
            Ok(fetched) => fetched,
            Err(TooLarge) => return Ok(Err(TooLarge)),
        };
        if fetched.in_bulk {
            return Ok(Ok(fetched.docs));
        }
        let mut docs = Vec::new();
        for group in wanted.chunk_by(|one, other| one.0 == other.0) {
            let revs: Vec<&str> = group.iter().map(|(_, rev)| rev.as_str()).collect();
            match self.source.read_one(&group[0].0, &revs).await? {
                Ok(found) => docs.extend(found),
                Err(TooLarge) => return Ok(Err(TooLarge)),
            }
        }
        Ok(Ok(docs))
    }

    /// Writes documents in groups. A group that is refused as a whole is tried in halves, down to the one that is to
    /// blame.
    async fn write(&self, docs: Vec<Doc>, stats: &mut Stats) -> Result<(), Error> {
        let mut groups: VecDeque<Vec<Doc>> = VecDeque::new();
        let mut bytes = WRITE_BYTES;
        for doc in docs {
            let size = doc.get().len();
            if bytes + size > WRITE_BYTES {
                groups.push_back(Vec::new());
                bytes = 0;
            }
            bytes += size;
            groups.back_mut().expect("one was just begun").push(doc);
        }
        while let Some(mut group) = groups.pop_front() {
            match self.target.write(&group).await? {
                Written::Taken(failures) => {
                    stats.docs_written += group.len().saturating_sub(failures.len()) as u64;
                    failures.iter().for_each(|(id, why)| refused(stats, self.target, id, why));
                }
                Written::Refused(_) if group.len() > 1 => {
                    let rest = group.split_off(group.len() / 2);
                    groups.push_front(rest);
                    groups.push_front(group);
                }
                Written::Refused(why) => match Named::of(&group[0]) {
                    // Attachments as text make a request larger than the target may take.
                    Some(Named { id, rev, attachments: Some(_) }) => self.send_on(&id, &rev, stats).await?,
                    Some(Named { id, .. }) => refused(stats, self.target, &id, &why),
                    None => refused(stats, self.target, "?", &why),
                },
            }
        }
        Ok(())
    }

    /// Has one revision go from end to end as it comes.
    async fn send_on(&self, id: &str, rev: &str, stats: &mut Stats) -> Result<(), Error> {
        match self.source.send_on(self.target, id, rev).await? {
            Ok(()) => stats.docs_written += 1,
            Err(why) => refused(stats, self.target, id, &why),
        }
        Ok(())
    }
}

fn refused(stats: &mut Stats, target: &Peer, id: &str, why: &str) {
    stats.doc_write_failures += 1;
    tracing::warn!(target = %target.shown, id, why, "the target refuses a document; the replication goes on without it");
}

/// What a document is called.
#[derive(serde::Deserialize)]
struct Named {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_rev")]
    rev: String,
    #[serde(default, rename = "_attachments")]
    attachments: Option<serde::de::IgnoredAny>,
}

impl Named {
    fn of(doc: &Doc) -> Option<Self> {
        serde_json::from_str(doc.get()).ok()
    }
}
