//! The hash. It can never change without moving data, so golden vectors pin it.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::{DbUid, DocId, Slot};
use crate::partition::Partition;

/// How many slots there are. More would make the map larger; fewer would limit how finely load can be moved.
pub const SLOTS: u16 = 1024;

/// The slot of a document: xxh3-64 of its id (of its partition in a partitioned database), seeded with xxh3-64 of
/// the database's uid, modulo [`SLOTS`].
///
/// In a partitioned database the caller has checked that the id has a partition; design and local documents have
/// none and hash by their id.
pub fn slot_of(db: DbUid, id: &DocId, partitioned: bool) -> Slot {
    let partition = if partitioned { id.partition().ok().flatten() } else { None };
    slot_of_key(db, partition.unwrap_or(id.as_str()))
}

/// The slot of all documents of a partition of a partitioned database.
pub fn slot_of_partition(db: DbUid, partition: &Partition) -> Slot {
    slot_of_key(db, partition.as_str())
}

fn slot_of_key(db: DbUid, key: &str) -> Slot {
    let seed = xxh3_64_with_seed(db.0.as_bytes(), 0);
    let hash = xxh3_64_with_seed(key.as_bytes(), seed);
    Slot(u16::try_from(hash % u64::from(SLOTS)).expect("a remainder of 1,024 fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(db: u128, id: &str, partitioned: bool) -> u16 {
        slot_of(DbUid(uuid::Uuid::from_u128(db)), &DocId::parse(id).expect("valid id"), partitioned).0
    }

    /// `UPDATE=1` rewrites the file; a changed line means that existing data would no longer be found.
    #[test]
    fn golden_vectors_never_change() {
        let golden = include_str!("golden.txt");
        let row = |line: &str| {
            let fields: Vec<&str> = line.split('\t').collect();
            let found = slot(fields[0].parse().expect("a uid"), fields[2], fields[1] == "partitioned");
            format!("{}\t{}\t{}\t{found}", fields[0], fields[1], fields[2])
        };
        let line = |line: &str| if line.starts_with('#') { line.to_owned() } else { row(line) };
        let actual: String = golden.lines().map(|text| line(text) + "\n").collect();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/placement/golden.txt"), &actual).expect("written");
        } else {
            assert_eq!(actual, golden);
        }
        assert!(golden.lines().count() > 20);
    }

    #[test]
    fn a_partition_stays_together_and_databases_spread_differently() {
        assert_eq!(slot(1000, "p:a", true), slot(1000, "p:b", true));
        assert_ne!(slot(1000, "p:a", false), slot(1000, "p:b", false));
        assert!((0..20).any(|n| slot(1000, &format!("d{n}"), false) != slot(1001, &format!("d{n}"), false)));
    }

    #[test]
    fn slots_are_evenly_used() {
        let mut counts = vec![0u32; usize::from(SLOTS)];
        for n in 0..102_400 {
            counts[usize::from(slot(5000, &format!("doc-{n}"), false))] += 1;
        }
        // 100 on average; a good hash stays within six standard deviations.
        assert!(counts.iter().all(|count| (40..=160).contains(count)));
    }
}
