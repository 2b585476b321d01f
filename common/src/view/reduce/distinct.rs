//! `_approx_count_distinct`: how many different keys there are. Exact up to a few hundred, behind that estimated by
//! HyperLogLog (Flajolet and others, 2007), 2.3% off in the mean, as CouchDB does with as many registers.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Bits of a hash that choose the register.
const BITS: u32 = 11;
const REGISTERS: usize = 1 << BITS;
/// Hashes kept as they are; more would be larger than the registers.
const FEW_MAX: usize = REGISTERS / 8;

/// The keys met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Distinct {
    /// Hashes of few keys.
    Few(BTreeSet<u64>),
    /// For each register one more than the most zeros that a hash began with.
    Many(Vec<u8>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Few(BTreeSet::new())
    }
}

impl Distinct {
    pub(super) fn add(&mut self, key: &[u8]) {
        self.put(xxh3_64(key));
    }

    pub(super) fn merge(&mut self, other: Self) {
        match other {
            Self::Few(hashes) => hashes.into_iter().for_each(|hash| self.put(hash)),
            Self::Many(others) => {
                let registers = self.registers();
                registers.iter_mut().zip(others).for_each(|(known, other)| *known = (*known).max(other));
            }
        }
    }

    fn put(&mut self, hash: u64) {
        if let Self::Few(hashes) = self {
            hashes.insert(hash);
            if hashes.len() <= FEW_MAX {
                return;
            }
        }
        note(self.registers(), hash);
    }

    /// The registers, made of the hashes if they were not there.
    fn registers(&mut self) -> &mut Vec<u8> {
        if let Self::Few(hashes) = self {
            let mut registers = vec![0; REGISTERS];
            hashes.iter().for_each(|hash| note(&mut registers, *hash));
            *self = Self::Many(registers);
        }
        match self {
            Self::Many(registers) => registers,
            Self::Few(_) => unreachable!("they were just made"),
        }
    }

    pub(super) fn estimate(&self) -> u64 {
        let registers = match self {
            Self::Few(hashes) => return hashes.len() as u64,
            Self::Many(registers) => registers,
        };
        let count = REGISTERS as f64;
        let sum: f64 = registers.iter().map(|register| 0.5f64.powi(i32::from(*register))).sum();
        let raw = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
        let empty = registers.iter().filter(|register| **register == 0).count();
        // Below this, what is still empty says more.
        let estimate = if raw <= 2.5 * count && empty > 0 { count * (count / empty as f64).ln() } else { raw };
        estimate.round() as u64
    }
}

fn note(registers: &mut [u8], hash: u64) {
    let at = (hash >> (64 - BITS)) as usize;
    let zeros = ((hash << BITS) | (1 << (BITS - 1))).leading_zeros() as u8 + 1;
    if let Some(register) = registers.get_mut(at) {
        *register = (*register).max(zeros);
    }
}
