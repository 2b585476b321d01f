//! The id of the request a task works for: given by the client or made here, told back to it, and carried along to
//! the nodes, so that all lines about a request can be found by it.
//!
//! An id is a header's value: cloning it copies no bytes. A batch of several requests carries the ids of all of them,
//! as long as there is room.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::task::futures::TaskLocalFuture;

/// What CouchDB calls a request's id, in requests and answers.
pub const ID: HeaderName = HeaderName::from_static("x-couch-request-id");
/// What others call it.
const ID_OF_OTHERS: HeaderName = HeaderName::from_static("x-request-id");
/// Between router and node: the ids of the requests a message is sent for.
pub const IDS: HeaderName = HeaderName::from_static("x-quorate-requests");

/// Longest id taken from a client; a UUID has 36.
const ID_BYTES_MAX: usize = 64;
/// Longest list of ids carried with a batch. The rest of them is counted, not named.
const IDS_BYTES_MAX: usize = 512;

tokio::task_local! {
    static CURRENT: HeaderValue;
}

/// Runs `work` as a part of the request(s) `id`.
pub fn within<F: Future>(id: HeaderValue, work: F) -> TaskLocalFuture<HeaderValue, F> {
    CURRENT.scope(id, work)
}

/// Runs `work` as a part of the request(s) `ids`, if there are any.
pub async fn within_any<F: Future>(ids: Option<HeaderValue>, work: F) -> F::Output {
    match ids {
        Some(ids) => within(ids, work).await,
        None => work.await,
    }
}

/// The id(s) of the request(s) this task works for.
pub fn current() -> Option<HeaderValue> {
    CURRENT.try_with(Clone::clone).ok()
}

/// The client's id of a request, or a new one made of `random`. An id that could garble a log is not taken.
pub fn id_of(headers: &HeaderMap, random: impl FnOnce() -> u64) -> HeaderValue {
    let given = headers.get(ID_OF_OTHERS).or_else(|| headers.get(ID));
    // A comma would make two of it in a list.
    match given.filter(|id| id.len() <= ID_BYTES_MAX && is_plain(id) && !id.as_bytes().contains(&b',')) {
        Some(id) => id.clone(),
        None => fresh(random()),
    }
}

/// The ids a message was sent for, if the header is one of ours.
pub fn ids_of(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(IDS).filter(|ids| ids.len() <= 2 * IDS_BYTES_MAX && is_plain(ids)).cloned()
}

/// The ids of the requests of a batch as one value.
pub fn joined(ids: &[HeaderValue]) -> Option<HeaderValue> {
    match ids {
        [] => None,
        [id] => Some(id.clone()),
        ids => {
            let mut list = BytesMut::with_capacity(IDS_BYTES_MAX);
            let mut left = ids.len();
            for id in ids {
                if list.len() + id.len() > IDS_BYTES_MAX {
                    break;
                }
                list.put_slice(id.as_bytes());
                list.put_u8(b',');
                left -= 1;
            }
            match left {
                0 => list.truncate(list.len() - 1),
                left => list.put_slice(format!("+{left}").as_bytes()),
            }
            HeaderValue::from_maybe_shared(list.freeze()).ok()
        }
    }
}

/// Ten hexadecimal digits, as CouchDB makes them.
fn fresh(random: u64) -> HeaderValue {
    let digits: [u8; 10] = std::array::from_fn(|at| b"0123456789abcdef"[(random >> (4 * at)) as usize & 0xf]);
    HeaderValue::from_bytes(&digits).expect("digits")
}

/// Letters, digits, and what ids and lists of them are made with.
fn is_plain(id: &HeaderValue) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+,".contains(byte);
    !id.is_empty() && id.as_bytes().iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("valid"))])
    }

    #[test]
    fn a_sane_id_of_the_client_is_kept_and_any_other_replaced() {
        let id = |headers: HeaderMap| id_of(&headers, || 0xfedc_ba98_7654_3210);
        assert_eq!(id(HeaderMap::new()), "0123456789");
        assert_eq!(id(headers(ID, "from-couch")), "from-couch");
        let uuid = "0b6f0cc4-7d4c-4c0e-9b3a-3f6f3a1d2c4e";
        assert_eq!(id(headers(ID_OF_OTHERS, uuid)), uuid);
        for garbled in ["", "a b", "a,b", "a\"b", "{}", "a=b", &"x".repeat(65)] {
            assert_eq!(id(headers(ID_OF_OTHERS, garbled)), "0123456789", "{garbled}");
        }
    }

    #[test]
    fn a_batch_carries_the_ids_there_is_room_for() {
        let id = |text: &str| HeaderValue::from_str(text).expect("valid");
        assert_eq!(joined(&[]), None);
        assert_eq!(joined(&[id("a")]), Some(id("a")));
        assert_eq!(joined(&[id("a"), id("b")]), Some(id("a,b")));
        let many = vec![id(&"x".repeat(64)); 20];
        let list = joined(&many).expect("some");
        assert!(list.len() <= IDS_BYTES_MAX + 80 && list.as_bytes().ends_with(b",+13"), "{list:?}");
        assert_eq!(ids_of(&headers(IDS, list.to_str().expect("text"))), Some(list));
    }

    #[tokio::test]
    async fn a_task_knows_what_it_works_for() {
        assert_eq!(current(), None);
        let id = HeaderValue::from_static("a");
        assert_eq!(within(id.clone(), async { current() }).await, Some(id.clone()));
        assert_eq!(within_any(Some(id.clone()), async { current() }).await, Some(id));
        assert_eq!(within_any(None, async { current() }).await, None);
    }
}
