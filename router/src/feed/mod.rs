//! A database's feed: the changes of all its shards as one stream with resumable tokens; and that of one of its partitions,
//! which lies on one shard.
//!
//! A token holds a seq for each shard, so a feed resumed from it misses no change and invents none. If one shard
//! cannot answer, nothing is answered: a part of a feed would look like a whole one.
//!
//! A token of another database (one deleted since and made again under the same name, above all) starts from zero, as
//! in CouchDB: its seqs mean nothing here. A client then sees every change there is, some twice, which each must be
//! able to take anyway; refused, one that keeps its token for ever would be stuck for ever.

mod merge;
mod page;
mod token;

pub use page::{FeedPage, Options, page, wait};
pub use token::{Malformed, OfAnother, Origin, Scope, Since, Token};
