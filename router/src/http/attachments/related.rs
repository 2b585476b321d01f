//! A document with the bytes of its attachments in parts behind it, `multipart/related`, as CouchDB writes it.

use common::attachment::{Attachment, DEFAULT_CONTENT_TYPE};
use common::ids::DocId;
use http::HeaderValue;

use super::shown::{Data, Shown};
use super::splice::{Form, Spliced};

/// The parts of one body.
#[derive(Debug)]
pub(crate) struct Related {
    boundary: String,
}

impl Related {
    /// Parts with this boundary, which must be hexadecimal digits and dashes.
    pub(crate) fn new(boundary: String) -> Self {
        Self { boundary }
    }

    /// The document's text and its attachments as they are `shown`, and of what type that is. Without any that follow it
    /// is the text alone, and no type.
    pub(crate) fn write(
        &self,
        text: Spliced,
        id: &DocId,
        attachments: &[Attachment],
        shown: Shown,
    ) -> (Spliced, Option<HeaderValue>) {
        let follow: Vec<_> =
            attachments.iter().filter(|attachment| shown.data_of(attachment) == Data::Follow).collect();
        if follow.is_empty() {
            return (text, None);
        }
        let boundary = &self.boundary;
        let mut out = Spliced::from(format!("--{boundary}\r\nContent-Type: application/json\r\n\r\n").into_bytes());
        out.append(text);
        out.text.extend_from_slice(format!("\r\n--{boundary}").as_bytes());
        for attachment in follow {
            out.text.extend_from_slice(head(attachment).as_bytes());
            out.put(id, &attachment.content, Form::default());
            out.text.extend_from_slice(format!("\r\n--{boundary}").as_bytes());
        }
        out.text.extend_from_slice(b"--");
        let kind = format!("multipart/related; boundary=\"{boundary}\"");
        (out, Some(HeaderValue::try_from(kind).expect("hexadecimal digits can stand in a header")))
    }
}

/// What stands in front of the bytes of one attachment.
fn head(attachment: &Attachment) -> String {
    let Attachment { name, content_type, content, .. } = attachment;
    // A name may hold anything; what would end the line or the quotes is written as in a URL.
    let name: String = name
        .chars()
        .map(|c| if c == '"' || c.is_control() { format!("%{:02X}", u32::from(c)) } else { c.to_string() })
        .collect();
    let kind = if content_type.chars().any(char::is_control) { DEFAULT_CONTENT_TYPE } else { &**content_type };
    let encoding = content.encoding.name().map(|name| format!("\r\nContent-Encoding: {name}")).unwrap_or_default();
    format!(
        "\r\nContent-Disposition: attachment; filename=\"{name}\"\r\nContent-Type: {kind}\r\nContent-Length: {}{encoding}\
         \r\n\r\n",
        content.stored_bytes,
    )
}

#[cfg(test)]
mod tests {
    use common::attachment::Encoding;

    use super::*;
    use crate::http::attachments::shown::tests::attachment;

    #[test]
    fn names_and_types_cannot_leave_their_line() {
        let mut evil = attachment("a\"\r\nX: y", 1, Encoding::Gzip);
        evil.content_type = "text/plain\r\nX: y".into();
        let wanted = "\r\nContent-Disposition: attachment; filename=\"a%22%0D%0AX: y\"\r\n\
                      Content-Type: application/octet-stream\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\n";
        assert_eq!(head(&evil), wanted);
    }

    #[test]
    fn what_is_known_does_not_follow() {
        let id = DocId::parse("d").expect("valid");
        let all = [attachment("old", 1, Encoding::Identity), attachment("new", 2, Encoding::Identity)];
        let related = Related::new("b".to_owned());
        let shown = Shown { data: Data::Follow, known: Some(1), encoding: true };
        let (out, kind) = related.write(Spliced::from(b"{}".to_vec()), &id, &all, shown);
        assert_eq!(kind, Some(HeaderValue::from_static("multipart/related; boundary=\"b\"")));
        let text = String::from_utf8(out.text).expect("text");
        assert!(text.starts_with("--b\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n\r\n--b--") && text.contains("\"new\"") && !text.contains("\"old\""), "{text}");
        let (out, kind) = related.write(Spliced::from(b"{}".to_vec()), &id, &all, Shown { known: Some(2), ..shown });
        assert_eq!((&out.text[..], kind), (&b"{}"[..], None));
    }
}
