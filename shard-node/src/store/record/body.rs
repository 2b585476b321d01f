//! The body of a revision: its JSON text and what is said of its attachments.

use bytes::Bytes;
use common::attachment::Attachment;

use super::{ATTACHED, Unknown, WRITABLE, behind, plain, split};

/// A body. Both parts are as they are stored, so that bodies change places without being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// JSON text of an object without `_`-members.
    pub json: Bytes,
    /// The attachments, encoded; empty if there are none.
    pub(super) attachments: Bytes,
}

impl Body {
    /// A body with these attachments.
    pub fn new(json: Bytes, attachments: &[Attachment]) -> Self {
        let attachments = if attachments.is_empty() { Bytes::new() } else { plain(&attachments).into() };
        Self { json, attachments }
    }

    /// A body without attachments.
    pub fn plain(json: Bytes) -> Self {
        Self { json, attachments: Bytes::new() }
    }

    /// Its attachments.
    pub fn attachments(&self) -> Result<Vec<Attachment>, Unknown> {
        attachments(&self.attachments)
    }

    /// Whether it has any.
    pub fn is_plain(&self) -> bool {
        self.attachments.is_empty()
    }

    /// Its bytes under a key of its own. Without attachments the JSON text alone, which begins with a brace.
    pub fn encode(&self) -> Bytes {
        if self.attachments.is_empty() {
            return self.json.clone();
        }
        let length = u32::try_from(self.attachments.len()).expect("a list is far below 4 GiB");
        let mut bytes = Vec::with_capacity(8 + self.attachments.len() + self.json.len());
        bytes.push(ATTACHED);
        let mut bytes = postcard::to_extend(&length, bytes).expect(WRITABLE);
        bytes.extend_from_slice(&self.attachments);
        bytes.extend_from_slice(&self.json);
        bytes.into()
    }

    /// Reads what [`Self::encode`] wrote; both parts stay slices of `value`.
    pub fn decode(value: &Bytes) -> Result<Self, Unknown> {
        if value.first() != Some(&ATTACHED) {
            return Ok(Self::plain(value.clone()));
        }
        let (length, rest) = behind(value, 1)?;
        let (attachments, json) = split(&rest, length)?;
        Ok(Self { json, attachments })
    }
}

/// Reads a list of attachments.
pub(super) fn attachments(encoded: &[u8]) -> Result<Vec<Attachment>, Unknown> {
    if encoded.is_empty() {
        return Ok(Vec::new());
    }
    match postcard::take_from_bytes(encoded) {
        Ok((attachments, [])) => Ok(attachments),
        _ => Err(Unknown),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use common::attachment::{BlobDigest, Content, Encoding};

    use super::*;

    pub(crate) fn attachment(name: &str) -> Attachment {
        let content =
            Content { blob: BlobDigest([7; 32]), md5: [3; 16], stored_bytes: 5, length: 9, encoding: Encoding::Gzip };
        Attachment { name: name.into(), content_type: "text/plain".into(), revpos: 2, content }
    }

    #[test]
    fn a_body_comes_back_as_written() {
        let json = Bytes::from_static(br#"{"n":1}"#);
        let plain = Body::plain(json.clone());
        assert_eq!(plain.encode(), json, "no byte more than the text");
        assert_eq!(Body::decode(&json), Ok(plain.clone()));
        assert!(plain.is_plain() && plain.attachments() == Ok(Vec::new()));
        let all = vec![attachment("a"), attachment("b/c")];
        let attached = Body::new(json, &all);
        let bytes = attached.encode();
        assert_eq!(Body::decode(&bytes), Ok(attached.clone()));
        assert_eq!(attached.attachments(), Ok(all));
        for end in 1..8 {
            assert_eq!(Body::decode(&bytes.slice(..end)), Err(Unknown), "cut at {end}");
        }
    }
}
