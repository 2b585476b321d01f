//! Hostile weather over nodes of one process. `HARNESS_SEEDS=20` runs more of it, `HARNESS_SEED=7` one again.

use harness::sim;

const SPELLS: usize = 8;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_no_read_is_stale_in_any_weather() {
    let seeds = match number("HARNESS_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("HARNESS_SEEDS").unwrap_or(3)).map(|_| rand::random()).collect(),
    };
    for seed in seeds {
        eprintln!("seed {seed}: HARNESS_SEED={seed} cargo test -p quorate-tests --test sim");
        match sim::run(seed, SPELLS).await {
            Ok(verdict) => {
                eprintln!("  {verdict}");
                assert!(verdict.is_clean(), "seed {seed}: {verdict:#?}");
                assert!(verdict.acknowledged > 0, "seed {seed}: nothing was ever acknowledged");
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
}
