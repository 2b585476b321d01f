//! Random histories against a model that keeps everything in plain maps and counts from scratch.

use std::collections::BTreeMap;

use bytes::Bytes;
use common::attachment::{Attachment, CHUNK_BYTES, Sent, Source, chunks_of, digest_with};
use common::change::{Change, ChangesRequest};
use common::command::{Address, Atomic, Attached, Bearer, Command, Edit, EditKind, Op, Outcome, Purge, PutChunk};
use common::edit::{self, Asker, Decision};
use common::ids::{DbUid, DocId, Index, Seq};
use common::partition::Partition;
use common::query::{Answer, DbCounters, DocAnswer, Query, Range, RangeRow, RevBody, Revs};
use common::rev::Rev;
use common::rev_tree::RevTree;
use proptest::prelude::*;
use proptest::sample::Index as Pick;

use crate::storage::Error;
use crate::store::apply::{Apply, Folded, Known};
use crate::store::testing::{
    Map, address, attached, command, content, db, edit, graft, id, local, new_attachment, upload,
};
use crate::store::{changes, read, snapshot, sweep};

use blobs::{Blobs, UPLOADS, bytes_of};

mod blobs;

const DBS: u128 = 2;
const IDS: [&str; 5] = ["a", "b:1", "b:2", "_design/d", "z\u{0}z"];

/// One step, before it is known which revisions there are to pick from.
#[derive(Debug, Clone)]
enum Step {
    Edit {
        db: u128,
        id: usize,
        parent: Option<Pick>,
        kind: EditKind,
        revs_limit: u32,
    },
    Graft {
        db: u128,
        id: usize,
        onto: Option<Pick>,
        hashes: Vec<u8>,
        deleted: bool,
        revs_limit: u32,
    },
    Local {
        db: u128,
        id: usize,
        parent: Option<u64>,
        deleted: bool,
    },
    Repeat(Pick),
    Atomic {
        db: u128,
        edits: Vec<(usize, Option<Pick>, EditKind)>,
    },
    Compact {
        db: u128,
        id: usize,
    },
    Purge {
        db: u128,
        id: usize,
        revs: Vec<Pick>,
    },
    Drop {
        db: u128,
    },
    /// The write of the step before, if it is one, with attachments.
    Attach(Box<Step>, Vec<Att>),
    Chunk {
        db: u128,
        id: usize,
        upload: usize,
        number: u32,
    },
    Forget {
        ago: u64,
    },
}

/// An attachment of a write.
#[derive(Debug, Clone)]
enum Att {
    Stub { name: usize, revpos: Option<u64> },
    Carried { name: usize, bytes: usize },
    Uploaded { name: usize, upload: usize },
}

const NAMES: [&str; 3] = ["f", "g/h", "i"];

/// Few, so that purges are forgotten.
const PURGES_LIMIT: u32 = 3;

