//! Attachments on their way in: what a document says of them becomes what its write names, and the bytes it brings
//! along are at its shard before.

use bytes::Bytes;
use common::attachment::{Attachment, Encoding, Sent};
use common::document::{self, Form, Given, Parsed};
use common::ids::{DbName, DocId};
use common::query::Consistency;
use futures::StreamExt;

use super::parts::Parts;
use crate::http::access::USERS;
use crate::http::call::Call;
use crate::http::error::Error;
use crate::ops::download::Blob;
use crate::ops::upload::{Allowance, Label, Upload};

/// Takes what a document says of its attachments out of it, and brings their bytes to its shard. `parts` are those
/// behind the document, if it came with any.
pub(crate) async fn taken(
    call: &Call,
    db: &DbName,
    id: &DocId,
    parsed: &mut Parsed,
    mut parts: Option<&mut Parts>,
) -> Result<Vec<Sent>, Error> {
    let Some(text) = parsed.attachments.take() else { return Ok(Vec::new()) };
    let given = document::parse_attachments(&text)?;
    if given.is_empty() {
        return Ok(Vec::new());
    }
    allowed(db, id)?;
    // Of one made elsewhere that does not say since when it has been there: since this revision.
    let generation = parsed.path().and_then(|path| path.first().map(|rev| rev.generation)).unwrap_or(0);
    let mut left = Allowance::default();
    let mut sent = Vec::with_capacity(given.len());
    let mut follow = Vec::new();
    for given in given {
        let place = sent.len();
        let Given { name, content_type, revpos, form } = given;
        let label = Label {
            name,
            content_type,
            revpos: revpos.unwrap_or(generation),
            encoding: Encoding::Identity,
            length: None,
        };
        match form {
            Form::Stub => sent.push(Some(Sent::Stub { name: label.name, revpos })),
            Form::Data(bytes) => sent.push(Some(carried(call, db, id, label, bytes, &mut left).await?)),
            Form::Follows(follows) => {
                let label = Label { encoding: follows.encoding, length: follows.length, ..label };
                follow.push((place, label, follows));
                sent.push(None);
            }
        }
    }
    // The parts come in the order of the document unless they say whose they are.
    while !follow.is_empty() {
        let missing = || Error::bad("attachment shorter than expected");
        let parts = parts.as_deref_mut().ok_or_else(missing)?;
        let head = parts.next().await?.ok_or_else(missing)?;
        let named = head.name.and_then(|name| follow.iter().position(|(_, label, _)| *label.name == *name));
        let (place, label, follows) = follow.remove(named.unwrap_or(0));
        let mut upload = begin(call, db, id, label, left).await?;
        while let Some(bytes) = parts.chunk().await? {
            upload.push(bytes).await?;
        }
        let attachment = upload.finish(&mut left).await?;
        check(&attachment, follows.stored_bytes, follows.md5)?;
        sent[place] = Some(attachment);
    }
    Ok(sent.into_iter().flatten().collect())
}

/// Brings the attachments of one document of a database to the shard of another one.
pub(crate) async fn copied(
    call: &Call,
    db: &DbName,
    (from, to): (&DocId, &DocId),
    attachments: &[Attachment],
) -> Result<Vec<Sent>, Error> {
    if attachments.is_empty() {
        return Ok(Vec::new());
    }
    allowed(db, to)?;
    let ops = &call.app.ops;
    let entry = ops.db(db).await?;
    let (mut left, mut sent) = (Allowance::default(), Vec::with_capacity(attachments.len()));
    for attachment in attachments {
        let Attachment { name, content_type, content, .. } = attachment.clone();
        let (encoding, length) = (content.encoding, Some(content.length));
        let label = Label { name, content_type, revpos: 0, encoding, length };
        let consistency = Consistency::Linearizable;
        let blob = Blob { shard: ops.shard_of_doc(&entry, from), db: entry.uid, content, consistency };
        let mut bytes = ops.bytes_of(&blob, 0, blob.content.stored_bytes);
        let mut upload = begin(call, db, to, label, left).await?;
        while let Some(piece) = bytes.next().await {
            upload.push(piece?).await?;
        }
        sent.push(upload.finish(&mut left).await?);
    }
    Ok(sent)
}

/// Whether documents of that id may have attachments.
pub(crate) fn allowed(db: &DbName, id: &DocId) -> Result<(), Error> {
    if id.is_local() {
        return Err(Error::bad("_local documents do not accept attachments."));
    }
    // Whoever may read a user's name would be served what that user put there.
    if db.as_str() == USERS { Err(Error::bad("Users do not have attachments.")) } else { Ok(()) }
}

/// Begins to bring in one attachment.
pub(crate) async fn begin(
    call: &Call,
    db: &DbName,
    id: &DocId,
    label: Label,
    left: Allowance,
) -> Result<Upload, Error> {
    let bytes_max = call.app.config.limits.attachment_bytes_max;
    Ok(call.app.ops.upload(db, id, label, bytes_max, left).await?)
}

async fn carried(
    call: &Call,
    db: &DbName,
    id: &DocId,
    label: Label,
    bytes: Bytes,
    left: &mut Allowance,
) -> Result<Sent, Error> {
    let mut upload = begin(call, db, id, label, *left).await?;
    upload.push(bytes).await?;
    Ok(upload.finish(left).await?)
}

/// Whether what came is what was announced.
pub(crate) fn check(sent: &Sent, bytes: Option<u64>, md5: Option<[u8; 16]>) -> Result<(), Error> {
    let Sent::New { attachment, .. } = sent else { return Ok(()) };
    let content = &attachment.content;
    match bytes {
        Some(bytes) if content.stored_bytes < bytes => return Err(Error::bad("attachment shorter than expected")),
        Some(bytes) if content.stored_bytes > bytes => return Err(Error::bad("attachment longer than expected")),
        _ => {}
    }
    if md5.is_some_and(|md5| md5 != content.md5) { Err(Error::Digest) } else { Ok(()) }
}
