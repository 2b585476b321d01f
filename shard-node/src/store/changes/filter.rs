//! Puts the documents of a stream of changes to a selector.

use common::change::{Change, ChangesRequest};
use common::ids::DbUid;
use common::mango::{Reader, Selector};
use common::query::{RevBody, Revs};
use common::rev::Rev;

use crate::storage::{Error, Read};
use crate::store::read;
use crate::store::record::DocRecord;

/// The selector of a request, ready to be used.
#[derive(Debug)]
pub struct Filter {
    selector: Selector,
    documents: Reader,
    /// Whether all leaves are put to it, and not only winners.
    all_leaves: bool,
}

/// What came of it.
pub(super) struct Put {
    /// The leaves that match, in the order of the row.
    pub(super) matching: Vec<Rev>,
    /// Bytes of the bodies it took.
    pub(super) looked_at: usize,
}

impl Filter {
    /// The filter of a request, if it has a selector; why that cannot be read, if it cannot.
    pub fn of(request: &ChangesRequest) -> Result<Option<Self>, String> {
        let Some(text) = request.selector.as_deref() else { return Ok(None) };
        let selector = Selector::parse_normal(text.as_bytes())
            .map_err(|error| format!("it cannot read this selector; its node runs another version: {error}"))?;
        let documents = Reader::new(selector.roots());
        Ok(Some(Self { selector, documents, all_leaves: request.all_leaves }))
    }

    /// Puts the document of a row to it; `record` is of the same moment as the row. `None` if the document has moved on
    /// since.
    pub(super) fn put(
        &self,
        reader: &dyn Read,
        db: DbUid,
        change: &Change,
        record: &DocRecord,
    ) -> Result<Option<Put>, Error> {
        if !self.all_leaves || record.single {
            let (rev, json) = (record.winner.clone(), record.json.clone());
            let winner = RevBody { rev, deleted: record.deleted, json, attachments: Vec::new() };
            return Ok(Some(self.among(change, &[winner])));
        }
        let answer = read::document(reader, db, &change.id, &Revs::Leaves, false)?;
        Ok(answer.filter(|doc| doc.seq == change.seq).map(|doc| self.among(change, &doc.found)))
    }

    fn among(&self, change: &Change, leaves: &[RevBody]) -> Put {
        let matching = leaves.iter().filter(|leaf| {
            let mut document = self.documents.open(change.id.as_str(), &leaf.rev, &leaf.json);
            if leaf.deleted {
                document.add_deleted();
            }
            self.selector.matches(&document)
        });
        let matching = matching.map(|leaf| leaf.rev.clone()).collect();
        Put { matching, looked_at: leaves.iter().map(|leaf| leaf.json.len()).sum() }
    }
}