fn any_step() -> impl Strategy<Value = Step> {
    let at = || (0..DBS, 0..IDS.len());
    let limit = || prop::sample::select(vec![1, 2, 3, 1000]);
    let kind = prop_oneof![6 => Just(EditKind::Update), 1 => Just(EditKind::Tombstone), 1 => Just(EditKind::Delete)];
    let edit = (at(), prop::option::weighted(0.8, any::<Pick>()), kind, limit())
        .prop_map(|((db, id), parent, kind, revs_limit)| Step::Edit { db, id, parent, kind, revs_limit });
    let hashes = prop::collection::vec(0u8..4, 1..4);
    let graft =
        (at(), prop::option::weighted(0.7, any::<Pick>()), hashes, prop::bool::weighted(0.3), limit()).prop_map(
            |((db, id), onto, hashes, deleted, revs_limit)| Step::Graft { db, id, onto, hashes, deleted, revs_limit },
        );
    let local = (at(), prop::option::of(0u64..3), prop::bool::weighted(0.3))
        .prop_map(|((db, id), parent, deleted)| Step::Local { db, id, parent, deleted });
    let part = (0..IDS.len(), prop::option::weighted(0.7, any::<Pick>()), Just(EditKind::Update));
    let atomic = (0..DBS, prop::collection::vec(part, 1..4)).prop_map(|(db, edits)| Step::Atomic { db, edits });
    let purge =
        (at(), prop::collection::vec(any::<Pick>(), 1..4)).prop_map(|((db, id), revs)| Step::Purge { db, id, revs });
    let write = || prop_oneof![edit.clone(), graft.clone()].prop_map(Box::new);
    let name = || 0..NAMES.len();
    let att = prop_oneof![
        3 => (name(), prop::option::weighted(0.3, 1u64..4)).prop_map(|(name, revpos)| Att::Stub { name, revpos }),
        3 => (name(), 0..UPLOADS.len()).prop_map(|(name, bytes)| Att::Carried { name, bytes }),
        4 => (name(), 0..UPLOADS.len()).prop_map(|(name, upload)| Att::Uploaded { name, upload }),
    ];
    let atts = prop::collection::vec(att, 1..4);
    let chunk = (at(), 0..UPLOADS.len(), 0u32..2);
    prop_oneof![
        40 => edit.clone(),
        40 => graft.clone(),
        60 => (write(), atts).prop_map(|(write, atts)| Step::Attach(write, atts)),
        40 => chunk.prop_map(|((db, id), upload, number)| Step::Chunk { db, id, upload, number }),
        4 => (0u64..40).prop_map(|ago| Step::Forget { ago }),
        10 => local,
        10 => atomic,
        10 => any::<Pick>().prop_map(Step::Repeat),
        6 => at().prop_map(|(db, id)| Step::Compact { db, id }),
        6 => purge,
        1 => (0..DBS).prop_map(|db| Step::Drop { db }),
    ]
}

/// The naive store: the decisions are `common::edit`'s, everything kept beside them is counted anew at each question.
#[derive(Debug, Default, Clone)]
struct Model {
    trees: BTreeMap<(DbUid, DocId), RevTree>,
    /// Every body ever written.
    bodies: BTreeMap<(DbUid, DocId, Rev), Bytes>,
    /// Every change ever made.
    log: BTreeMap<DbUid, Vec<DocId>>,
    locals: BTreeMap<(DbUid, DocId), (u64, Bytes)>,
    local_requests: BTreeMap<(DbUid, DocId), Vec<(common::ids::RequestId, u64)>>,
    purges: BTreeMap<DbUid, Vec<(common::ids::RequestId, Vec<Rev>)>>,
    dropped: Vec<DbUid>,
    /// The attachments of every body ever written.
    attachments: BTreeMap<(DbUid, DocId, Rev), Vec<Attachment>>,
    blobs: Blobs,
}

