//! A client that edits while it is offline: a small model of PouchDB, with revision trees of its own, that pushes and
//! pulls with checkpoints when it is online again.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use super::compare::Documents;
use super::writer::attach;
use super::{Acknowledged, Stubborn};
use crate::Result;

/// Changes in one step of a synchronisation.
const BATCH: usize = 50;
/// Members that are not part of a document's body.
const OURS: [&str; 4] = ["_id", "_rev", "_revisions", "_deleted"];

/// A revision.
#[derive(Debug, Clone)]
struct Node {
    parent: Option<String>,
    deleted: bool,
    /// Known of leaves; of ancestors only their names are.
    body: Map<String, Value>,
}

/// The client.
#[derive(Debug)]
pub struct Offline {
    name: String,
    at: Stubborn,
    random: StdRng,
    attachments: bool,
    docs: BTreeMap<String, BTreeMap<String, Node>>,
    /// Ids in the order of their changes: the client's own feed.
    feed: Vec<String>,
    /// How much of it was pushed, and how far the server's was pulled; what the server says of the same counts.
    pushed: usize,
    pulled: Value,
    /// Edits made here.
    pub edits: usize,
    /// Revisions that the server has acknowledged.
    pub acknowledged: Acknowledged,
}

impl Offline {
    /// A client without documents.
    pub fn new(name: &str, at: Stubborn, attachments: bool, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            at,
            random: StdRng::seed_from_u64(seed),
            attachments,
            docs: BTreeMap::new(),
            feed: Vec::new(),
            pushed: 0,
            pulled: json!(0),
            edits: 0,
            acknowledged: Vec::new(),
        }
    }

    /// Makes or changes a document, or deletes one, here alone.
    pub fn edit(&mut self, documents: usize) {
        let id = format!("d{:03}", self.random.random_range(0..documents));
        let winner = self.docs.get(&id).and_then(winner);
        let before = winner.as_ref().and_then(|rev| self.docs[&id].get(rev).map(|node| (rev.clone(), node.clone())));
        let generation = before.as_ref().map_or(0, |(rev, _)| generation(rev)) + 1;
        let rev = format!("{generation}-{:032x}", self.random.random::<u128>());
        let mut body = match &before {
            Some((_, node)) if !node.deleted => node.body.clone(),
            _ => Map::new(),
        };
        body.insert("by".to_owned(), json!(self.name));
        body.insert("number".to_owned(), json!(self.edits));
        let deleted = before.is_some() && self.random.random_range(0..15) == 0;
        if deleted {
            body.remove("_attachments");
        } else if self.attachments && self.random.random_range(0..4) == 0 {
            let mut doc = Value::Object(body);
            attach(&mut doc, &mut self.random);
            body = doc.as_object().cloned().unwrap_or_default();
        }
        let parent = before.map(|(rev, _)| rev);
        self.docs.entry(id.clone()).or_default().insert(rev, Node { parent, deleted, body });
        self.feed.push(id);
        self.edits += 1;
    }

    /// Sends what was edited and takes what is new; whether there was anything.
    pub async fn sync(&mut self) -> Result<bool> {
        let pushed = self.push().await?;
        Ok(self.pull().await? || pushed)
    }

    async fn push(&mut self) -> Result<bool> {
        let noted = self.noted("push").await?.as_u64().and_then(|at| usize::try_from(at).ok());
        self.pushed = self.pushed.min(noted.unwrap_or(0));
        let mut anything = false;
        while self.pushed < self.feed.len() {
            let upto = (self.pushed + BATCH).min(self.feed.len());
            let ids: BTreeSet<String> = self.feed[self.pushed..upto].iter().cloned().collect();
            let leaves: BTreeMap<&String, Vec<String>> = ids.iter().map(|id| (id, leaves(&self.docs[id]))).collect();
            let diff = self.at.post("/_revs_diff", &json!(leaves)).await?;
            let mut docs = Vec::new();
            let mut sent = Vec::new();
            for (id, missing) in diff.as_object().into_iter().flatten() {
                for rev in missing["missing"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    docs.push(self.shown(id, rev));
                    sent.push((id.clone(), rev.to_owned()));
                }
            }
            if !docs.is_empty() {
                let rows = self.at.post("/_bulk_docs", &json!({ "new_edits": false, "docs": docs })).await?;
                if rows.as_array().is_none_or(|rows| !rows.is_empty()) {
                    return Err(format!("{}: not everything was taken: {rows}", self.name).into());
                }
                self.acknowledged.extend(sent);
                anything = true;
            }
            self.pushed = upto;
            self.note("push", &json!(upto)).await?;
        }
        Ok(anything)
    }

    async fn pull(&mut self) -> Result<bool> {
        if self.noted("pull").await? != self.pulled {
            self.pulled = json!(0);
        }
        let mut anything = false;
        loop {
            let since = self.pulled.as_str().map_or_else(|| self.pulled.to_string(), str::to_owned);
            let page = self.at.get(&format!("/_changes?style=all_docs&limit={BATCH}&since={since}")).await?;
            let rows = page["results"].as_array().ok_or("no rows")?;
            let mut wanted = Vec::new();
            for row in rows {
                let id = row["id"].as_str().unwrap_or_default();
                for leaf in row["changes"].as_array().into_iter().flatten().filter_map(|leaf| leaf["rev"].as_str()) {
                    if self.docs.get(id).is_none_or(|revs| !revs.contains_key(leaf)) {
                        wanted.push(json!({ "id": id, "rev": leaf }));
                    }
                }
            }
            if !wanted.is_empty() {
                let path = "/_bulk_get?revs=true&latest=true&attachments=true";
                let got = self.at.post(path, &json!({ "docs": wanted })).await?;
                let groups = got["results"].as_array().ok_or("no results")?;
                for doc in groups.iter().flat_map(|group| group["docs"].as_array()).flatten() {
                    self.graft(doc.get("ok").ok_or_else(|| format!("a leaf cannot be read: {doc}"))?)?;
                }
                anything = true;
            }
            let done = rows.len() < BATCH;
            if self.pulled != page["last_seq"] {
                self.pulled = page["last_seq"].clone();
                let pulled = self.pulled.clone();
                self.note("pull", &pulled).await?;
            }
            if done {
                return Ok(anything);
            }
        }
    }

    async fn noted(&self, what: &str) -> Result<Value> {
        let reply = self.at.ask(Method::GET, &format!("/_local/{}-{what}", self.name), None).await?;
        match reply.status.as_u16() {
            200 => Ok(reply.json()["at"].clone()),
            404 => Ok(json!(0)),
            _ => Err(format!("a checkpoint: {} {}", reply.status, reply.text()).into()),
        }
    }

    async fn note(&self, what: &str, at: &Value) -> Result<()> {
        let path = format!("/_local/{}-{what}", self.name);
        self.at.ask(Method::PUT, &path, Some(&json!({ "at": at }))).await?.expect(201).map(drop)
    }

    /// Takes in a revision with its ancestors.
    fn graft(&mut self, doc: &Value) -> Result<()> {
        let id = doc["_id"].as_str().ok_or("no id")?;
        let start = doc["_revisions"]["start"].as_u64().ok_or("no revisions")?;
        let hashes = doc["_revisions"]["ids"].as_array().ok_or("no revisions")?;
        let path: Vec<String> = (0..)
            .zip(hashes)
            .map(|(at, hash)| format!("{}-{}", start - at, hash.as_str().unwrap_or_default()))
            .collect();
        let tree = self.docs.entry(id.to_owned()).or_default();
        for (at, rev) in path.iter().enumerate() {
            let parent = path.get(at + 1).cloned();
            let node =
                tree.entry(rev.clone()).or_insert_with(|| Node { parent: None, deleted: false, body: Map::new() });
            node.parent = node.parent.take().or(parent);
        }
        let mut body = doc.as_object().cloned().unwrap_or_default();
        OURS.iter().for_each(|name| drop(body.remove(*name)));
        let newest = tree.get_mut(&path[0]).ok_or("no revisions")?;
        (newest.body, newest.deleted) = (body, doc["_deleted"] == json!(true));
        // What comes from the server is pushed back to nobody.
        Ok(())
    }

    /// A revision as it is sent.
    fn shown(&self, id: &str, rev: &str) -> Value {
        let tree = &self.docs[id];
        let mut path = vec![rev.to_owned()];
        while let Some(parent) = tree.get(path.last().expect("one at least")).and_then(|node| node.parent.clone()) {
            path.push(parent);
        }
        let hashes: Vec<&str> = path.iter().map(|rev| rev.split_once('-').map_or("", |(_, hash)| hash)).collect();
        let node = &tree[rev];
        let mut doc = node.body.clone();
        doc.insert("_id".to_owned(), json!(id));
        doc.insert("_rev".to_owned(), json!(rev));
        doc.insert("_revisions".to_owned(), json!({ "start": generation(rev), "ids": hashes }));
        if node.deleted {
            doc.insert("_deleted".to_owned(), json!(true));
        }
        Value::Object(doc)
    }

    /// Everything it has.
    pub fn documents(&self) -> Documents {
        let shown = |id: &String, tree: &BTreeMap<String, Node>| {
            leaves(tree).into_iter().map(|rev| (rev.clone(), self.shown(id, &rev))).collect()
        };
        self.docs.iter().map(|(id, tree)| (id.clone(), shown(id, tree))).collect()
    }
}

