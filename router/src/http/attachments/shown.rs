//! `_attachments` of a document as it is shown, in CouchDB's order. Pure.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::attachment::{Attachment, Content, Encoding, begun_member};
use common::ids::DocId;

use super::splice::{Form, Spliced};
use crate::http::error::Error;
use crate::http::params::Params;

/// How the bytes of attachments are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Data {
    /// Not at all.
    #[default]
    Stubs,
    /// In base64, in the document.
    Inline,
    /// In parts behind the document.
    Follow,
}

/// How attachments are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// How those that the reader does not know are.
    pub data: Data,
    /// Generation up to which the reader knows them, and is shown stubs; `None` if it knows none.
    pub known: Option<u64>,
    /// Whether to tell how they are packed.
    pub encoding: bool,
}

impl Shown {
    /// What the options of a listing or a feed ask for.
    pub(crate) fn of(params: &Params<'_>) -> Result<Self, Error> {
        let data = if params.flag("attachments", false)? { Data::Inline } else { Data::Stubs };
        Ok(Self { data, known: None, encoding: params.flag("att_encoding_info", false)? })
    }

    /// How the bytes of one attachment are shown.
    pub(crate) fn data_of(self, attachment: &Attachment) -> Data {
        if self.known.is_some_and(|known| attachment.revpos <= known) { Data::Stubs } else { self.data }
    }

    /// Adds `_attachments` to the document that was just written, in front of its last brace. Nothing where there are none.
    pub(crate) fn add(self, out: &mut Spliced, id: &DocId, attachments: &[Attachment]) {
        if attachments.is_empty() {
            return;
        }
        let brace = out.text.pop();
        debug_assert_eq!(brace, Some(b'}'), "a document is an object");
        out.text.extend_from_slice(b",\"_attachments\":{");
        for (at, attachment) in attachments.iter().enumerate() {
            if at > 0 {
                out.text.push(b',');
            }
            self.member(out, id, attachment);
        }
        out.text.extend_from_slice(b"}}");
    }

    fn member(self, out: &mut Spliced, id: &DocId, attachment: &Attachment) {
        let content = &attachment.content;
        out.text.extend_from_slice(begun_member(attachment).as_bytes());
        match self.data_of(attachment) {
            Data::Stubs => {
                out.text.extend_from_slice(format!(",\"length\":{},\"stub\":true", content.length).as_bytes())
            }
            Data::Follow => {
                out.text.extend_from_slice(format!(",\"length\":{},\"follows\":true", content.length).as_bytes());
            }
            Data::Inline => {
                out.text.extend_from_slice(b",\"data\":\"");
                let unpack = content.encoding != Encoding::Identity;
                out.put(id, content, Form { base64: true, unpack });
                out.text.push(b'"');
            }
        }
        if let Some(encoding) = content.encoding.name().filter(|_| self.encoding) {
            let bytes = content.stored_bytes;
            out.text.extend_from_slice(format!(",\"encoding\":\"{encoding}\",\"encoded_length\":{bytes}").as_bytes());
        }
        out.text.push(b'}');
    }
}

/// The MD5 of an attachment's stored bytes, in base64.
pub(crate) fn digest(content: &Content) -> String {
    BASE64_STANDARD.encode(content.md5)
}

/// The MD5 that a header says.
pub(crate) fn digest_of(text: &str) -> Option<[u8; 16]> {
    BASE64_STANDARD.decode(text.trim()).ok()?.try_into().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use common::attachment::{BlobDigest, stubs};

    use super::*;

    pub(crate) fn attachment(name: &str, revpos: u64, encoding: Encoding) -> Attachment {
        let content = Content { blob: BlobDigest([1; 32]), md5: [0; 16], stored_bytes: 5, length: 9, encoding };
        Attachment { name: name.into(), content_type: "text/plain".into(), revpos, content }
    }

    fn shown(how: Shown) -> String {
        let mut out = Spliced::from(b"{\"_id\":\"a\"}".to_vec());
        let all = [attachment("f/1", 1, Encoding::Identity), attachment("g", 2, Encoding::Gzip)];
        how.add(&mut out, &DocId::parse("a").expect("valid"), &all);
        String::from_utf8(out.text).expect("text")
    }

    #[test]
    fn members_stand_in_couchdbs_order() {
        let first = r#""f/1":{"content_type":"text/plain","revpos":1,"digest":"md5-AAAAAAAAAAAAAAAAAAAAAA==","#;
        let second = r#""g":{"content_type":"text/plain","revpos":2,"digest":"md5-AAAAAAAAAAAAAAAAAAAAAA==","#;
        let stub = r#""length":9,"stub":true"#;
        let text =
            |one: &str, other: &str| format!(r#"{{"_id":"a","_attachments":{{{first}{one}}},{second}{other}}}}}}}"#);
        assert_eq!(shown(Shown::default()), text(stub, stub));
        let all = [attachment("f/1", 1, Encoding::Identity), attachment("g", 2, Encoding::Gzip)];
        let plain = format!("{{{first}{stub}}},{second}{stub}}}}}");
        assert_eq!(stubs(&all), Some(plain), "nodes show stubs in the same way");
        assert_eq!(shown(Shown { data: Data::Inline, ..Shown::default() }), text("\"data\":\"\"", "\"data\":\"\""));
        let follows = Shown { data: Data::Follow, known: Some(1), encoding: true };
        let packed = r#""length":9,"follows":true,"encoding":"gzip","encoded_length":5"#;
        assert_eq!(shown(follows), text(stub, packed));
        let unplaced = attachment("f/1", 0, Encoding::Identity);
        let inline = Shown { data: Data::Inline, ..Shown::default() };
        assert_eq!(inline.data_of(&unplaced), Data::Inline, "who knows nothing is shown everything");
        assert_eq!(Shown { known: Some(0), ..inline }.data_of(&unplaced), Data::Stubs);
        let mut plain = Spliced::from(b"{}".to_vec());
        Shown::default().add(&mut plain, &DocId::parse("a").expect("valid"), &[]);
        assert_eq!(plain.text, b"{}", "no attachments, no member");
        assert_eq!(stubs(&[]), None);
    }
}
