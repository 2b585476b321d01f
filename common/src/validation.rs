//! Which validation functions a database has (`validate_doc_update`), as its shards know them.
//!
//! A function is *defined* by a design document, which lives on one shard, and is in *force* on all of them: every
//! shard keeps what each other one said last that it defines. What a shard says is numbered by its changes, so that of
//! two things it said the later one is known; taking such news in is repeatable and may be done in any order.
//!
//! Promises: a shard never goes back to what another one defined before. So once every shard has heard of a change, no
//! write is taken on any of them that was put to the functions from before it. Texts are not kept here, only their
//! digests: whoever calls the functions reads the design documents.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::ShardId;

/// SHA-256 of a design document's body. All of the document counts: a function may read any of it by `require`.
pub type DesignDigest = [u8; 32];

/// A design document with a validation function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Validator {
    /// Id of the design document.
    pub ddoc: Box<str>,
    /// Its body.
    pub digest: DesignDigest,
}

/// What the design documents of one shard define.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defined {
    /// How often that has changed.
    pub change: u64,
    /// By the ids of their design documents, sorted.
    pub validators: Vec<Validator>,
}

/// Names a set of functions; equal sets have equal names on all shards and routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 16]);

impl fmt::Display for Fingerprint {
    /// 32 lowercase hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a shard knows of the validation functions of one database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardValidators {
    /// What is defined here.
    pub own: Defined,
    /// What is defined on the other shards, as far as it is known here; sorted.
    pub others: Vec<(ShardId, Defined)>,
}

impl ShardValidators {
    /// Notes the body of a design document with a function, or that it has none (any more); whether that is new.
    pub fn define(&mut self, ddoc: &str, digest: Option<DesignDigest>) -> bool {
        let validators = &mut self.own.validators;
        match (validators.binary_search_by(|known| (*known.ddoc).cmp(ddoc)), digest) {
            (Ok(at), Some(digest)) if validators[at].digest == digest => return false,
            (Ok(at), Some(digest)) => validators[at].digest = digest,
            (Ok(at), None) => drop(validators.remove(at)),
            (Err(_), None) => return false,
            (Err(at), Some(digest)) => validators.insert(at, Validator { ddoc: ddoc.into(), digest }),
        }
        self.own.change += 1;
        true
    }

    /// Takes in what other shards define; whether any of it is new.
    pub fn adopt(&mut self, news: &[(ShardId, Defined)]) -> bool {
        let mut changed = false;
        for (shard, defined) in news {
            if defined.change <= self.change_of(*shard) {
                continue;
            }
            match self.others.binary_search_by_key(shard, |(known, _)| *known) {
                Ok(at) => self.others[at].1 = defined.clone(),
                Err(at) => self.others.insert(at, (*shard, defined.clone())),
            }
            changed = true;
        }
        changed
    }

    /// The last change of another shard that is known here; 0 if none is.
    pub fn change_of(&self, other: ShardId) -> u64 {
        let known = self.others.binary_search_by_key(&other, |(known, _)| *known);
        known.map_or(0, |at| self.others[at].1.change)
    }

    /// The functions that a write here must have been put to; `None` if there are none.
    pub fn in_force(&self) -> Option<Fingerprint> {
        let others = self.others.iter().flat_map(|(_, defined)| &defined.validators);
        fingerprint(self.own.validators.iter().chain(others))
    }
}

/// The name of a set of functions, in whatever order; `None` if it is empty.
pub fn fingerprint<'v>(validators: impl IntoIterator<Item = &'v Validator>) -> Option<Fingerprint> {
    let mut sorted: Vec<&Validator> = validators.into_iter().collect();
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_unstable();
    let mut sha256 = Sha256::new();
    for Validator { ddoc, digest } in sorted {
        sha256.update((ddoc.len() as u64).to_le_bytes());
        sha256.update(ddoc.as_bytes());
        sha256.update(digest);
    }
    let digest = sha256.finalize();
    Some(Fingerprint(*digest.first_chunk().expect("a SHA-256 is longer")))
}

