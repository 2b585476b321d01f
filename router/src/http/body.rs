//! Takes in a request's body, plain or gzipped, bounded in size and in patience.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::error::Error;
use super::gzip::Inflate;

/// How long the next piece of a body may take. A client that sends nothing holds a connection and what it has sent.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// How a body is encoded.
enum Encoding {
    Identity,
    Gzip,
}

/// Reads the whole body, `bytes_max` at most, also after inflating it.
pub(crate) async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, Error> {
    let encoding = Encoding::of(headers)?;
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(Error::TooLarge);
    }
    match encoding {
        Encoding::Identity => whole(body, bytes_max).await,
        Encoding::Gzip => inflated(body, bytes_max).await,
    }
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let mut given = headers.get_all(header::CONTENT_ENCODING).iter();
        let encoding = given.next().map_or("identity", |encoding| encoding.to_str().unwrap_or_default().trim());
        let is = |name| encoding.eq_ignore_ascii_case(name);
        match given.next() {
            None if is("identity") => Ok(Self::Identity),
            None if is("gzip") || is("x-gzip") => Ok(Self::Gzip),
            None => Err(Error::ContentEncoding(encoding.to_owned())),
            Some(_) => Err(Error::ContentEncoding("more than one encoding".to_owned())),
        }
    }
}

/// A body that comes in one piece is not copied.
async fn whole(mut body: Body, bytes_max: usize) -> Result<Bytes, Error> {
    let announced = body.size_hint().lower();
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(piece) = next(&mut body).await? {
        if first.len() + whole.len() + piece.len() > bytes_max {
            return Err(Error::TooLarge);
        }
        if first.is_empty() && whole.is_empty() {
            first = piece;
            continue;
        }
        if !first.is_empty() {
            // The announced length was checked above, so this never reserves more than is allowed.
            whole.reserve(usize::try_from(announced).unwrap_or(0).max(first.len() + piece.len()));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

async fn inflated(mut body: Body, bytes_max: usize) -> Result<Bytes, Error> {
    let mut inflate = Inflate::new(bytes_max);
    let mut taken = 0;
    while let Some(piece) = next(&mut body).await? {
        taken += piece.len();
        // A text of nothing may be packed into any number of bytes.
        if taken > bytes_max {
            return Err(Error::TooLarge);
        }
        inflate.push(&piece)?;
    }
    inflate.end()
}

/// Refuses a body that is packed.
pub(crate) fn require_identity(headers: &HeaderMap) -> Result<(), Error> {
    match Encoding::of(headers)? {
        Encoding::Identity => Ok(()),
        Encoding::Gzip => Err(Error::ContentEncoding("gzip of parts".to_owned())),
    }
}

/// The next piece; `None` at the end.
pub(crate) async fn next(body: &mut Body) -> Result<Option<Bytes>, Error> {
    match tokio::time::timeout(PIECE_TIMEOUT, body.frame()).await {
        Err(_) => Err(Error::Incomplete("it took too long".to_owned())),
        Ok(None) => Ok(None),
        Ok(Some(Err(error))) => Err(Error::Incomplete(error.to_string())),
        Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default())),
    }
}

/// Whether the body is said to be JSON.
pub(crate) fn require_json(headers: &HeaderMap) -> Result<(), Error> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Error::ContentType) }
}

/// Parses a JSON body of some shape.
pub(crate) fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => Error::bad("Request body must be a JSON object"),
        _ => Error::bad("invalid UTF-8 JSON"),
    })
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http::HeaderValue;

    use super::*;

    fn pieces(pieces: &[&'static str]) -> Body {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece.as_bytes()))).collect();
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_is_put_together_and_bounded() {
        let headers = HeaderMap::new();
        let read = async |body, max| read(&headers, body, max).await.map_err(|error| error.to_string());
        assert_eq!(read(Body::empty(), 0).await, Ok(Bytes::new()));
        assert_eq!(read(pieces(&["ab", "", "cd", "e"]), 5).await, Ok(Bytes::from_static(b"abcde")));
        let too_large = Err("the request entity is too large".to_owned());
        assert_eq!(read(pieces(&["abc", "def"]), 5).await, too_large);
        assert_eq!(read(Body::from("abcdef"), 5).await, too_large);
    }

    #[tokio::test]
    async fn an_encoding_that_is_not_understood_is_refused() {
        let refused = async |encodings: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for encoding in encodings {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
            }
            matches!(read(&headers, Body::empty(), 9).await, Err(Error::ContentEncoding(_)))
        };
        for encodings in [&[][..], &["identity"], &["gzip"], &["GZip "], &["x-gzip"]] {
            assert!(!refused(encodings).await, "{encodings:?}");
        }
        for encodings in [&["deflate"][..], &["br"], &["gzip, gzip"], &["gzip", "gzip"], &[""]] {
            assert!(refused(encodings).await, "{encodings:?}");
        }
    }

    #[test]
    fn json_is_json_with_parameters_too() {
        let mut headers = HeaderMap::new();
        assert!(require_json(&headers).is_err());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        assert!(require_json(&headers).is_ok());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert!(require_json(&headers).is_err());
    }
}
