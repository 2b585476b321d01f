//! Remembers which credentials were verified, without keeping them: only a keyed hash, with keys of this process.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{PoisonError, RwLock};

/// Credentials kept. There is one admin, whose password has few spellings in base64; the bound is only a bound.
const KEPT_MAX: usize = 16;

/// Hashes of verified credentials, oldest first.
pub(super) struct Verified {
    // Two keyed hashes of 64 bits: one alone could be met by chance after 2^32 guesses or so.
    keys: [RandomState; 2],
    kept: RwLock<VecDeque<[u64; 2]>>,
}

impl Verified {
    pub(super) fn new() -> Self {
        Self { keys: [RandomState::new(), RandomState::new()], kept: RwLock::default() }
    }

    pub(super) fn contains(&self, credentials: &[u8]) -> bool {
        let hash = self.hash(credentials);
        self.kept.read().unwrap_or_else(PoisonError::into_inner).contains(&hash)
    }

    pub(super) fn insert(&self, credentials: &[u8]) {
        let hash = self.hash(credentials);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.contains(&hash) {
            return;
        }
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(hash);
    }

    fn hash(&self, credentials: &[u8]) -> [u64; 2] {
        [self.keys[0].hash_one(credentials), self.keys[1].hash_one(credentials)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_verified_is_known_and_the_oldest_is_forgotten() {
        let verified = Verified::new();
        for n in 0..=KEPT_MAX {
            verified.insert(&[n as u8]);
            verified.insert(&[n as u8]);
        }
        assert!(!verified.contains(&[0]));
        assert!((1..=KEPT_MAX).all(|n| verified.contains(&[n as u8])));
    }
}
