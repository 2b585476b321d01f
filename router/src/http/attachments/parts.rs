//! A document and its attachments as parts of one body, `multipart/related`: taken in one part after the other.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};

use super::splitter::{Head, Piece, Splitter};
use crate::http::body;
use crate::http::error::Error;

/// A body of parts.
pub(crate) struct Parts {
    body: Body,
    splitter: Splitter,
    /// The head of the next part, met while the one before was read.
    next: Option<Head>,
    ended: bool,
}

/// The boundary between the parts of a body, if it is `multipart/related`.
pub(crate) fn boundary_of(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (main, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    if !main.trim().eq_ignore_ascii_case("multipart/related") {
        return Ok(None);
    }
    let boundary = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    });
    let boundary = boundary.filter(|boundary| !boundary.is_empty());
    boundary.map(Some).ok_or_else(|| Error::bad("multipart without a boundary"))
}

impl Parts {
    /// Takes the body apart.
    pub(crate) fn of(headers: &HeaderMap, body: Body, boundary: &str) -> Result<Self, Error> {
        body::require_identity(headers)?;
        Ok(Self { body, splitter: Splitter::new(boundary), next: None, ended: false })
    }

    /// The document: the first part, which must be JSON.
    pub(crate) async fn document(&mut self, bytes_max: usize) -> Result<Bytes, Error> {
        let head = self.next().await?.ok_or_else(|| Error::bad("multipart without a document"))?;
        let kind = head.content_type.unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            return Err(Error::ContentType);
        }
        let mut text = BytesMut::new();
        while let Some(piece) = self.chunk().await? {
            if text.len() + piece.len() > bytes_max {
                return Err(Error::TooLarge);
            }
            text.extend_from_slice(&piece);
        }
        Ok(text.freeze())
    }

    /// The next part; what is left of the one before is passed over.
    pub(crate) async fn next(&mut self) -> Result<Option<Head>, Error> {
        while self.chunk().await?.is_some() {}
        Ok(self.next.take())
    }

    /// More bytes of the part that began last; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.next.is_some() || self.ended {
            return Ok(None);
        }
        loop {
            match self.splitter.next().map_err(Error::bad)? {
                Some(Piece::Data(bytes)) => return Ok(Some(bytes)),
                Some(Piece::Head(head)) => {
                    self.next = Some(head);
                    return Ok(None);
                }
                Some(Piece::End) => {
                    self.ended = true;
                    return Ok(None);
                }
                None => match body::next(&mut self.body).await? {
                    Some(bytes) => self.splitter.push(&bytes),
                    None => return Err(Error::bad("the body ends within a part")),
                },
            }
        }
    }
}
