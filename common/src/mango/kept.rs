//! Indexes as shards keep them: which entries a document has, and how far an index is made.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::bounds::entry_key;
use super::document::{Document, Reader};
use super::index::Definition;
use super::path::{Found, Path};
use super::selector::{Selector, Subject};
use super::value::Value;
use crate::ids::DocId;

/// An index that a shard keeps, or is to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Id of the design document.
    pub ddoc: Box<str>,
    /// The definition.
    pub definition: Definition,
    /// Whether its keys begin with the documents' partitions.
    pub by_partition: bool,
    /// [`super::key::VERSION`] of its keys.
    pub keys: u32,
}

/// What a shard knows of the indexes of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardIndexes {
    /// Changes whenever an index is defined here, kept or forgotten, and when one is complete.
    pub version: u64,
    /// What the design documents that live on this shard define, by their ids.
    pub defined: Vec<(Box<str>, Vec<Definition>)>,
    /// The indexes this shard keeps.
    pub kept: Vec<KeptHere>,
    /// Numbers of indexes that are kept no longer and have entries left.
    pub gone: Vec<u32>,
    /// The number of the next index.
    pub next: u32,
}

/// An index on one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptHere {
    /// Its number on this shard, never used again.
    pub number: u32,
    /// The index.
    pub index: Kept,
    /// How far it is made: up to this document.
    pub upto: Option<DocId>,
    /// Documents passed on the way.
    pub passed: u64,
    /// Whether every document is in it.
    pub complete: bool,
}

impl ShardIndexes {
    /// Whether there is something left to do: an index to be made, or entries to be cleared away.
    pub fn is_unfinished(&self) -> bool {
        !self.gone.is_empty() || self.kept.iter().any(|kept| !kept.complete)
    }

    /// Notes what a design document defines from now on; whether that is new.
    pub fn define(&mut self, ddoc: &str, definitions: Vec<Definition>) -> bool {
        let at = self.defined.binary_search_by(|(known, _)| (**known).cmp(ddoc));
        match at {
            Ok(at) if self.defined[at].1 == definitions => return false,
            Ok(at) if definitions.is_empty() => drop(self.defined.remove(at)),
            Ok(at) => self.defined[at].1 = definitions,
            Err(_) if definitions.is_empty() => return false,
            Err(at) => self.defined.insert(at, (ddoc.into(), definitions)),
        }
        self.version += 1;
        true
    }

    /// Keeps these indexes and no others; `empty` says that the database has no documents here. Whether that is new.
    pub fn adopt(&mut self, wanted: &[Kept], empty: bool) -> bool {
        let before = (self.kept.len(), self.next);
        for kept in self.kept.extract_if(.., |kept| !wanted.contains(&kept.index)) {
            self.gone.push(kept.number);
        }
        let lost = self.kept.len() < before.0;
        for index in wanted {
            if self.kept.iter().all(|kept| kept.index != *index) {
                let number = self.next;
                self.next += 1;
                let index = index.clone();
                self.kept.push(KeptHere { number, index, upto: None, passed: 0, complete: empty });
            }
        }
        let changed = lost || self.next > before.1;
        self.version += u64::from(changed);
        changed
    }
}

/// Makes the keys of documents in some indexes.
pub struct Writer {
    reader: Reader,
    indexes: Vec<Columns>,
}

struct Columns {
    number: u32,
    paths: Vec<Path>,
    partial: Option<Selector>,
    by_partition: bool,
}

impl Writer {
    /// For all `kept`.
    pub fn new<'k>(kept: impl IntoIterator<Item = &'k KeptHere>) -> Self {
        let indexes: Vec<Columns> = kept.into_iter().map(Columns::of).collect();
        let roots = indexes.iter().flat_map(|index| {
            let columns = index.paths.iter().map(|path| Box::from(path.root()));
            columns.chain(index.partial.iter().flat_map(Selector::roots))
        });
        Self { reader: Reader::new(roots.collect::<Vec<_>>()), indexes }
    }

    /// Whether there is no index.
    pub fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// The number of each index that the document is in, and its key there. `json` is its winner's text.
    pub fn keys(&self, id: &DocId, rev: &crate::rev::Rev, json: &[u8]) -> Vec<(u32, Vec<u8>)> {
        if self.indexes.is_empty() || id.is_design() {
            return Vec::new();
        }
        let document = self.reader.open(id.as_str(), rev, json);
        self.indexes.iter().filter_map(|index| Some((index.number, index.key(id, &document)?))).collect()
    }
}

