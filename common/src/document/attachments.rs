//! What `_attachments` of a document says, as it was sent.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::error::Error;
use crate::attachment::{DEFAULT_CONTENT_TYPE, Encoding};

/// As clients write it: some leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One attachment, as a document brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Its name.
    pub name: Box<str>,
    /// Its media type.
    pub content_type: Box<str>,
    /// Generation of the revision that brought it, if that is said.
    pub revpos: Option<u64>,
    /// Where its bytes are.
    pub form: Form,
}

/// Where the bytes of an attachment are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// In the database already.
    Stub,
    /// Here.
    Data(Bytes),
    /// In a part behind the document.
    Follows(Follows),
}

/// What is said of bytes that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follows {
    /// How many bytes the content has when unpacked, if that is said.
    pub length: Option<u64>,
    /// How many bytes follow, if that is said.
    pub stored_bytes: Option<u64>,
    /// Their MD5, if that is said.
    pub md5: Option<[u8; 16]>,
    /// How they are packed.
    pub encoding: Encoding,
}

/// Reads the text of `_attachments`, in the order of its members.
pub fn parse_attachments(text: &[u8]) -> Result<Vec<Given>, Error> {
    let Members(members) = serde_json::from_slice(text).map_err(|_| Error::BadMember("_attachments".to_owned()))?;
    members.into_iter().map(|(name, member)| given(name.into(), member)).collect()
}

/// Whether an attachment may have that name.
pub fn check_attachment_name(name: &str) -> Result<(), Error> {
    match name.strip_prefix('_') {
        Some(_) => Err(Error::AttachmentName(name.to_owned())),
        None => Ok(()),
    }
}

fn given(name: Box<str>, member: Member<'_>) -> Result<Given, Error> {
    check_attachment_name(&name)?;
    let form = if member.stub == Some(true) {
        Form::Stub
    } else if member.follows == Some(true) {
        Form::Follows(follows(&name, &member)?)
    } else {
        let data = member.data.as_deref().and_then(decoded);
        Form::Data(data.ok_or_else(|| Error::AttachmentData(name.to_string()))?)
    };
    let content_type = member.content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE).into();
    Ok(Given { name, content_type, revpos: member.revpos, form })
}

fn follows(name: &str, member: &Member<'_>) -> Result<Follows, Error> {
    let encoding = match member.encoding.as_deref() {
        None => Encoding::Identity,
        Some(text) => Encoding::parse(text).ok_or_else(|| Error::AttachmentEncoding(name.to_owned()))?,
    };
    let md5 = member.digest.as_deref().and_then(|digest| digest.strip_prefix("md5-")).and_then(decoded);
    let md5 = md5.and_then(|md5| md5[..].try_into().ok());
    let stored_bytes = match encoding {
        Encoding::Identity => member.length,
        Encoding::Gzip => member.encoded_length.or(member.length),
    };
    Ok(Follows { length: member.length, stored_bytes, md5, encoding })
}

/// Reads base64, white space in it passed over.
fn decoded(text: &str) -> Option<Bytes> {
    let white = |byte: &u8| byte.is_ascii_whitespace();
    let bytes = match text.bytes().any(|byte| white(&byte)) {
        true => BASE64.decode(text.bytes().filter(|byte| !white(byte)).collect::<Vec<u8>>()),
        false => BASE64.decode(text),
    };
    bytes.ok().map(Bytes::from)
}

/// The members of an object, in their order.
struct Members<'t>(Vec<(String, Member<'t>)>);

#[derive(Deserialize)]
struct Member<'t> {
    #[serde(default, borrow)]
    content_type: Option<Cow<'t, str>>,
    #[serde(default, borrow)]
    data: Option<Cow<'t, str>>,
    #[serde(default)]
    revpos: Option<u64>,
    #[serde(default)]
    stub: Option<bool>,
    #[serde(default)]
    follows: Option<bool>,
    #[serde(default)]
    length: Option<u64>,
    #[serde(default)]
    encoded_length: Option<u64>,
    #[serde(default, borrow)]
    encoding: Option<Cow<'t, str>>,
    #[serde(default, borrow)]
    digest: Option<Cow<'t, str>>,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of attachments")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Given>, String> {
        parse_attachments(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_form_is_read_in_the_order_sent() {
        let given = parsed(
            r#"{"z":{"stub":true,"revpos":3,"digest":"md5-x","length":5},
                "a/b":{"content_type":"text/plain","data":"aGVs\nbG8"},
                "f":{"follows":true,"length":9,"encoded_length":5,"encoding":"gzip","digest":"md5-AAAAAAAAAAAAAAAAAAAAAA=="}}"#,
        )
        .expect("valid");
        let names: Vec<&str> = given.iter().map(|given| &*given.name).collect();
        assert_eq!(names, ["z", "a/b", "f"]);
        assert_eq!((&given[0].form, given[0].revpos), (&Form::Stub, Some(3)));
        assert_eq!(given[1].form, Form::Data(Bytes::from_static(b"hello")));
        assert_eq!((&*given[1].content_type, &*given[0].content_type), ("text/plain", "application/octet-stream"));
        let follows = Follows { length: Some(9), stored_bytes: Some(5), md5: Some([0; 16]), encoding: Encoding::Gzip };
        assert_eq!(given[2].form, Form::Follows(follows));
    }

    #[test]
    fn what_is_no_attachment_is_refused() {
        let data = Err("Invalid attachment data for foo.txt".to_owned());
        for text in [r#"{"foo.txt":{}}"#, r#"{"foo.txt":{"data":"%"}}"#, r#"{"foo.txt":{"stub":false}}"#] {
            assert_eq!(parsed(text), data, "{text}");
        }
        let name = "Attachment name '_foo.txt' starts with prohibited character '_'".to_owned();
        assert_eq!(parsed(r#"{"_foo.txt":{"data":""}}"#), Err(name));
        for text in [r#"{"a":1}"#, r#"{"a":{"revpos":"x","data":""}}"#, "[]"] {
            assert_eq!(parsed(text), Err("Bad special document member: _attachments".to_owned()), "{text}");
        }
        assert!(parsed(r#"{"a":{"follows":true,"encoding":"br"}}"#).is_err());
        assert_eq!(parsed("{}"), Ok(Vec::new()));
    }
}
