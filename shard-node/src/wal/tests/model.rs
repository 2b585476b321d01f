//! Random calls, starts and copies of the folder against a model.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Run(Op),
    /// Closes the log and opens it again with a cache of so many bytes.
    Reopen(u64),
    /// Goes on with a copy of the folder, as after `kill -9`.
    Kill,
    Read(u64, u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let payload = (prop_oneof![0..60usize, 0..1200usize, Just(5000)], prop_oneof![Just(0), any::<u8>()]);
    prop_oneof![
        8 => prop::collection::vec(payload, 0..6).prop_map(|entries| Step::Run(Op::Append(entries))),
        2 => prop::collection::vec(any::<u8>(), 0..50).prop_map(|vote| Step::Run(Op::Vote(vote))),
        1 => (0..5u64).prop_map(|count| Step::Run(Op::Truncate(count))),
        1 => (0..9u64).prop_map(|count| Step::Run(Op::Purge(count))),
        1 => prop_oneof![Just(0), Just(2000), Just(1 << 20)].prop_map(Step::Reopen),
        1 => Just(Step::Kill),
        2 => (0..40u64, 0..9u64, 0..3000u64).prop_map(|(from, count, bytes)| Step::Read(from, count, bytes)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_what_the_model_says(steps in prop::collection::vec(step(), 1..40)) {
        let mut dir = folder();
        let mut wal = open(dir.path());
        let mut model = Model::default();
        for step in &steps {
            match step {
                Step::Run(op) => wait(|done| model.run(&wal, op, done)).expect("a write"),
                Step::Reopen(cache_bytes) => {
                    wal.close().expect("a log that closes");
                    wal = Wal::open(dir.path(), &identity(), Options { cache_bytes: *cache_bytes, ..OPTIONS }).expect("a log");
                }
                Step::Kill => {
                    let copy = folder();
                    store(copy.path(), &image(dir.path()));
                    (wal, dir) = (open(copy.path()), copy);
                }
                Step::Read(from, count, bytes) => {
                    let range = *from..from + count;
                    let found = wal.read(range.clone(), *bytes).expect("a readable log");
                    let wanted: Vec<_> = model.entries.iter().filter(|entry| range.contains(&entry.id.index)).collect();
                    prop_assert!(found.iter().eq(wanted.iter().copied().take(found.len())));
                    prop_assert_eq!(found.is_empty(), wanted.is_empty());
                    let behind: u64 = found.iter().skip(1).map(|entry| entry.payload.len() as u64).sum();
                    prop_assert!(behind <= *bytes);
                }
            }
            model.check(&wal);
            let end = model.next;
            prop_assert_eq!(wal.tail_bytes_since(end), 0);
            let least: u64 = model.entries.iter().skip(1).map(|entry| entry.payload.len() as u64).sum();
            if let Some(first) = model.entries.first() {
                prop_assert!(wal.tail_bytes_since(first.id.index) >= least);
            }
        }
    }
}