impl Model {
    fn command(&mut self, step: &Step, n: usize, before: &[Command]) -> Command {
        let json = format!(r#"{{"n":{n}}}"#);
        let revs = |db_n: u128, at: usize| -> Vec<Rev> {
            let tree = self.trees.get(&(db(db_n), id(IDS[at])));
            tree.map(|tree| tree.nodes().iter().map(|node| node.rev.clone()).collect()).unwrap_or_default()
        };
        let pick = |pick: &Pick, revs: &[Rev]| (!revs.is_empty()).then(|| pick.get(revs).clone());
        let op = match step {
            Step::Edit { db: db_n, id, parent, kind, revs_limit } => {
                let parent = parent.as_ref().and_then(|parent| pick(parent, &revs(*db_n, *id)));
                edit(address(db(*db_n), IDS[*id]), parent, *kind, &json, *revs_limit)
            }
            Step::Graft { db: db_n, id, onto, hashes, deleted, revs_limit } => {
                let onto = onto.as_ref().and_then(|onto| pick(onto, &revs(*db_n, *id)));
                let first = onto.as_ref().map_or(0, |rev| rev.generation) + 1;
                let made = hashes.iter().zip(first..).map(|(hash, generation)| format!("{generation}-{hash}"));
                let made = made.map(|rev| Rev::parse(&rev).expect("valid"));
                let mut path: Vec<Rev> = onto.into_iter().chain(made).collect();
                path.reverse();
                graft(address(db(*db_n), IDS[*id]), path, *deleted, &json, *revs_limit)
            }
            Step::Atomic { db: db_n, edits } => {
                let edits = edits.iter().map(|(id, parent, kind)| {
                    let parent = parent.as_ref().and_then(|parent| pick(parent, &revs(*db_n, *id)));
                    match edit(address(db(*db_n), IDS[*id]), parent, *kind, &json, 1000) {
                        Op::Edit(edit) => edit,
                        _ => unreachable!("it makes edits"),
                    }
                });
                Op::Atomic(Atomic { db: db(*db_n), edits: edits.collect() })
            }
            Step::Local { db: db_n, id, parent, deleted } => {
                let at = address(db(*db_n), &format!("_local/{}", IDS[*id]));
                local(at, *parent, (!deleted).then_some(&json))
            }
            Step::Repeat(pick) if !before.is_empty() => {
                return Command { retry: n.is_multiple_of(2), ..pick.get(before).clone() };
            }
            Step::Repeat(_) => Op::DropDb { db: db(99) },
            Step::Compact { db: db_n, id } => Op::Compact { doc: address(db(*db_n), IDS[*id]) },
            Step::Purge { db: db_n, id, revs: picks } => {
                let known = revs(*db_n, *id);
                let revs = picks.iter().filter_map(|rev| pick(rev, &known)).collect();
                Op::Purge(Purge { doc: address(db(*db_n), IDS[*id]), revs, infos_limit: PURGES_LIMIT })
            }
            Step::Drop { db: n } => Op::DropDb { db: db(*n) },
            Step::Attach(write, atts) => {
                let mut names = std::collections::BTreeSet::new();
                let sent = atts.iter().enumerate().map(|(at, att)| match att {
                    Att::Stub { name, revpos } => Sent::Stub { name: NAMES[*name].into(), revpos: *revpos },
                    Att::Carried { name, bytes } => {
                        new_attachment(NAMES[*name], at as u64, &bytes_of(*bytes)[..], None)
                    }
                    Att::Uploaded { name, upload: n } => {
                        new_attachment(NAMES[*name], at as u64, &bytes_of(*n)[..], Some(upload(1 + *n as u128)))
                    }
                });
                let sent = sent.filter(|sent| names.insert(sent.name().to_owned())).collect();
                attached(self.command(write, n, before).op, sent)
            }
            Step::Chunk { db: db_n, id, upload: of, number } => {
                // Nothing is never sent as a chunk.
                let of = if UPLOADS[*of] == 0 { &0 } else { of };
                let bytes = bytes_of(*of);
                let start = (*number as usize * CHUNK_BYTES).min(bytes.len());
                let bytes = bytes.slice(start..bytes.len().min(start + CHUNK_BYTES));
                let doc = address(db(*db_n), IDS[*id]);
                Op::PutChunk(PutChunk { doc, upload: upload(1 + *of as u128), number: *number, bytes })
            }
            Step::Forget { ago } => Op::ForgetUploads { before: Index((n as u64).saturating_sub(*ago)) },
        };
        command(n as u128 + 1000, op)
    }

    fn apply(&mut self, index: Index, command: &Command) -> Outcome {
        let outcome = self.applied(index, command);
        let named = self.named();
        self.blobs.keep(&named, &self.dropped);
        if let Op::Attached(op) = &command.op
            && !self.dropped.contains(&op.write.doc().db)
        {
            op.attachments.iter().filter_map(Sent::upload).for_each(|of| self.blobs.close(op.write.doc().db, of));
        }
        outcome
    }

    /// The blobs that stored revisions name, as often as they do.
    fn named(&self) -> BTreeMap<DbUid, Vec<common::attachment::Content>> {
        let mut named: BTreeMap<DbUid, Vec<_>> = BTreeMap::new();
        for ((db, id), tree) in self.trees.iter().filter(|((db, _), _)| !self.dropped.contains(db)) {
            for node in tree.nodes().iter().filter(|node| node.stored) {
                let attachments = self.attachments(*db, id, &node.rev);
                named.entry(*db).or_default().extend(attachments.into_iter().map(|attachment| attachment.content));
            }
        }
        named
    }

    fn applied(&mut self, index: Index, command: &Command) -> Outcome {
        if command.op.db().is_some_and(|db| self.dropped.contains(&db)) && !matches!(command.op, Op::DropDb { .. }) {
            return Outcome::Dropped;
        }
        let asker = Asker { request: command.request, retry: command.retry };
        let (at, body, decision) = match &command.op {
            Op::Edit(op) => {
                let tree = self.trees.get(&(op.doc.db, op.doc.id.clone()));
                (&op.doc, &op.body, edit::decide(tree, asker, op))
            }
            Op::Graft(op) => {
                let tree = self.trees.get(&(op.doc.db, op.doc.id.clone()));
                (&op.doc, &op.body, edit::decide_graft(tree, asker, op))
            }
            Op::Local(op) => {
                let key = (op.doc.db, op.doc.id.clone());
                return self.local(key, command, op.parent, op.json.clone());
            }
            Op::Compact { doc } => {
                if let Some(tree) = self.trees.get_mut(&(doc.db, doc.id.clone())) {
                    tree.superseded().iter().for_each(|rev| tree.set_stored(rev, false));
                }
                return Outcome::Done;
            }
            Op::Purge(op) => return self.purge(command, op),
            Op::Atomic(op) => return self.atomic(index, command, op),
            Op::DropDb { db } => {
                self.dropped.push(*db);
                return Outcome::Done;
            }
            Op::AdoptSlots { .. } => return Outcome::Done,
            Op::Attached(op) => return self.attached(asker, op),
            Op::PutChunk(op) => return self.blobs.chunk(index, op),
            Op::ForgetUploads { before } => {
                self.blobs.forget(*before);
                return Outcome::Swept { more: false };
            }
            Op::AdoptIndexes { .. } | Op::BuildIndexes { .. } | Op::KeepViews { .. } => {
                panic!("these histories have no indexes")
            }
            Op::Validated(_) | Op::AdoptValidators { .. } => panic!("these histories have no validation functions"),
        };
        let (at, json) = (at.clone(), body.json.clone());
        self.decided(&at, decision, json, Vec::new())
    }

    fn attached(&mut self, asker: Asker, op: &Attached) -> Outcome {
        let at = op.write.doc().clone();
        let tree = self.trees.get(&(at.db, at.id.clone()));
        let json = op.write.body().json.clone();
        let (from, revpos) = match &op.write {
            Bearer::Edit(edit) => match edit::leaf(tree, asker, edit) {
                Ok(leaf) => (leaf.cloned(), Some(leaf.map_or(1, |leaf| leaf.generation + 1))),
                Err(decision) => return self.decided(&at, decision, json, Vec::new()),
            },
            Bearer::Graft(graft) => match edit::decide_graft(tree, asker, graft) {
                Decision::Write { .. } => {
                    let stored = |rev: &&Rev| tree.is_some_and(|tree| tree.get(rev).is_some_and(|node| node.stored));
                    (graft.path[1..].iter().find(stored).cloned(), None)
                }
                decision => return self.decided(&at, decision, json, Vec::new()),
            },
        };
        let stored = from.filter(|rev| tree.is_some_and(|tree| tree.get(rev).is_some_and(|node| node.stored)));
        let known = stored.map(|rev| self.attachments(at.db, &at.id, &rev)).unwrap_or_default();
        let mut all = Vec::new();
        for sent in &op.attachments {
            match sent {
                Sent::Stub { name, revpos } => {
                    let kept = known.iter().find(|one| one.name == *name && revpos.is_none_or(|at| at == one.revpos));
                    match kept {
                        Some(kept) => all.push(kept.clone()),
                        None => return Outcome::MissingStub { name: name.clone() },
                    }
                }
                Sent::New { attachment, source } => {
                    if let Source::Uploaded(upload) = source
                        && !self.blobs.is_whole(at.db, *upload, &attachment.content)
                    {
                        return Outcome::MissingUpload;
                    }
                    all.push(Attachment { revpos: revpos.unwrap_or(attachment.revpos), ..attachment.clone() });
                }
            }
        }
        let decision = match &op.write {
            Bearer::Edit(edit) => {
                let mut edit = edit.clone();
                edit.body.digest = digest_with(edit.body.digest, &all);
                edit::decide(tree, asker, &edit)
            }
            Bearer::Graft(graft) => edit::decide_graft(tree, asker, graft),
        };
        if matches!(decision, Decision::Write { .. }) {
            self.blobs.take(at.db, &op.attachments);
        }
        self.decided(&at, decision, json, all)
    }

    fn decided(&mut self, at: &Address, decision: Decision, json: Bytes, attachments: Vec<Attachment>) -> Outcome {
        let key = (at.db, at.id.clone());
        match decision {
            Decision::Write { tree, rev, .. } => {
                self.bodies.insert((at.db, at.id.clone(), rev.clone()), json);
                self.attachments.insert((at.db, at.id.clone(), rev.clone()), attachments);
                self.trees.insert(key, tree);
                let log = self.log.entry(at.db).or_default();
                log.push(at.id.clone());
                Outcome::Written { rev, seq: Seq(log.len() as u64) }
            }
            Decision::Repeat { rev } => Outcome::Written { rev, seq: self.seq(at.db, &at.id) },
            Decision::Conflict => Outcome::Conflict,
            Decision::Forgotten => Outcome::Forgotten,
            Decision::NotFound { deleted } => Outcome::NotFound { deleted },
        }
    }

    /// One edit after the other; all is as it was before if one of them is not written.
    fn atomic(&mut self, index: Index, command: &Command, op: &Atomic) -> Outcome {
        let before = self.clone();
        let key = |edit: &Edit| (edit.doc.db, edit.doc.id.clone());
        let knows =
            |edit: &&Edit| before.trees.get(&key(edit)).is_some_and(|tree| tree.written_by(command.request).is_some());
        let seen = |at: usize| op.edits[..at].iter().any(|other| other.doc.id == op.edits[at].doc.id);
        let known = op.edits.iter().enumerate().filter(|(at, edit)| knows(edit) && !seen(*at)).count();
        let rows = op.edits.iter().enumerate().map(|(at, edit)| match seen(at) {
            true => Outcome::Conflict,
            false => self.apply(index, &Command { op: Op::Edit(edit.clone()), ..command.clone() }),
        });
        let rows: Vec<Outcome> = rows.collect();
        if rows.iter().all(|row| matches!(row, Outcome::Written { .. })) && [0, rows.len()].contains(&known) {
            return Outcome::Rows(rows);
        }
        *self = before;
        if known > 0 || rows.contains(&Outcome::Forgotten) {
            return Outcome::Forgotten;
        }
        let refused = |row| if matches!(row, Outcome::Written { .. }) { Outcome::Done } else { row };
        Outcome::Rows(rows.into_iter().map(refused).collect())
    }

    fn purge(&mut self, command: &Command, op: &Purge) -> Outcome {
        let (db, id) = (op.doc.db, &op.doc.id);
        let purges = self.purges.entry(db).or_default();
        let remembered = purges.iter().rev().take(PURGES_LIMIT as usize);
        if let Some((_, revs)) = remembered.into_iter().find(|(request, _)| *request == command.request) {
            return Outcome::Purged { revs: revs.clone() };
        }
        let mut revs = Vec::new();
        if let Some(tree) = self.trees.get_mut(&(db, id.clone())) {
            revs = tree.purge(&op.revs).0;
            if tree.is_empty() {
                self.trees.remove(&(db, id.clone()));
            } else if !revs.is_empty() {
                self.log.entry(db).or_default().push(id.clone());
            }
        }
        purges.push((command.request, revs.clone()));
        Outcome::Purged { revs }
    }

    fn local(&mut self, key: (DbUid, DocId), command: &Command, parent: Option<u64>, json: Option<Bytes>) -> Outcome {
        let written =
            |counter: u64| Outcome::Written { rev: Rev::parse(&format!("0-{counter}")).expect("valid"), seq: Seq(0) };
        let requests = self.local_requests.entry(key.clone()).or_default();
        if let Some((_, counter)) = requests.iter().rev().take(8).find(|(request, _)| *request == command.request) {
            return written(*counter);
        }
        if command.retry && requests.len() >= 8 {
            return Outcome::Forgotten;
        }
        let current = self.locals.get(&key).map(|(counter, _)| *counter);
        let counter = match (&json, parent, current) {
            (None, _, None) => return Outcome::NotFound { deleted: false },
            (_, Some(parent), current) if parent != current.unwrap_or(0) => return Outcome::Conflict,
            (None, ..) => 0,
            (Some(_), parent, _) => parent.unwrap_or(0) + 1,
        };
        requests.push((command.request, counter));
        match json {
            Some(json) => self.locals.insert(key, (counter, json)),
            None => self.locals.remove(&key),
        };
        written(counter)
    }

    fn seq(&self, db: DbUid, id: &DocId) -> Seq {
        let log = self.log.get(&db).map(Vec::as_slice).unwrap_or_default();
        Seq(log.iter().rposition(|changed| changed == id).map_or(0, |at| at as u64 + 1))
    }

    fn docs(&self, db: DbUid) -> impl DoubleEndedIterator<Item = (&DocId, &RevTree)> {
        self.trees.iter().filter(move |((of, _), _)| *of == db).map(|((_, id), tree)| (id, tree))
    }

    fn body(&self, db: DbUid, id: &DocId, rev: &Rev) -> Bytes {
        self.bodies[&(db, id.clone(), rev.clone())].clone()
    }

    fn attachments(&self, db: DbUid, id: &DocId, rev: &Rev) -> Vec<Attachment> {
        self.attachments.get(&(db, id.clone(), rev.clone())).cloned().unwrap_or_default()
    }

    fn winner<'m>(&self, tree: &'m RevTree) -> &'m common::rev_tree::Node {
        tree.winner().expect("a tree in the model has revisions")
    }

    fn counters(&self, db: DbUid) -> DbCounters {
        let mut counters = DbCounters { seq: Seq(self.log.get(&db).map_or(0, Vec::len) as u64), ..Default::default() };
        counters.purges = self.purges.get(&db).map_or(0, Vec::len) as u64;
        let blobs = self.blobs.of(db);
        counters.blobs = blobs.len() as u64;
        counters.blob_bytes = blobs.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        for (id, tree) in self.docs(db) {
            let winner = self.winner(tree);
            counters.docs += u64::from(!winner.deleted);
            counters.deleted += u64::from(winner.deleted);
            counters.bytes += self.body(db, id, &winner.rev).len() as u64;
        }
        counters
    }

    fn changes(&self, db: DbUid) -> Vec<Change> {
        let mut rows: Vec<Change> = self
            .docs(db)
            .map(|(id, tree)| {
                let winner = self.winner(tree);
                let leaves = tree.leaves().into_iter().map(|leaf| leaf.rev.clone()).collect();
                let (seq, json) = (self.seq(db, id), Some(self.body(db, id, &winner.rev)));
                let (deleted, attachments) = (winner.deleted, self.attachments(db, id, &winner.rev));
                Change { seq, id: id.clone(), leaves, deleted, json, attachments, matching: None }
            })
            .collect();
        rows.sort_by_key(|row| row.seq);
        rows
    }

    fn range(&self, db: DbUid) -> Vec<RangeRow> {
        let live = self.docs(db).filter(|(_, tree)| !tree.is_deleted());
        live.map(|(id, tree)| {
            let rev = self.winner(tree).rev.clone();
            let (json, attachments) = (Some(self.body(db, id, &rev)), self.attachments(db, id, &rev));
            RangeRow { id: id.clone(), json, rev, conflicts: tree.conflicts(), attachments }
        })
        .collect()
    }

    /// Every revision whose body is kept.
    fn all_revs(&self, db: DbUid, id: &DocId, tree: &RevTree) -> Vec<RevBody> {
        let stored = tree.nodes().iter().filter(|node| node.stored);
        stored
            .map(|node| {
                let (rev, json) = (node.rev.clone(), self.body(db, id, &node.rev));
                RevBody { attachments: self.attachments(db, id, &rev), rev, deleted: node.deleted, json }
            })
            .collect()
    }
}

