//! Scripts: commands and questions in, outcomes, answers and stored rows out, to be read by people.
//!
//! A block is some lines, `---`, and what they gave. The commands of a block are one batch; the questions behind them
//! are asked once it is applied. Revisions are cut to four digits. `UPDATE=1 cargo test` writes what is given into the
//! files; read the difference before committing it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use bytes::Bytes;
use common::attachment::{Attachment, Sent};
use common::change::ChangesRequest;
use common::command::{Atomic, By, Command, Edit, EditKind, Op, Outcome, Purge, PutChunk, Validated};
use common::ids::{Index, Seq, ShardId, Slot, UploadId};
use common::mango::index::Definition;
use common::mango::kept::{Kept, ShardIndexes};
use common::mango::{Selector, key};
use common::partition::Partition;
use common::query::{Answer, Before, DbCounters, Find, Place, Query, Range, Revs, Standing, Upon};
use common::rev::{Rev, RevHash};
use common::validation::{Defined, Fingerprint, ShardValidators, Validator, digest_of};

use crate::store::keys::Key;
use crate::store::record::{
    self, BlobRecord, Body, DocRecord, LocalRecord, PurgeRecord, Purges, SeqRow, Slots, UploadRecord,
};
use crate::store::testing::{
    Map, address, attached, command, content, db, edit, graft, id, local, new_attachment, request, upload,
};
use crate::store::validators::validators;
use crate::store::{changes, indexes, read, snapshot, sweep};

#[test]
fn scripts_give_what_is_written_in_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/tests/scripts");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder of scripts") {
        let path = entry.expect("a script").path();
        let script = std::fs::read_to_string(&path).expect("a script");
        let given = Script::default().run(&script);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, given).expect("written");
        } else {
            assert_eq!(given, script, "{} (UPDATE=1 rewrites it)", path.display());
        }
        seen += 1;
    }
    assert!(seen >= 5, "the scripts are there");
}

struct Script {
    store: Map,
    /// Revisions by the way they are shown.
    revs: BTreeMap<String, Rev>,
    requests: u128,
    index: u64,
    revs_limit: u32,
}

impl Default for Script {
    fn default() -> Self {
        Self { store: Map::default(), revs: BTreeMap::new(), requests: 100, index: 0, revs_limit: 1000 }
    }
}

impl Script {
    fn run(&mut self, script: &str) -> String {
        let mut out = String::new();
        for block in script.trim_end().split("\n\n") {
            let input = block.split("---\n").next().expect("split gives something").trim_end();
            writeln!(out, "{input}").expect("text");
            if input.lines().all(|line| line.starts_with('#')) {
                out.push('\n');
                continue;
            }
            out.push_str("---\n");
            let (mut commands, mut questions) = (Vec::new(), Vec::new());
            for line in input.lines().filter(|line| !line.starts_with('#')) {
                match self.command(line) {
                    Some(command) => commands.push(command),
                    None => questions.push(line),
                }
            }
            if !commands.is_empty() {
                self.fold(&mut out, &commands);
            }
            for question in questions {
                self.question(&mut out, question);
            }
            out.push('\n');
        }
        out.truncate(out.trim_end().len());
        out + "\n"
    }

