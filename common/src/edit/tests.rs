//! The rules as scripts (`scripts/*.txt`), rewritten by running the tests with `UPDATE=1`.
//!
//! A script is blocks of commands, `---`, and what they gave; the document lives from the first block to the last.
//! Revisions may be shortened to their first characters; `#n` names the request, else each command is a new one;
//! `#n*` is a retry of it.
//! A tree is shown leaf by leaf, the winner first; `!` marks a deletion, parentheses a body that is not there.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use md5::{Digest, Md5};

use super::*;
use crate::command::{Address, Body};
use crate::ids::{DbUid, DocId, Slot};

struct Script {
    tree: Option<RevTree>,
    limit: u32,
    requests: u128,
}

#[test]
fn an_edit_extends_a_leaf_or_conflicts() {
    run("edits");
}

#[test]
fn a_tombstone_may_be_the_first_revision() {
    run("tombstones");
}

#[test]
fn a_request_takes_effect_once() {
    run("retries");
}

#[test]
fn a_graft_joins_what_is_known() {
    run("grafts");
}

#[test]
fn old_ancestors_are_forgotten() {
    run("stemming");
}

#[test]
fn an_edit_on_the_highest_generation_conflicts() {
    let top = Rev { generation: u64::MAX, hash: RevHash::new("a") };
    let mut script = Script { tree: None, limit: 1000, requests: 0 };
    let graft = script.graft(vec![top.clone()], false);
    script.apply(decide_graft(None, first(1), &graft));
    let edit = script.edit(Some(top), EditKind::Update, "x");
    assert_eq!(decide(script.tree.as_ref(), first(2), &edit), Decision::Conflict);
}

#[test]
fn a_graft_without_a_path_or_with_a_torn_one_harms_nothing() {
    let script = Script { tree: None, limit: 1000, requests: 0 };
    assert_eq!(decide_graft(None, first(1), &script.graft(vec![], false)), Decision::Conflict);
    let rev = |text| Rev::parse(text).expect("valid");
    let torn = script.graft(vec![rev("5-e"), rev("4-d"), rev("4-d"), rev("9-x")], false);
    let Decision::Write { tree, .. } = decide_graft(None, first(1), &torn) else { panic!("a graft is never refused") };
    assert_eq!(tree.path(&rev("5-e")), [rev("5-e"), rev("4-d")]);
}

fn run(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/edit/scripts").join(name).with_extension("txt");
    let wanted = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut script = Script { tree: None, limit: 1000, requests: 0 };
    let given = wanted.trim_end().split("\n\n").map(|block| script.block(block)).collect::<Vec<_>>().join("\n");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, given).expect("writable");
    } else {
        assert_eq!(given, wanted, "{} (UPDATE=1 rewrites it)", path.display());
    }
}

/// The first try of a request.
fn first(n: u128) -> Asker {
    Asker { request: RequestId(uuid::Uuid::from_u128(n)), retry: false }
}

