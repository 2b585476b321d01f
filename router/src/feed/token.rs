//! Opaque positions in a feed, as clients keep them.
//!
//! Shown as `<sum of the seqs>-<opaque>`: PouchDB does `parseInt` on it, everything else must treat it as a whole.
//! The opaque part is base64url of a version byte and, in postcard, whose feed it is and the seqs. The version byte tells
//! the tokens of a database's feed from those of a partition's, whose seqs say nothing of other partitions.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::ids::{DbUid, Seq, ShardId};
use common::partition::Partition;
use serde::{Deserialize, Serialize};

/// First byte of the opaque part of a token of a database's feed.
const VERSION: u8 = 2;
/// The same of a partition's feed.
const VERSION_OF_PARTITION: u8 = 3;
/// Longest token looked at. A cluster of 1,000 shards makes tokens of some 16 KiB.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Whose feed a token belongs to: part of the database's uid, which a database deleted and made again under the same
/// name does not share. 32 bits keep tokens short; a mistake would take such a database, a client that kept its token,
/// and a chance of one in four thousand million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin([u8; 4]);

impl From<DbUid> for Origin {
    fn from(uid: DbUid) -> Self {
        // The end: it is random in a random uuid, and differs between the system databases.
        let [.., a, b, c, d] = uid.0.into_bytes();
        Self([a, b, c, d])
    }
}

/// How much of a database a feed shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Database,
    /// One partition, by the mark of its name: 64 bits, so that no two names that anybody uses share one.
    Partition(u64),
}

impl Scope {
    /// Of a feed of `partition`, or of the whole database.
    pub fn of(partition: Option<&Partition>) -> Self {
        partition.map_or(Self::Database, |partition| Self::Partition(partition.mark()))
    }
}

/// Opaque position in a feed: one seq for each shard it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Whose feed it is.
    pub origin: Origin,
    /// How much of it.
    pub scope: Scope,
    /// Version of the shard map the seqs belong to.
    pub map_version: u64,
    /// The seqs, sorted by shard, each shard once; one that is not named stands at its beginning.
    pub seqs: Vec<(ShardId, Seq)>,
}

/// Where a feed begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// At the first change.
    Zero,
    /// Behind the last change.
    Now,
    /// Behind a token.
    Token(Token),
}

/// A `since` that is none of `0`, `now` and a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Malformed sequence supplied in 'since' parameter.")]
pub struct Malformed;

/// A token of the feed of another partition, or of a partition where the database's is wanted: what it has passed by is
/// less than what the feed would leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The sequence supplied in 'since' parameter is of the feed of another partition.")]
pub struct OfAnother;

impl Token {
    /// The beginning.
    pub fn zero(origin: Origin, scope: Scope, map_version: u64) -> Self {
        Self { origin, scope, map_version, seqs: Vec::new() }
    }

    /// The seq of one shard.
    pub fn seq(&self, shard: ShardId) -> Seq {
        self.find(shard).map_or(Seq(0), |at| self.seqs[at].1)
    }

    /// The same, but for one shard.
    pub fn set(&mut self, shard: ShardId, seq: Seq) {
        match self.find(shard) {
            Ok(at) => self.seqs[at].1 = seq,
            Err(at) => self.seqs.insert(at, (shard, seq)),
        }
    }

    fn find(&self, shard: ShardId) -> Result<usize, usize> {
        self.seqs.binary_search_by_key(&shard, |(shard, _)| *shard)
    }

    /// The number in front: the sum of the seqs. Clients may compare it, nothing here relies on it.
    pub fn number(&self) -> u64 {
        self.seqs.iter().fold(0, |sum, (_, seq)| sum.saturating_add(seq.0))
    }