    /// The command in `line`: `[r<request>] put|tomb|del|atomic|graft|graftdel|att|chunk|local|localdel|drop|adopt …`, or
    /// `[r<request>] by ours|others|exempt|nobody` in front of it.
    fn command(&mut self, line: &str) -> Option<Command> {
        let (number, line) = match line.strip_prefix('r').and_then(|rest| rest.split_once(' ')) {
            Some((number, rest)) if number.parse::<u128>().is_ok() => (number.parse().expect("a number"), rest),
            _ => {
                self.requests += 1;
                (self.requests, line)
            }
        };
        let mut words = line.splitn(3, ' ');
        let (verb, target, rest) = (words.next()?, words.next().unwrap_or(""), words.next().unwrap_or("{}"));
        let (name, parent) = target.split_once('@').map_or((target, None), |(name, rev)| (name, Some(rev)));
        let at = || address(db(0), name);
        let op = match verb {
            "put" | "tomb" | "del" => {
                let kind = match verb {
                    "put" => EditKind::Update,
                    "tomb" => EditKind::Tombstone,
                    _ => EditKind::Delete,
                };
                edit(at(), parent.map(|rev| self.rev(rev)), kind, rest, self.revs_limit)
            }
            "graft" | "graftdel" => {
                let (path, json) = rest.split_once(' ').unwrap_or((rest, "{}"));
                let path = path.split(',').map(|rev| self.rev(rev)).collect();
                graft(at(), path, verb == "graftdel", json, self.revs_limit)
            }
            "local" | "localdel" => {
                let parent = parent.map(|counter| counter.parse().expect("a counter"));
                local(at(), parent, (verb == "local").then_some(rest))
            }
            "atomic" => Op::Atomic(Atomic { db: db(0), edits: self.edits(line) }),
            "att" | "atttomb" | "graftatt" => {
                let words: Vec<&str> = rest.splitn(3, ' ').collect();
                let (op, attachments) = match verb {
                    "graftatt" => {
                        let path = words[0].split(',').map(|rev| self.rev(rev)).collect();
                        let json = words.get(2).unwrap_or(&"{}");
                        (graft(at(), path, false, json, self.revs_limit), words[1])
                    }
                    _ => {
                        let kind = EditKind::of_document(verb == "atttomb");
                        let json = rest.split_once(' ').map_or("{}", |(_, json)| json);
                        (edit(at(), parent.map(|rev| self.rev(rev)), kind, json, self.revs_limit), words[0])
                    }
                };
                attached(op, attachments.split(',').map(sent).collect())
            }
            "chunk" => {
                let words: Vec<&str> = rest.splitn(3, ' ').collect();
                let number = |text: &str| text.parse().expect("a number");
                let bytes = Bytes::copy_from_slice(words[2].as_bytes());
                Op::PutChunk(PutChunk {
                    doc: at(),
                    upload: upload(number(words[0])),
                    number: number(words[1]) as u32,
                    bytes,
                })
            }
            "forget" => Op::ForgetUploads { before: Index(target.parse().expect("an index")) },
            "compact" => Op::Compact { doc: at() },
            "purge" => {
                let revs = rest.split(',').map(|rev| self.rev(rev)).collect();
                Op::Purge(Purge { doc: at(), revs, infos_limit: 2 })
            }
            "drop" => Op::DropDb { db: db(0) },
            "keep" => {
                let known = indexes(&self.store, db(0)).expect("a sound store");
                let kept = |(ddoc, definition): (&str, &Definition)| Kept {
                    ddoc: ddoc.into(),
                    definition: definition.clone(),
                    by_partition: false,
                    keys: key::VERSION,
                };
                let defined = known.defined.iter().flat_map(|(ddoc, all)| all.iter().map(move |one| (&**ddoc, one)));
                let version = target.parse().unwrap_or(known.version);
                Op::AdoptIndexes { db: db(0), version, indexes: defined.map(kept).collect() }
            }
            "build" => Op::BuildIndexes { db: db(0) },
            "validators" => Op::AdoptValidators { db: db(0), others: others(line) },
            "by" => {
                let by = match target {
                    "ours" => By::Functions(validators(&self.store, db(0)).expect("a sound store").in_force()?),
                    "others" => By::Functions(Fingerprint([9; 16])),
                    "exempt" => By::Exempt,
                    _ => By::Nobody,
                };
                let Command { op, request, .. } = self.command(&format!("r{number} {rest}"))?;
                return Some(Command { request, retry: false, op: Op::Validated(Box::new(Validated { by, op })) });
            }
            "adopt" => {
                let (low, high) = rest.split_once('-').expect("low-high");
                let number = |text: &str| text.parse::<u16>().expect("a slot");
                let slots = (number(low)..=number(high)).map(Slot).collect();
                Op::AdoptSlots { version: target.parse().expect("a version"), slots }
            }
            _ => return None,
        };
        Some(command(number, op))
    }

