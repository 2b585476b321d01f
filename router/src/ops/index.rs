//! Puts indexes into design documents and takes them out.

use bytes::Bytes;
use common::attachment::Attachment;
use common::command::EditKind;
use common::document::{self, ParseLimits};
use common::ids::{DbName, DocId, RequestId};
use common::mango::Value;
use common::mango::ddoc::{self, Checked};
use common::mango::index::of_ddoc;
use common::query::{Consistency, RevBody, Revs};
use uuid::Uuid;

use super::get::Wanted;
use super::validation::Author;
use super::write::{Change, Write};
use super::{Error, Ops};

/// How often an edit is tried again when somebody else edited the design document meanwhile.
const EDITS_MAX: u32 = 5;

impl Ops {
    /// Adds an index, and has the shards keep it; whether it is new.
    pub async fn create_index(&self, db: &DbName, checked: &Checked<'_>, limits: ParseLimits) -> Result<bool, Error> {
        let id = DocId::parse(&checked.ddoc)?;
        let mut edits = 0;
        let created = loop {
            let old = self.live_ddoc(db, &id).await?;
            let body = old.as_ref().map(|old| parsed(&old.json)).transpose()?;
            let Some(added) = ddoc::add(checked, body.as_ref())? else { break false };
            let text = Bytes::from(added.to_json());
            let body = document::parse(text, limits)?.body;
            let attachments = old.iter().flat_map(|old| &old.attachments).map(Attachment::stub).collect();
            let change = Change::Edit { parent: old.map(|old| old.rev), kind: EditKind::Update, body, attachments };
            match self.write(db, &id, edit(change)).await {
                Ok(_) => break true,
                Err(Error::Conflict) if edits < EDITS_MAX => edits += 1,
                Err(error) => return Err(error),
            }
        };
        self.settle(db).await?;
        Ok(created)
    }

    /// Takes an index out; [`Error::Missing`] if it is not there.
    pub async fn delete_index(&self, db: &DbName, id: &DocId, name: Option<&str>) -> Result<(), Error> {
        let mut edits = 0;
        loop {
            let old = self.live_ddoc(db, id).await?.ok_or(Error::Missing)?;
            let defined = of_ddoc(&old.json);
            if defined.iter().all(|index| name.is_some_and(|name| *index.name != *name)) {
                return Err(Error::Missing);
            }
            let body = parsed(&old.json)?;
            let left = name.and_then(|name| ddoc::remove(name, &body));
            let kind = if left.is_some() { EditKind::Update } else { EditKind::Delete };
            let text = left.map_or_else(|| "{}".to_owned(), |left| left.to_json());
            // What is left was let in before.
            let body = document::parse(Bytes::from(text), ParseLimits { depth_max: usize::MAX })?.body;
            let kept = old.attachments.iter().filter(|_| !kind.deletes());
            let attachments = kept.map(Attachment::stub).collect();
            let change = Change::Edit { parent: Some(old.rev), kind, body, attachments };
            match self.write(db, id, edit(change)).await {
                Ok(_) => break,
                Err(Error::Conflict) if edits < EDITS_MAX => edits += 1,
                Err(error) => return Err(error),
            }
        }
        self.settle(db).await
    }

    async fn settle(&self, db: &DbName) -> Result<(), Error> {
        let db = self.db(db).await?;
        self.indexes_now(&db, Consistency::Linearizable).await?.ok_or(Error::NoDatabase)?;
        Ok(())
    }

    async fn live_ddoc(&self, db: &DbName, id: &DocId) -> Result<Option<RevBody>, Error> {
        let wanted = Wanted { revs: Revs::Winner, tree: false };
        let (doc, _) = self.get(db, id, &wanted, Consistency::Linearizable).await?;
        Ok(doc.and_then(|doc| doc.found.into_iter().next()).filter(|found| !found.deleted))
    }
}

/// An edit of a design document, which is put to no functions: it does not matter whose it is.
fn edit(change: Change) -> Write {
    Write { request: RequestId(Uuid::new_v4()), change, author: Author::Restore }
}

fn parsed(json: &Bytes) -> Result<Value<'_>, Error> {
    Value::parse(json).map_err(|_| Error::Mango(common::mango::Error::Json))
}
