//! One end of a replication: a database of this cluster, or one behind a URL. Pure.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::ids::DbName;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Uri, header};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// Headers that belong to the connection, not to whoever asks for a replication.
const REFUSED: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::CONTENT_ENCODING,
];

/// One end. Its credentials are shown nowhere.
#[derive(Clone, PartialEq)]
pub enum End {
    /// A database of this cluster.
    Local(DbName),
    /// One behind a URL.
    Remote {
        /// Its URL, without credentials and without a slash at the end.
        url: Uri,
        /// Sent with each request; credentials among them.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// The user's name, if there is one.
        user: Option<String>,
    },
}

/// As it is written as an object.
#[derive(Deserialize)]
struct Object {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    auth: Option<Credentials>,
}

#[derive(Deserialize)]
struct Credentials {
    #[serde(default)]
    basic: Option<Basic>,
}

#[derive(Deserialize)]
struct Basic {
    username: String,
    password: String,
}

impl End {
    /// Reads a name, a URL or an object with a URL.
    pub(super) fn parse(json: &str) -> Result<Self, String> {
        if let Ok(text) = serde_json::from_str::<String>(json) {
            return Self::of(Object { url: text, headers: BTreeMap::new(), auth: None });
        }
        let object: Object =
            serde_json::from_str(json).map_err(|_| "it must be a name, a URL or an object with a `url`".to_owned())?;
        Self::of(object)
    }

    fn of(object: Object) -> Result<Self, String> {
        let Object { url: text, headers, auth } = object;
        if !text.contains("://") {
            return DbName::parse(&text).map(Self::Local).map_err(|invalid| invalid.to_string());
        }
        let uri: Uri = text.parse().map_err(|_| "it is no URL".to_owned())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("only http and https are spoken".to_owned());
        }
        if uri.query().is_some() || uri.path().trim_matches('/').is_empty() {
            return Err("the URL must be that of a database".to_owned());
        }
        let (url, in_url) = without_credentials(uri)?;
        let mut sent = Vec::new();
        for (name, value) in headers {
            let name = HeaderName::try_from(&name).map_err(|_| "a header's name cannot be sent".to_owned())?;
            if REFUSED.contains(&name) {
                return Err(format!("the header `{name}` cannot be set"));
            }
            sent.push((name, HeaderValue::try_from(value).map_err(|_| "a header's value cannot be sent".to_owned())?));
        }
        let basic = auth.and_then(|auth| auth.basic).map(|basic| (basic.username, basic.password));
        let basic = basic.or(in_url);
        let user = basic.as_ref().map(|(name, _)| name.clone());
        if let Some((name, password)) = basic {
            let encoded = BASE64_STANDARD.encode(format!("{name}:{password}"));
            let mut value = HeaderValue::try_from(format!("Basic {encoded}")).expect("Base64 can stand in a header");
            value.set_sensitive(true);
            sent.push((header::AUTHORIZATION, value));
        }
        Ok(Self::Remote { url, headers: sent, user })
    }
}

/// The URL without name and password, and these.
fn without_credentials(uri: Uri) -> Result<(Uri, Option<(String, String)>), String> {
    let mut parts = uri.into_parts();
    let authority = parts.authority.take().ok_or("the URL names no server")?;
    let (credentials, host) = match authority.as_str().rsplit_once('@') {
        None => (None, authority.as_str()),
        Some((user, host)) => {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            let text = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
            (Some((text(name), text(password))), host)
        }
    };
    parts.authority = Some(Authority::try_from(host).map_err(|_| "the URL names no server".to_owned())?);
    let path = parts.path_and_query.as_ref().map_or("", |path| path.path()).trim_end_matches('/');
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| "it is no URL".to_owned())?);
    Ok((Uri::from_parts(parts).map_err(|_| "it is no URL".to_owned())?, credentials))
}

impl fmt::Display for End {
    /// As it may be shown: a password is stars.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(db) => write!(f, "{db}"),
            Self::Remote { url, user: None, .. } => write!(f, "{url}/"),
            Self::Remote { url, user: Some(user), .. } => {
                let scheme = url.scheme_str().unwrap_or_default();
                let authority = url.authority().map_or("", |authority| authority.as_str());
                write!(f, "{scheme}://{user}:*****@{authority}{}/", url.path())
            }
        }
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        End::parse(json).map_or_else(|why| why, |end| end.to_string())
    }

    #[test]
    fn names_urls_and_objects_are_taken() {
        assert_eq!(shown(r#""music""#), "music");
        assert_eq!(shown(r#""http://h:5984/music/""#), "http://h:5984/music/");
        assert_eq!(shown(r#""https://jan:t%40a@h/a%2Fb""#), "https://jan:*****@h/a%2Fb/");
        let object =
            r#"{"url":"https://h/db","auth":{"basic":{"username":"jan","password":"tea"}},"headers":{"X-A":"1"}}"#;
        let Ok(End::Remote { headers, .. }) = End::parse(object) else { panic!("{}", shown(object)) };
        assert_eq!(headers.len(), 2);
        assert_eq!(headers[1].1, "Basic amFuOnRlYQ==");
        let Ok(End::Remote { headers, .. }) = End::parse(r#""https://jan:t%40a@h/db""#) else { panic!("a URL") };
        assert_eq!(headers[0].1, format!("Basic {}", BASE64_STANDARD.encode("jan:t@a")));
    }

    #[test]
    fn what_is_no_database_is_refused() {
        for bad in
            [r#""ftp://h/db""#, r#""http://h/""#, r#""http://h/db?x=1""#, "1", r#"{"name":"x"}"#, r#""_Bad""#, r#""""#]
        {
            assert!(End::parse(bad).is_err(), "{bad}");
        }
        let host = r#"{"url":"https://h/db","headers":{"Host":"evil"}}"#;
        assert_eq!(shown(host), "the header `host` cannot be set");
    }

    #[test]
    fn a_password_is_never_shown() {
        let end = End::parse(r#""https://jan:secret@h/db""#).expect("a URL");
        assert!(!format!("{end} {end:?}").contains("secret"));
        let End::Remote { url, headers, .. } = end else { panic!("a URL") };
        assert!(!url.to_string().contains("jan") && !format!("{headers:?}").contains("Basic"));
    }
}