    /// `atomic NAME[@REV][=JSON] …`
    fn edits(&self, line: &str) -> Vec<Edit> {
        let one = |word: &str| {
            let (target, json) = word.split_once('=').unwrap_or((word, "{}"));
            let (name, parent) =
                target.split_once('@').map_or((target, None), |(name, rev)| (name, Some(self.rev(rev))));
            match edit(address(db(0), name), parent, EditKind::Update, json, self.revs_limit) {
                Op::Edit(edit) => edit,
                _ => unreachable!("it makes edits"),
            }
        };
        line.split(' ').skip(1).map(one).collect()
    }

    fn fold(&mut self, out: &mut String, commands: &[Command]) {
        self.index += 1;
        let (outcomes, changed) = self.store.fold(Index(self.index), commands);
        for outcome in outcomes {
            let text = self.outcome(outcome);
            writeln!(out, "{text}").expect("text");
        }
        if !changed.is_empty() {
            out.push_str("wake feeds\n");
        }
    }

    fn outcome(&mut self, outcome: Outcome) -> String {
        match outcome {
            Outcome::Written { rev, seq: Seq(0) } => format!("written {}", self.show(&rev)),
            Outcome::Written { rev, seq } => format!("written {} at {seq}", self.show(&rev)),
            Outcome::Purged { revs } => {
                let revs: Vec<String> = revs.iter().map(|rev| self.show(rev)).collect();
                format!("purged {}", revs.join(" ")).trim_end().to_owned()
            }
            Outcome::Rows(rows) => rows.into_iter().map(|row| self.outcome(row)).collect::<Vec<_>>().join(", "),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    fn question(&mut self, out: &mut String, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "revs_limit" => self.revs_limit = words[1].parse().expect("a limit"),
            "rows" => self.rows(out, &self.store.clone()),
            "reinstall" => {
                let pairs = snapshot::rebuild(snapshot::pairs(&self.store)).map(|pair| pair.expect("a sound snapshot"));
                let pairs: Vec<_> = pairs.collect();
                assert!(pairs.is_sorted_by(|a, b| a.0 < b.0));
                let store = Map(pairs.into_iter().collect());
                assert_eq!(store, self.store);
                out.push_str("equal\n");
            }
            "snapshot" => {
                let pairs = snapshot::pairs(&self.store).map(|pair| pair.expect("a sound store"));
                self.rows(out, &Map(pairs.collect()));
            }
            "sweep" => {
                let batch = sweep(&self.store, words[1].parse().expect("a limit")).expect("a sound store");
                writeln!(out, "deletes {}", batch.changes.len()).expect("text");
                self.store.apply(batch);
            }
            "doc" => self.doc(out, &words[1..]),
            "chunk?" => {
                let number = words.get(2).map_or(0, |number| number.parse().expect("a number"));
                self.answer(out, &Query::Chunk { db: db(0), blob: content(words[1].as_bytes()).blob, number });
            }
            "local?" => self.answer(out, &Query::Local { db: db(0), id: id(words[1]) }),
            "old" => self.answer(out, &Query::OldBodies { db: db(0), after: None, limit: 100 }),
            "indexes" => self.answer(out, &Query::Indexes { db: db(0) }),
            "validators?" => self.answer(out, &Query::Validators { db: db(0) }),
            "before" => self.before(out, &words[1..]),
            "info" => self.answer(out, &Query::Info { db: db(0) }),
            "range" => self.range(out, &words[1..], Query::Range),
            "locals" => self.range(out, &words[1..], Query::Locals),
            "changes" => self.changes(out, &words[1..]),
            "find" => self.find(out, &words[1..]),
            _ => panic!("no such line: {line}"),
        }
    }

    fn doc(&mut self, out: &mut String, words: &[&str]) {
        let list = |script: &Self, text: &str| text.split(',').map(|rev| script.rev(rev)).collect();
        let revs = match words.get(1) {
            None | Some(&"tree") => Revs::Winner,
            Some(&"leaves") => Revs::Leaves,
            Some(&"list") => Revs::List { revs: list(self, words[2]), latest: false },
            Some(&"latest") => Revs::List { revs: list(self, words[2]), latest: true },
            Some(rev) => Revs::Exact(self.rev(rev)),
        };
        let tree = words.last() == Some(&"tree");
        self.answer(out, &Query::Doc { db: db(0), id: id(words[0]), revs, tree });
    }

    /// `before [r<request>] ID[@REV]|ID REV,…`: of an edit or a graft.
    fn before(&mut self, out: &mut String, words: &[&str]) {
        let number = words[0].strip_prefix('r').and_then(|number| number.parse().ok());
        let words = if number.is_some() { &words[1..] } else { words };
        let (name, parent) = words[0].split_once('@').map_or((words[0], None), |(name, rev)| (name, Some(rev)));
        let upon = match words.get(1) {
            Some(path) => Upon::Graft { path: path.split(',').map(|rev| self.rev(rev)).collect() },
            None => Upon::Edit { parent: parent.map(|rev| self.rev(rev)), kind: EditKind::Update },
        };
        let request = request(number.unwrap_or(9_999));
        self.answer(out, &Query::Before(Box::new(Before { db: db(0), id: id(name), request, upon })));
    }

    /// `range|locals [LOW]..[HIGH] [desc] [exclusive] [bodies] [conflicts] [before] [N]`
    fn range(&mut self, out: &mut String, words: &[&str], query: impl FnOnce(Range) -> Query) {
        let (low, high) = words[0].split_once("..").expect("low..high");
        let end = |text: &str| (!text.is_empty()).then(|| text.into());
        let has = |word| words.contains(&word);
        let range = Range {
            db: db(0),
            low: end(low),
            high: end(high),
            low_exclusive: has("exclusive"),
            high_exclusive: has("exclusive"),
            descending: has("desc"),
            limit: words[1..].iter().find_map(|word| word.parse().ok()).unwrap_or(100),
            bodies: has("bodies"),
            conflicts: has("conflicts"),
            count_before: has("before"),
        };
        self.answer(out, &query(range));
    }

    /// `find SELECTOR [LOW..HIGH] [desc] [conflicts] [after=ID] [index=NUMBER] [version=NUMBER] [N]`
    fn find(&mut self, out: &mut String, words: &[&str]) {
        let has = |word| words.contains(&word);
        let (low, high) = words.iter().find_map(|word| word.split_once("..")).unwrap_or_default();
        let selector = Selector::parse(words[0].as_bytes()).expect("a selector");
        let number = |name: &str| -> Option<u32> {
            words.iter().find_map(|word| word.strip_prefix(name)).map(|number| number.parse().expect("a number"))
        };
        let after = words.iter().find_map(|word| word.strip_prefix("after="));
        let find = Find {
            db: db(0),
            selector: selector.to_json().into(),
            index: number("index="),
            version: number("version=").map(u64::from),
            low: low.to_owned().into(),
            high: (!high.is_empty()).then(|| high.to_owned().into()),
            descending: has("desc"),
            after: after.map(|after| Place { key: Bytes::new(), id: id(after) }),
            limit: words[1..].iter().find_map(|word| word.parse().ok()).unwrap_or(100),
            conflicts: has("conflicts"),
        };
        self.answer(out, &Query::Find(Box::new(find)));
    }

    /// `changes SINCE [of=PARTITION] [desc] [all_leaves] [bodies] [N]`
    fn changes(&mut self, out: &mut String, words: &[&str]) {
        let has = |word| words.contains(&word);
        let since = Seq(if words[0] == "end" { u64::MAX } else { words[0].parse().expect("a seq") });
        let limit = words[1..].iter().find_map(|word| word.parse().ok()).unwrap_or(100);
        let of = words.iter().find_map(|word| word.strip_prefix("of="));
        let request = ChangesRequest {
            descending: has("desc"),
            all_leaves: has("all_leaves"),
            bodies: has("bodies"),
            partition: of.map(|of| Partition::parse(of).expect("a name")),
            count_pending: true,
            ..ChangesRequest::behind(db(0), since, limit)
        };
        let page = changes(&self.store, &request).expect("a sound store");
        for row in page.rows {
            let leaves: Vec<String> = row.leaves.iter().map(|rev| self.show(rev)).collect();
            let deleted = if row.deleted { " deleted" } else { "" };
            let json = row.json.map(|json| format!(" {}", text(&json))).unwrap_or_default();
            writeln!(out, "{} {} {}{deleted}{json}", row.seq, row.id, leaves.join(" ")).expect("text");
        }
        let dropped = if page.dropped { " dropped" } else { "" };
        let more = if page.more { " more" } else { "" };
        writeln!(out, "last {} pending {}{more}{dropped}", page.last_seq, page.pending).expect("text");
    }

    fn answer(&mut self, out: &mut String, query: &Query) {
        let text = match read(&self.store, query).expect("a sound store") {
            Answer::Doc(None) | Answer::Local(None) => "nothing".to_owned(),
            Answer::Doc(Some(doc)) => {
                let mut lines = vec![format!("at {}{}", doc.seq, if doc.deleted { " deleted" } else { "" })];
                for found in doc.found {
                    let deleted = if found.deleted { " deleted" } else { "" };
                    let attachments = show_attachments(&found.attachments);
                    lines.push(format!("found {}{deleted} {}{attachments}", self.show(&found.rev), text(&found.json)));
                }
                lines.extend(doc.missing.iter().map(|rev| format!("missing {}", self.show(rev))));
                if let Some(tree) = doc.tree {
                    let nodes: Vec<String> = tree.nodes().iter().map(|node| self.show(&node.rev)).collect();
                    lines.push(format!("tree {}", nodes.join(" ")));
                }
                lines.join("\n")
            }
            Answer::Local(Some(local)) => format!("0-{} {}", local.counter, text(&local.json)),
            Answer::Range(page) => {
                let mut lines = Vec::new();
                for row in page.rows {
                    let json = row.json.map(|json| format!(" {}", text(&json))).unwrap_or_default();
                    let conflicts: String =
                        row.conflicts.iter().map(|rev| format!(" against {}", self.show(rev))).collect();
                    lines.push(format!("{} {}{conflicts}{json}", row.id, self.show(&row.rev)));
                }
                let before = page.before.map(|count| format!(" before {count}")).unwrap_or_default();
                let more = if page.more { " more" } else { "" };
                lines.push(format!("total {} seq {}{before}{more}", page.total, page.seq));
                lines.join("\n")
            }
            Answer::Info(counters) => show_counters(&counters),
            Answer::Dropped => "dropped".to_owned(),
            Answer::Chunk(chunk) => chunk.map_or("nothing".to_owned(), |chunk| text(&chunk)),
            Answer::Counted(counted) => format!("{counted:?}"),
            Answer::OtherIndexes => "other indexes".to_owned(),
            Answer::Indexes(known) => show_indexes(&known),
            Answer::Validators(known) => show_validators(&known),
            Answer::Met(met) => {
                let functions = if met.in_force.is_some() { "functions" } else { "no functions" };
                match met.standing {
                    Standing::Settled => format!("{functions}, settled"),
                    Standing::Open(None) => format!("{functions}, over nothing"),
                    Standing::Open(Some(replaced)) => {
                        let deleted = if replaced.body.deleted { " deleted" } else { "" };
                        let path: Vec<String> = replaced.path.iter().map(|rev| self.show(rev)).collect();
                        format!("{functions}, over {}{deleted} {}", path.join(" "), text(&replaced.body.json))
                    }
                }
            }
            Answer::NotUnderstood => "not understood".to_owned(),
            Answer::Found(page) => {
                let mut lines = Vec::new();
                for row in page.rows {
                    let conflicts: String =
                        row.conflicts.iter().map(|rev| format!(" against {}", self.show(rev))).collect();
                    lines.push(format!("{} {}{conflicts} {}", row.place.id, self.show(&row.rev), text(&row.json)));
                }
                let resume = page.resume.map(|place| format!(" resume {}", place.id)).unwrap_or_default();
                lines.push(format!("keys {} docs {}{resume}", page.keys_examined, page.docs_examined));
                lines.join("\n")
            }
            Answer::Ids(page) => page.ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(" "),
        };
        writeln!(out, "{text}").expect("text");
    }

    fn rows(&mut self, out: &mut String, store: &Map) {
        const READABLE: &str = "a sound record";
        for (key, value) in &store.0 {
            let line = match Key::decode(key).expect("a key of ours") {
                Key::Applied => format!("applied = {}", text(value)),
                Key::Meta(name) => {
                    let slots: Slots = record::decode(value).expect(READABLE);
                    format!("meta {name} = version {}, {} slots", slots.version, slots.owned.len())
                }
                Key::Dropped(_) => "dropped".to_owned(),
                Key::Counters(_) => format!("counters = {}", show_counters(&record::decode(value).expect(READABLE))),
                Key::Doc(_, id) => {
                    let doc = DocRecord::decode(value).expect(READABLE);
                    let deleted = if doc.deleted { " deleted" } else { "" };
                    let (rev, json) = (self.show(&doc.winner), text(&doc.json));
                    let attachments = show_attachments(&doc.attachments().expect(READABLE));
                    format!("doc {id} = {rev}{deleted} at {}, index {}, {json}{attachments}", doc.seq, doc.index)
                }
                Key::Body(_, id, rev) => {
                    let body = Body::decode(value).expect(READABLE);
                    let attachments = show_attachments(&body.attachments().expect(READABLE));
                    format!("body {id} {} = {}{attachments}", self.show(&rev), text(&body.json))
                }
                Key::Upload(_, upload) => {
                    let record: UploadRecord = record::decode(value).expect(READABLE);
                    let UploadRecord { touched, chunks, bytes } = record;
                    format!("upload {} = {chunks} chunks, {bytes} bytes, at {touched}", upload.0.as_u128())
                }
                Key::Blob(_, blob) => {
                    let BlobRecord { place, bytes, references } = record::decode(value).expect(READABLE);
                    let place = show_place(place);
                    format!("blob {} = {bytes} bytes in {place}, {references} references", &blob.to_string()[..6])
                }
                Key::Chunk(_, upload, number) => format!("chunk {} {number} = {}", show_place(upload), text(value)),
                Key::BySeq(_, seq) => {
                    let row: SeqRow = record::decode(value).expect(READABLE);
                    let leaves: Vec<String> = row.leaves.iter().map(|rev| self.show(rev)).collect();
                    format!("seq {seq} = {} {}{}", row.id, leaves.join(" "), if row.deleted { " deleted" } else { "" })
                }
                Key::ByPartition(_, partition, seq) => {
                    let row: SeqRow = record::decode(value).expect(READABLE);
                    format!("seq {partition} {seq} = {}", row.id)
                }
                Key::Local(_, id) => {
                    let local = LocalRecord::decode(value).expect(READABLE);
                    let json = if local.live { text(&local.json) } else { "deleted".to_owned() };
                    format!("{id} = 0-{} {json}, {} requests", local.counter, local.requests.len())
                }
                Key::Purges(_) => {
                    let purges: Purges = record::decode(value).expect(READABLE);
                    format!("purges = {}..{}", purges.first, purges.next)
                }
                Key::Purge(_, number) => {
                    let done: PurgeRecord = record::decode(value).expect(READABLE);
                    let revs: Vec<String> = done.revs.iter().map(|rev| self.show(rev)).collect();
                    format!("purge {number} = {} {}", done.id, revs.join(" ")).trim_end().to_owned()
                }
                Key::Entry(_, number, rest) => {
                    let columns = record::decode_entry(value).expect(READABLE);
                    let hex: String = rest[..columns].iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("entry {number} {hex} {}", text(&rest[columns..]))
                }
                Key::View(..) => unreachable!("commands make no index of views"),
                Key::Validators(_) => {
                    format!("validators = {}", show_validators(&record::decode(value).expect(READABLE)))
                }
                Key::Indexes(_) => format!("indexes = {}", show_indexes(&record::decode(value).expect(READABLE))),
                Key::PurgeRequest(_, request) => {
                    let number: u64 = record::decode(value).expect(READABLE);
                    format!("purge request {} = {number}", request.0.as_u128())
                }
            };
            writeln!(out, "{line}").expect("text");
        }
    }

    fn show(&mut self, rev: &Rev) -> String {
        let text = match &rev.hash {
            RevHash::Digest(_) => rev.to_string()[..rev.to_string().len() - 28].to_owned(),
            RevHash::Text(_) => rev.to_string(),
        };
        let known = self.revs.insert(text.clone(), rev.clone());
        assert!(known.is_none_or(|known| known == *rev), "{text} stands for two revisions");
        text
    }

    fn rev(&self, text: &str) -> Rev {
        self.revs.get(text).cloned().unwrap_or_else(|| Rev::parse(text).expect("a revision"))
    }
}

/// An attachment as scripts write it: `name=text`; `name=~`, a stub, perhaps with its `revpos`; `name=^upload:text`.
fn sent(text: &str) -> Sent {
    let (name, what) = text.split_once('=').expect("name=what");
    if let Some(revpos) = what.strip_prefix('~') {
        return Sent::Stub { name: name.into(), revpos: revpos.parse().ok() };
    }
    match what.strip_prefix('^').and_then(|rest| rest.split_once(':')) {
        Some((number, text)) => {
            new_attachment(name, 7, text.as_bytes(), Some(upload(number.parse().expect("a number"))))
        }
        None => new_attachment(name, 7, what.as_bytes(), None),
    }
}

/// Uploads of scripts have small numbers; other places are named by what lies there.
fn show_place(place: UploadId) -> String {
    let number = place.0.as_u128();
    if number < 1000 { number.to_string() } else { place.to_string()[..6].to_owned() }
}

fn show_attachments(attachments: &[Attachment]) -> String {
    let shown = attachments.iter().map(|attachment| {
        let Attachment { name, revpos, content, .. } = attachment;
        format!(" {name}@{revpos}:{}", &content.blob.to_string()[..6])
    });
    shown.collect()
}

fn show_counters(counters: &DbCounters) -> String {
    let DbCounters { seq, docs, deleted, bytes, purges, blobs, blob_bytes } = counters;
    let purges = if *purges > 0 { format!(", {purges} purges") } else { String::new() };
    let blobs = if *blobs > 0 { format!(", {blobs} blobs of {blob_bytes} bytes") } else { String::new() };
    format!("seq {seq}, {docs} docs, {deleted} deleted, {bytes} bytes{purges}{blobs}")
}

fn show_indexes(known: &ShardIndexes) -> String {
    let defined: Vec<String> = known.defined.iter().map(|(ddoc, all)| format!("{ddoc} {}", all.len())).collect();
    let kept = known.kept.iter().map(|kept| {
        let upto = kept.upto.as_ref().map_or("nothing", |id| id.as_str());
        let state = if kept.complete { "whole".to_owned() } else { format!("up to {upto}") };
        format!("{} {}/{} {state}", kept.number, kept.index.ddoc, kept.index.definition.name)
    });
    let kept: Vec<String> = kept.collect();
    let gone = if known.gone.is_empty() { String::new() } else { format!(", gone {:?}", known.gone) };
    format!("version {}, defined [{}], kept [{}]{gone}", known.version, defined.join(", "), kept.join(", "))
}

/// `validators SHARD:CHANGE:DDOC[,DDOC] …`
fn others(line: &str) -> Vec<(ShardId, Defined)> {
    let one = |word: &str| {
        let parts: Vec<&str> = word.split(':').collect();
        let number = |text: &str| text.parse().expect("a number");
        let ddocs = parts[2].split(',').filter(|ddoc| !ddoc.is_empty());
        let validators = ddocs.map(|ddoc| Validator { ddoc: ddoc.into(), digest: digest_of(ddoc.as_bytes()) });
        (ShardId(number(parts[0])), Defined { change: number(parts[1]).into(), validators: validators.collect() })
    };
    line.split(' ').skip(1).map(one).collect()
}

fn show_validators(known: &ShardValidators) -> String {
    let show = |defined: &Defined| {
        let ddocs: Vec<&str> = defined.validators.iter().map(|one| &*one.ddoc).collect();
        format!("{}: [{}]", defined.change, ddocs.join(", "))
    };
    let others: String =
        known.others.iter().map(|(shard, defined)| format!(", shard {shard} {}", show(defined))).collect();
    format!("own {}{others}", show(&known.own))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