impl Columns {
    fn of(kept: &KeptHere) -> Self {
        let definition = &kept.index.definition;
        Self {
            number: kept.number,
            // A name that cannot be read was never let in as a definition.
            paths: definition.columns().filter_map(|name| Path::parse(name).ok()).collect(),
            partial: definition.partial_selector(),
            by_partition: kept.index.by_partition,
        }
    }

    /// `None` if the document is not in the index: it has not all the fields, or is not what the index is of.
    fn key(&self, id: &DocId, document: &Document<'_>) -> Option<Vec<u8>> {
        let value = |path: &Path| match document.find(path) {
            Found::Value(value) => Some(Cow::Owned(value.clone())),
            Found::Missing | Found::NoWay => None,
        };
        let columns: Vec<Cow<'_, Value<'_>>> = self.paths.iter().map(value).collect::<Option<_>>()?;
        if self.partial.as_ref().is_some_and(|partial| !partial.matches(document)) {
            return None;
        }
        let partition = match self.by_partition {
            true => Some(id.as_str().split_once(':')?.0),
            false => None,
        };
        Some(entry_key(partition, columns.iter().map(|column| &**column)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::of_ddoc;
    use super::super::key;
    use super::*;
    use crate::rev::Rev;

    fn kept(ddoc: &str, body: &str) -> Vec<Kept> {
        let kept = |definition| Kept { ddoc: ddoc.into(), definition, by_partition: false, keys: key::VERSION };
        of_ddoc(body.as_bytes()).into_iter().map(kept).collect()
    }

    const ONE: &str = r#"{"language":"query","views":{"n":{"map":{"fields":{"n":"asc"}},"options":{}}}}"#;
    const TWO: &str = r#"{"language":"query","views":{"nm":{"map":{"fields":{"n":"asc","m":"asc"},
        "partial_filter_selector":{"x":{"$gt":1}}},"options":{}}}}"#;

    #[test]
    fn a_shard_keeps_what_it_is_told_and_numbers_are_not_used_again() {
        let mut shard = ShardIndexes::default();
        let (one, two) = (kept("_design/a", ONE), kept("_design/b", TWO));
        assert!(shard.adopt(&one, false) && !shard.adopt(&one, true));
        assert!(shard.adopt(&[one.clone(), two.clone()].concat(), true));
        assert_eq!(
            shard.kept.iter().map(|kept| (kept.number, kept.complete)).collect::<Vec<_>>(),
            [(0, false), (1, true)]
        );
        assert!(shard.adopt(&two, false));
        assert!(shard.adopt(&[two, one].concat(), false));
        assert_eq!((shard.gone.clone(), shard.next, shard.version), (vec![0], 3, 4));
        assert!(shard.is_unfinished());
    }

    #[test]
    fn what_design_documents_define_is_known() {
        let mut shard = ShardIndexes::default();
        assert!(!shard.define("_design/a", Vec::new()));
        assert!(shard.define("_design/a", of_ddoc(ONE.as_bytes())));
        assert!(!shard.define("_design/a", of_ddoc(ONE.as_bytes())));
        assert!(shard.define("_design/a", of_ddoc(TWO.as_bytes())));
        assert!(shard.define("_design/a", Vec::new()));
        assert_eq!((shard.version, shard.defined), (3, Vec::new()));
    }

    #[test]
    fn a_document_is_in_an_index_if_it_has_all_its_fields_and_is_of_its_kind() {
        let mut shard = ShardIndexes::default();
        shard.adopt(&[kept("_design/a", ONE), kept("_design/b", TWO)].concat(), false);
        let writer = Writer::new(&shard.kept);
        let rev = Rev::parse("1-a").expect("valid");
        let numbers = |id: &str, json: &str| {
            let id = DocId::parse(id).expect("valid");
            writer.keys(&id, &rev, json.as_bytes()).into_iter().map(|(number, _)| number).collect::<Vec<_>>()
        };
        assert_eq!(numbers("a", r#"{"n":1,"m":null,"x":2}"#), [0, 1]);
        assert_eq!(numbers("a", r#"{"n":1,"m":null,"x":0}"#), [0]);
        assert_eq!(numbers("a", r#"{"n":1,"x":2}"#), [0]);
        assert!(numbers("a", r#"{"m":1,"x":2}"#).is_empty());
        assert!(numbers("_design/a", r#"{"n":1}"#).is_empty());
    }
}
