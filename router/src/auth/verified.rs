//! Remembers which passwords were verified, without keeping them: only a keyed hash, with keys of this process.
//!
//! What is remembered is bound to the stored hash: a password that was changed is not known any more.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{PoisonError, RwLock};

/// Passwords kept. More spares Argon2 runs of users that ask by Basic; each takes some 50 bytes.
const KEPT_MAX: usize = 4096;

/// Hashes of verified passwords, oldest first.
pub(super) struct Verified {
    // Two keyed hashes of 64 bits: one alone could be met by chance after 2^32 guesses or so.
    keys: [RandomState; 2],
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Kept {
    known: HashSet<[u64; 2]>,
    order: VecDeque<[u64; 2]>,
}

impl Verified {
    pub(super) fn new() -> Self {
        Self { keys: [RandomState::new(), RandomState::new()], kept: RwLock::default() }
    }

    /// Whether this name's password was verified against the hash that `stamp` stands for.
    pub(super) fn contains(&self, name: &str, password: &str, stamp: &[u8]) -> bool {
        let hash = self.hash(name, password, stamp);
        self.kept.read().unwrap_or_else(PoisonError::into_inner).known.contains(&hash)
    }

    pub(super) fn insert(&self, name: &str, password: &str, stamp: &[u8]) {
        let hash = self.hash(name, password, stamp);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if !kept.known.insert(hash) {
            return;
        }
        kept.order.push_back(hash);
        if kept.order.len() > KEPT_MAX {
            let oldest = kept.order.pop_front();
            oldest.map(|oldest| kept.known.remove(&oldest));
        }
    }

    fn hash(&self, name: &str, password: &str, stamp: &[u8]) -> [u64; 2] {
        // A tuple's parts are told apart by the hasher.
        [self.keys[0].hash_one((name, password, stamp)), self.keys[1].hash_one((name, password, stamp))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_verified_is_known_and_the_oldest_is_forgotten() {
        let verified = Verified::new();
        let password = |n: usize| n.to_string();
        for n in 0..=KEPT_MAX {
            verified.insert("a", &password(n), b"s");
            verified.insert("a", &password(n), b"s");
        }
        assert!(!verified.contains("a", &password(0), b"s"));
        assert!((1..=KEPT_MAX).all(|n| verified.contains("a", &password(n), b"s")));
        assert!(!verified.contains("a", "1", b"t"), "the password was changed");
        assert!(!verified.contains("a1", "", b"s") && !verified.contains("", "a1", b"s"));
    }
}