fn request(db: DbUid, of: Option<&str>, since: Seq, descending: bool, limit: u32) -> ChangesRequest {
    let partition = of.map(|name| Partition::parse(name).expect("a name"));
    let plain = ChangesRequest::behind(db, since, limit);
    ChangesRequest { descending, all_leaves: true, bodies: true, partition, count_pending: true, ..plain }
}

/// All pages of the stream one after the other, each with its count of what is pending checked.
fn stream(store: &Map, db: DbUid, of: Option<&str>, descending: bool, limit: u32) -> Vec<Change> {
    let mut since = if descending { Seq(u64::MAX) } else { Seq(0) };
    let (mut rows, mut pendings) = (Vec::new(), Vec::new());
    loop {
        let page = changes(store, &request(db, of, since, descending, limit)).expect("a sound store");
        assert!(page.rows.len() <= limit as usize);
        rows.extend(page.rows);
        pendings.push((rows.len(), page.pending));
        if !page.more {
            break;
        }
        since = rows.last().expect("more follows a row").seq;
    }
    for (read, pending) in pendings {
        assert_eq!(read as u64 + pending, rows.len() as u64);
    }
    rows
}

/// All pages of all documents one after the other.
fn range(store: &Map, db: DbUid, descending: bool, limit: u32) -> Vec<RangeRow> {
    let mut range = Range {
        db,
        low: None,
        high: None,
        low_exclusive: true,
        high_exclusive: true,
        descending,
        limit,
        bodies: true,
        conflicts: true,
        count_before: true,
    };
    let mut rows: Vec<RangeRow> = Vec::new();
    loop {
        let Answer::Range(page) = read(store, &Query::Range(range.clone())).expect("a sound store") else {
            panic!("a range answers a range");
        };
        assert_eq!(page.before, Some(rows.len() as u64));
        rows.extend(page.rows);
        if !page.more {
            assert_eq!(page.total, rows.len() as u64);
            return rows;
        }
        let end = rows.last().map(|row| row.id.as_str().into());
        if descending { range.high = end } else { range.low = end }
    }
}