/// The digest of a design document's body.
pub fn digest_of(json: &[u8]) -> DesignDigest {
    Sha256::digest(json).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(n: u8) -> DesignDigest {
        digest_of(&[n])
    }

    #[test]
    fn what_design_documents_define_is_known_and_numbered() {
        let mut shard = ShardValidators::default();
        assert!(!shard.define("_design/a", None));
        assert_eq!(shard.in_force(), None);
        assert!(shard.define("_design/b", Some(digest(1))));
        assert!(!shard.define("_design/b", Some(digest(1))), "nothing is new");
        let one = shard.in_force();
        assert!(shard.define("_design/a", Some(digest(2))));
        assert_ne!(shard.in_force(), one);
        assert!(shard.define("_design/a", None));
        assert_eq!(shard.in_force(), one, "equal sets have equal names");
        assert!(shard.define("_design/b", Some(digest(3))));
        assert_ne!(shard.in_force(), one, "another body is another function");
        assert_eq!(shard.own.change, 4);
    }

    #[test]
    fn it_does_not_matter_where_a_function_is_defined() {
        let (mut one, mut other) = (ShardValidators::default(), ShardValidators::default());
        one.define("_design/a", Some(digest(1)));
        other.define("_design/b", Some(digest(2)));
        assert!(one.adopt(&[(ShardId(2), other.own.clone())]) && !one.adopt(&[(ShardId(2), other.own.clone())]));
        assert_ne!(one.in_force(), other.in_force());
        assert!(other.adopt(&[(ShardId(1), one.own.clone())]));
        assert_eq!(one.in_force(), other.in_force());
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// A design document on a shard gets a function, or loses it.
        Define { shard: usize, ddoc: u8, digest: Option<u8> },
        /// Somebody looks at what a shard defines.
        Look { who: usize, shard: usize },
        /// Somebody tells a shard what they saw last, however old that is.
        Tell { who: usize, shard: usize },
        /// Somebody looks at all shards, tells all, and then says that what they saw is in force.
        Settle,
    }

    const SHARDS: usize = 3;
    const ROUTERS: usize = 2;

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..SHARDS, 0..2u8, prop::option::of(0..3u8))
                .prop_map(|(shard, ddoc, digest)| Step::Define { shard, ddoc, digest }),
            4 => (0..ROUTERS, 0..SHARDS).prop_map(|(who, shard)| Step::Look { who, shard }),
            4 => (0..ROUTERS, 0..SHARDS).prop_map(|(who, shard)| Step::Tell { who, shard }),
            1 => Just(Step::Settle),
        ]
    }

    fn id(shard: usize) -> ShardId {
        ShardId(u32::try_from(shard).expect("few"))
    }

    /// What all shards but one define.
    fn all_but(seen: &[Defined], shard: usize) -> Vec<(ShardId, Defined)> {
        (0..SHARDS).filter(|other| *other != shard).map(|other| (id(other), seen[other].clone())).collect()
    }

    proptest! {
        /// Whatever is told late: what was in force everywhere once is never undone but by a later change.
        #[test]
        fn no_shard_goes_back_behind_what_was_settled(steps in prop::collection::vec(step(), 0..60)) {
            let mut shards = vec![ShardValidators::default(); SHARDS];
            let mut seen = vec![vec![Defined::default(); SHARDS]; ROUTERS];
            let mut settled = [0; SHARDS];
            for step in steps {
                match step {
                    Step::Define { shard, ddoc, digest: n } => {
                        shards[shard].define(&format!("_design/{shard}-{ddoc}"), n.map(digest));
                    }
                    Step::Look { who, shard } => seen[who][shard] = shards[shard].own.clone(),
                    Step::Tell { who, shard } => {
                        shards[shard].adopt(&all_but(&seen[who], shard));
                    }
                    Step::Settle => {
                        let now: Vec<Defined> = shards.iter().map(|shard| shard.own.clone()).collect();
                        for (at, shard) in shards.iter_mut().enumerate() {
                            shard.adopt(&all_but(&now, at));
                        }
                        (0..SHARDS).for_each(|shard| settled[shard] = now[shard].change);
                        let names: Vec<_> = shards.iter().map(ShardValidators::in_force).collect();
                        prop_assert!(names.iter().all(|name| *name == names[0]), "all go by the same");
                    }
                }
                for (at, shard) in shards.iter().enumerate() {
                    for other in (0..SHARDS).filter(|other| *other != at) {
                        prop_assert!(shard.change_of(id(other)) >= settled[other]);
                    }
                }
            }
        }
    }
}