    /// Parses what [`Display`](fmt::Display) made.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Malformed);
        }
        let (number, opaque) = text.split_once('-').ok_or(Malformed)?;
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(opaque).map_err(|_| Malformed)?;
        let (version, rest) = bytes.split_first().ok_or(Malformed)?;
        let (scope, rest) = match *version {
            VERSION => (Scope::Database, rest),
            VERSION_OF_PARTITION => {
                let (mark, rest) = rest.split_first_chunk().ok_or(Malformed)?;
                (Scope::Partition(u64::from_be_bytes(*mark)), rest)
            }
            _ => return Err(Malformed),
        };
        let (origin, map_version, seqs): (Origin, u64, Vec<(ShardId, Seq)>) =
            postcard::from_bytes(rest).map_err(|_| Malformed)?;
        let sorted = seqs.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if sorted { Ok(Self { origin, scope, map_version, seqs }) } else { Err(Malformed) }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = (self.origin, self.map_version, &self.seqs);
        let head = match self.scope {
            Scope::Database => vec![VERSION],
            Scope::Partition(mark) => [&[VERSION_OF_PARTITION][..], &mark.to_be_bytes()].concat(),
        };
        let bytes = postcard::to_extend(&fields, head).map_err(|_| fmt::Error)?;
        write!(f, "{}-{}", self.number(), URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl Since {
    /// Refuses what is no place in a feed of `scope`. A place in the database's feed is one in each partition's, too.
    pub fn check(&self, scope: Scope) -> Result<(), OfAnother> {
        match self {
            Self::Token(token) if token.scope != scope && token.scope != Scope::Database => Err(OfAnother),
            _ => Ok(()),
        }
    }

    /// Parses the parameter: `0`, `now`, a token, or any of them as a JSON string. Empty is `0`, as in CouchDB.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let text = text.trim();
        let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        match text {
            "" | "0" => Ok(Self::Zero),
            "now" => Ok(Self::Now),
            token => Token::parse(token).map(Self::Token),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(seqs: &[(u32, u64)]) -> Token {
        let seqs = seqs.iter().map(|(shard, seq)| (ShardId(*shard), Seq(*seq))).collect();
        Token { origin: Origin([1, 2, 3, 4]), scope: Scope::Database, map_version: 1, seqs }
    }

    #[test]
    fn databases_made_one_after_the_other_under_one_name_have_different_origins() {
        let origin = |uid| Origin::from(DbUid(uuid::Uuid::from_u128(uid)));
        assert_ne!(Origin::from(DbUid::DBS), Origin::from(DbUid::USERS));
        assert_ne!(origin(0x1111_2222), origin(0x1111_2223));
        assert_eq!(origin(0x1111_2222), origin(0xff_1111_2222));
    }

    #[test]
    fn tokens_look_the_same_for_ever() {
        let golden = [
            (token(&[]), "0-AgECAwQBAA"),
            (token(&[(0, 1)]), "1-AgECAwQBAQAB"),
            (token(&[(0, 3), (1, 0), (2, 300)]), "303-AgECAwQBAwADAQACrAI"),
        ];
        let of_partition = Token { scope: Scope::Partition(258), ..token(&[(2, 300)]) };
        for (token, text) in golden.into_iter().chain([(of_partition, "300-AwAAAAAAAAECAQIDBAEBAqwC")]) {
            assert_eq!(token.to_string(), text);
            assert_eq!(Token::parse(text), Ok(token));
        }
    }

    #[test]
    fn a_place_in_a_partition_is_none_in_another_or_in_the_database() {
        let scopes = [Scope::Database, Scope::Partition(1), Scope::Partition(2)];
        let fits =
            |token_of, feed_of| Since::Token(Token { scope: token_of, ..token(&[(0, 1)]) }).check(feed_of).is_ok();
        let table = scopes.map(|token_of| scopes.map(|feed_of| fits(token_of, feed_of)));
        assert_eq!(table, [[true, true, true], [false, true, false], [false, false, true]]);
        assert!(scopes.iter().all(|scope| Since::Now.check(*scope).is_ok() && Since::Zero.check(*scope).is_ok()));
        let named = |name| Scope::of(Some(&Partition::parse(name).expect("a name")));
        assert_ne!(named("a"), named("b"));
        assert_eq!(Scope::of(None), Scope::Database);
    }

    #[test]
    fn since_takes_what_couchdb_takes() {
        assert_eq!(Since::parse("0"), Ok(Since::Zero));
        assert_eq!(Since::parse(""), Ok(Since::Zero));
        assert_eq!(Since::parse("now"), Ok(Since::Now));
        assert_eq!(Since::parse("\"now\""), Ok(Since::Now));
        assert_eq!(Since::parse("\"1-AgECAwQBAQAB\""), Ok(Since::Token(token(&[(0, 1)]))));
        for bad in ["banana", "5", "-1", "1-", "x-AgECAwQBAQAB", "1-AQEBAAE", "1-Ag", "1-ä", "1-AgECAwQBAQA"] {
            assert_eq!(Since::parse(bad), Err(Malformed), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn tokens_come_back(seqs in proptest::collection::btree_map(0u32.., 0u64.., 0..20), map_version: u64, origin: [u8; 4], mark: Option<u64>) {
            let seqs = seqs.into_iter().map(|(shard, seq)| (ShardId(shard), Seq(seq))).collect();
            let scope = mark.map_or(Scope::Database, Scope::Partition);
            let token = Token { origin: Origin(origin), scope, map_version, seqs };
            prop_assert_eq!(Token::parse(&token.to_string()), Ok(token));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", opaque in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Since::parse(&text);
            let _ = Since::parse(&format!("1-{}", URL_SAFE_NO_PAD.encode(opaque)));
        }
    }
}