fn check(model: &Model, store: &Map, db: DbUid, limit: u32) {
    let ask = |query: Query| read(store, &query).expect("a sound store");
    if model.dropped.contains(&db) {
        assert_eq!(ask(Query::Info { db }), Answer::Dropped);
        assert!(changes(store, &request(db, None, Seq(0), false, 1)).expect("a sound store").dropped);
        return;
    }
    assert_eq!(ask(Query::Info { db }), Answer::Info(model.counters(db)));
    for of in [None, Some("b"), Some("c")] {
        let mut expected = model.changes(db);
        expected.retain(|row| of.is_none_or(|of| row.id.as_str().starts_with(&format!("{of}:"))));
        assert_eq!(stream(store, db, of, false, limit), expected);
        expected.reverse();
        assert_eq!(stream(store, db, of, true, limit), expected);
    }
    let mut expected = model.range(db);
    assert_eq!(range(store, db, false, limit), expected);
    expected.reverse();
    assert_eq!(range(store, db, true, limit), expected);
    let Answer::Ids(page) = ask(Query::OldBodies { db, after: None, limit: 100 }) else { panic!("ids answer this") };
    let old: Vec<&DocId> = model.docs(db).filter(|(_, tree)| !tree.superseded().is_empty()).map(|(id, _)| id).collect();
    assert!(old.iter().all(|id| page.ids.contains(id)) && page.ids.is_sorted() && !page.more);
    let Answer::Ids(rest) = ask(Query::OldBodies { db, after: page.ids.first().cloned(), limit: 100 }) else {
        panic!("ids answer this")
    };
    assert_eq!(rest.ids, page.ids.get(1..).unwrap_or_default());
    for text in IDS {
        let local_id = id(&format!("_local/{text}"));
        let expected = model.locals.get(&(db, local_id.clone()));
        let Answer::Local(answer) = ask(Query::Local { db, id: local_id }) else { panic!("local answers local") };
        assert_eq!(answer.map(|local| (local.counter, local.json)).as_ref(), expected);
    }
    for (blob, bytes) in model.blobs.of(db) {
        for number in 0..=u32::try_from(chunks_of(bytes.len() as u64)).expect("few") {
            let start = number as usize * CHUNK_BYTES;
            let chunk = (start < bytes.len()).then(|| bytes.slice(start..bytes.len().min(start + CHUNK_BYTES)));
            assert_eq!(ask(Query::Chunk { db, blob, number }), Answer::Chunk(chunk));
        }
    }
    for (id, tree) in model.docs(db) {
        let found = model.all_revs(db, id, tree);
        let revs = Revs::List { revs: found.iter().map(|body| body.rev.clone()).collect(), latest: false };
        let seq = model.seq(db, id);
        let expected = DocAnswer { found, missing: vec![], seq, deleted: tree.is_deleted(), tree: Some(tree.clone()) };
        assert_eq!(ask(Query::Doc { db, id: id.clone(), revs, tree: true }), Answer::Doc(Some(expected)));
    }
}