impl Script {
    fn block(&mut self, block: &str) -> String {
        let (commands, _) = block.split_once("---").unwrap_or((block, ""));
        let mut out = format!("{}\n---\n", commands.trim_end());
        for command in commands.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            let told = self.command(command);
            writeln!(out, "{told}").expect("a string takes it");
        }
        self.show(&mut out);
        out
    }

    fn command(&mut self, line: &str) -> String {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        self.requests += 1;
        let mut id = first(self.requests);
        if let Some(named) = words.last().and_then(|word| word.strip_prefix('#')) {
            id = first(1000 + named.trim_end_matches('*').parse::<u128>().expect("#n"));
            id.retry = named.ends_with('*');
            words.pop();
        }
        let tree = self.tree.as_ref();
        let decision = match words[..] {
            ["limit", limit] => {
                self.limit = limit.parse().expect("limit n");
                return format!("limit {limit}");
            }
            ["put", body] => decide(tree, id, &self.edit(None, EditKind::Update, body)),
            ["put", body, "on", parent] => {
                decide(tree, id, &self.edit(Some(self.find(parent)), EditKind::Update, body))
            }
            ["puts", count] => {
                let count: u32 = count.parse().expect("puts n");
                for n in 0..count {
                    self.requests += 1;
                    let parent = self.tree.as_ref().and_then(RevTree::winner).map(|winner| winner.rev.clone());
                    let edit = self.edit(parent, EditKind::Update, &n.to_string());
                    let decision = decide(self.tree.as_ref(), first(self.requests), &edit);
                    self.apply(decision);
                }
                return format!("wrote {count} times");
            }
            ["delete"] => decide(tree, id, &self.edit(None, EditKind::Delete, "")),
            ["delete", parent] => decide(tree, id, &self.edit(Some(self.find(parent)), EditKind::Delete, "")),
            ["tombstone"] => decide(tree, id, &self.edit(None, EditKind::Tombstone, "")),
            ["tombstone", parent] => decide(tree, id, &self.edit(Some(self.find(parent)), EditKind::Tombstone, "")),
            ["graft", ref path @ ..] => decide_graft(tree, id, &self.graft(self.find_all(path), false)),
            ["graft-deletion", ref path @ ..] => decide_graft(tree, id, &self.graft(self.find_all(path), true)),
            _ => panic!("what is {line:?}?"),
        };
        self.apply(decision)
    }

    fn apply(&mut self, decision: Decision) -> String {
        match decision {
            Decision::Write { tree, rev, dropped } => {
                self.tree = Some(tree);
                let dropped: Vec<_> = dropped.iter().map(short).collect();
                let tail = if dropped.is_empty() { String::new() } else { format!(", forgot {}", dropped.join(" ")) };
                format!("wrote {}{tail}", short(&rev))
            }
            Decision::Repeat { rev } => format!("repeat of {}", short(&rev)),
            Decision::Conflict => "conflict".to_owned(),
            Decision::Forgotten => "forgotten".to_owned(),
            Decision::NotFound { deleted: true } => "not found: deleted".to_owned(),
            Decision::NotFound { deleted: false } => "not found: missing".to_owned(),
        }
    }

    fn show(&self, out: &mut String) {
        let Some(tree) = &self.tree else { return };
        for leaf in tree.leaves() {
            let path: Vec<_> = tree.path(&leaf.rev).iter().map(|rev| show(tree.get(rev).expect("on a path"))).collect();
            writeln!(out, "  {}", path.join(" < ")).expect("a string takes it");
        }
    }

    fn find(&self, text: &str) -> Rev {
        let nodes = self.tree.iter().flat_map(RevTree::nodes);
        let known = nodes.map(|node| &node.rev).find(|rev| rev.to_string().starts_with(text));
        known.cloned().unwrap_or_else(|| Rev::parse(text).expect("a revision"))
    }

    fn find_all(&self, path: &[&str]) -> Vec<Rev> {
        path.iter().map(|text| self.find(text)).collect()
    }

    fn edit(&self, parent: Option<Rev>, kind: EditKind, text: &str) -> Edit {
        Edit { doc: address(), parent, kind, body: body(text), revs_limit: self.limit }
    }

    fn graft(&self, path: Vec<Rev>, deleted: bool) -> Graft {
        Graft { doc: address(), path, deleted, body: body(""), revs_limit: self.limit }
    }
}

fn address() -> Address {
    Address { db: DbUid::USERS, slot: Slot(0), id: DocId::parse("d").expect("valid") }
}

fn body(text: &str) -> Body {
    let json = format!("{{\"v\":\"{text}\"}}");
    Body { digest: Md5::digest(&json).into(), json: Bytes::from(json) }
}

fn show(node: &Node) -> String {
    let mark = if node.deleted { "!" } else { "" };
    let text = format!("{}{mark}", short(&node.rev));
    if node.stored { text } else { format!("({text})") }
}

/// `N-` and the first four characters of the hash.
fn short(rev: &Rev) -> String {
    let text = rev.to_string();
    let end = text.find('-').map_or(text.len(), |dash| dash + 5).min(text.len());
    text[..end].to_owned()
}
