//! Where a query goes on: what clients keep between two parts of an answer.
//!
//! Names the index and the place of the last document in it, which is the same on every shard: any router can go on
//! from it, whatever has become of primaries meanwhile. Shown as base64url of a version byte and postcard.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::mango;
use common::query::Place;
use serde::{Deserialize, Serialize};

/// First byte.
const VERSION: u8 = 1;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bookmark {
    /// The index; `None` where documents are read by id.
    pub(super) index: Option<IndexName>,
    /// The last document given out, or passed over by `skip`.
    pub(super) place: Place,
}

/// Which index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IndexName {
    /// Id of its design document.
    pub(super) ddoc: Box<str>,
    /// Its name there.
    pub(super) name: Box<str>,
}

impl Bookmark {
    pub(super) fn parse(text: &str) -> Result<Self, mango::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let bookmark = bytes.as_deref().and_then(|bytes| match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::take_from_bytes(rest).ok(),
            _ => None,
        });
        match bookmark {
            Some((bookmark, [])) => Ok(bookmark),
            _ => Err(foreign(text)),
        }
    }

    pub(super) fn show(&self) -> String {
        let bytes = postcard::to_extend(self, vec![VERSION]).expect("a bookmark always serialises into memory");
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// A bookmark that was not given out for this query.
pub(super) fn foreign(text: &str) -> mango::Error {
    mango::Error::Bookmark(mango::Value::String(text.into()).to_json())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use common::ids::DocId;

    use super::*;

    #[test]
    fn a_bookmark_comes_back_and_nothing_else_is_one() {
        let place = Place { key: Bytes::from_static(b"\x00\xff"), id: DocId::parse("ä").expect("valid") };
        let index = Some(IndexName { ddoc: "_design/d".into(), name: "n".into() });
        let bookmark = Bookmark { index, place };
        let shown = bookmark.show();
        assert_eq!(Bookmark::parse(&shown), Ok(bookmark));
        for text in ["bad-bookmark", "", "nil", &shown[..shown.len() - 4], &format!("{shown}AAAA")] {
            assert!(Bookmark::parse(text).is_err(), "{text}");
        }
        let told = Bookmark::parse("bad-bookmark").expect_err("none of ours").to_string();
        assert_eq!(told, "Invalid bookmark value: \"bad-bookmark\"");
    }
}