/// No body is kept that nobody can ask for, and no blob is counted otherwise than it is named.
fn check_no_garbage(model: &Model, store: &Map) {
    use crate::store::keys::Key;
    let live = |db: &DbUid| !model.dropped.contains(db);
    assert_eq!(blobs::stored(store, live), model.blobs.expected(&model.named()));
    for key in store.0.keys() {
        match Key::decode(key).expect("a key of ours") {
            Key::Body(db, id, rev) if !model.dropped.contains(&db) => {
                let tree = &model.trees[&(db, id.clone())];
                assert!(tree.get(&rev).is_some_and(|node| node.stored), "{id} {rev}");
                assert_ne!(model.winner(tree).rev, rev, "the winner's body stands in its record");
            }
            _ => {}
        }
    }
}

fn swept(mut store: Map) -> Map {
    loop {
        let batch = sweep(&store, 3).expect("a sound store");
        if batch.changes.is_empty() {
            return store;
        }
        store.apply(batch);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_store_is_the_fold_of_its_log(
        steps in prop::collection::vec(any_step(), 1..80),
        cuts in prop::collection::vec(any::<(bool, bool)>(), 80),
        limit in 1u32..5,
    ) {
        let (mut model, mut commands, mut expected) = (Model::default(), Vec::new(), Vec::new());
        for (n, step) in steps.iter().enumerate() {
            let command = model.command(step, n, &commands);
            expected.push(model.apply(Index(n as u64), &command));
            commands.push(command);
        }
        // Two replicas that cut the same log into different batches; one of them sweeps in between, and knows from batch to
        // batch what the other looks up.
        let (mut one, mut other) = (Map::owning_all(), Map::owning_all());
        let outcomes = fold(&mut one, &commands, |n| cuts[n].0, false)?;
        prop_assert_eq!(&outcomes, &expected);
        let outcomes = fold(&mut other, &commands, |n| cuts[n].1, true)?;
        prop_assert_eq!(&outcomes, &expected);
        for n in 0..DBS {
            check(&model, &one, db(n), limit);
        }
        check_no_garbage(&model, &one);
        let installed = snapshot::rebuild(snapshot::pairs(&one)).collect::<Result<Vec<_>, Error>>();
        let installed = installed.expect("a sound snapshot");
        prop_assert!(installed.is_sorted_by(|a, b| a.0 < b.0));
        let one = swept(one);
        prop_assert_eq!(&one, &swept(other));
        prop_assert_eq!(Map(installed.into_iter().collect()), one);
    }
}

fn fold(
    store: &mut Map,
    commands: &[Command],
    cut: impl Fn(usize) -> bool,
    knowing_and_sweeping: bool,
) -> Result<Vec<Outcome>, TestCaseError> {
    let mut outcomes = Vec::new();
    let mut rest = commands;
    let mut known = Known::default();
    while !rest.is_empty() {
        let done = outcomes.len();
        let end = (0..rest.len()).find(|n| cut(done + n)).map_or(rest.len(), |n| n + 1);
        let mut apply = Apply::knowing(store, std::mem::take(&mut known));
        for (n, command) in rest[..end].iter().enumerate() {
            outcomes.push(apply.command(Index((done + n) as u64), command).expect("a sound store"));
        }
        let (Folded { batch, .. }, after) = apply.finish_knowing(outcomes.len().to_string().into());
        prop_assert!(batch.changes.is_sorted_by(|a, b| a.0 < b.0));
        store.apply(batch);
        if knowing_and_sweeping {
            known = after;
            let batch = sweep(store, 2).expect("a sound store");
            store.apply(batch);
        }
        rest = &rest[end..];
    }
    Ok(outcomes)
}