fn generation(rev: &str) -> u64 {
    rev.split_once('-').and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
}

fn leaves(tree: &BTreeMap<String, Node>) -> Vec<String> {
    let parents: BTreeSet<&String> = tree.values().filter_map(|node| node.parent.as_ref()).collect();
    tree.keys().filter(|rev| !parents.contains(rev)).cloned().collect()
}

/// Not deleted, then the longest history, then the highest hash.
fn winner(tree: &BTreeMap<String, Node>) -> Option<String> {
    leaves(tree).into_iter().max_by_key(|rev| {
        let hash = rev.split_once('-').map(|(_, hash)| hash.to_owned());
        (!tree[rev].deleted, generation(rev), hash)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[test]
    fn edits_continue_the_winner_and_grafts_make_conflicts() {
        let mut client = Offline::new("c", Stubborn::new(&[Client::new("127.0.0.1:1")], "db"), false, 7);
        client.edit(1);
        let first = winner(&client.docs["d000"]).expect("there");
        client.edit(1);
        let second = winner(&client.docs["d000"]).expect("there");
        assert_eq!((generation(&first), generation(&second)), (1, 2));
        let hash = first.split_once('-').expect("a revision").1;
        let other = json!({ "_id": "d000", "_rev": "2-zz", "_revisions": { "start": 2, "ids": ["zz", hash] }, "n": 1 });
        client.graft(&other).expect("a revision");
        assert_eq!(leaves(&client.docs["d000"]).len(), 2);
        assert_eq!(client.shown("d000", "2-zz"), other);
        assert_eq!(winner(&client.docs["d000"]).as_deref(), Some("2-zz"));
        assert_eq!(client.documents()["d000"].len(), 2);
    }
}
