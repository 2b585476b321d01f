//! What an exercise showed, whether that is good enough, and how it is told. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::history::Verdict;

/// What an exercise may show at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Silence of a shard that was hit: one that lost its primary, or all when they lost their only router.
    pub hit: Duration,
    /// Silence of a shard that was not.
    pub elsewhere: Duration,
    /// Requests that failed in spite of all attempts; `None` where failures are part of the exercise.
    pub failed: Option<usize>,
}

/// How long a shard was silent.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    /// The shard.
    pub shard: usize,
    /// Whether the exercise took something from it that it needs to answer.
    pub hit: bool,
    /// The longest time in which no write was acknowledged.
    pub writes: Duration,
    /// The longest time in which no read was answered.
    pub reads: Duration,
}

/// What an exercise showed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its name.
    pub exercise: &'static str,
    /// All shards.
    pub silences: Vec<Silence>,
    /// What was read back, against what had been acknowledged.
    pub verdict: Verdict,
    /// Requests that failed in spite of all attempts.
    pub failed: usize,
    /// What the first of them were told.
    pub first_failures: Vec<String>,
    /// Attempts beyond the first.
    pub repeated: usize,
    /// From the fault to the end of the exercise.
    pub took: Duration,
    /// What was allowed.
    pub limits: Limits,
    /// Promises that the exercise itself found broken.
    pub also_broken: Vec<String>,
}

impl Outcome {
    /// Writes that were acknowledged and are gone.
    pub fn lost(&self) -> usize {
        self.verdict.lost.len() + self.verdict.not_found.len()
    }

    /// Stale reads, and writes that took effect though they were answered with an error that denies it.
    pub fn wrong(&self) -> usize {
        self.verdict.stale.len() + self.verdict.ghosts.len()
    }

    /// What was not good enough, a sentence each.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = self.also_broken.clone();
        for (count, what) in [(self.lost(), "acknowledged writes are lost"), (self.wrong(), "answers were wrong")] {
            if count > 0 {
                broken.push(format!("{count} {what}"));
            }
        }
        for silence in &self.silences {
            let limit = if silence.hit { self.limits.hit } else { self.limits.elsewhere };
            for (what, silent) in [("writes", silence.writes), ("reads", silence.reads)] {
                if silent > limit {
                    let (silent, limit) = (silent.as_millis(), limit.as_millis());
                    broken
                        .push(format!("shard {}: {what} were silent for {silent} ms, over {limit} ms", silence.shard));
                }
            }
        }
        match self.limits.failed {
            Some(limit) if self.failed > limit => {
                broken.push(format!("{} requests failed, over {limit}: {:?}", self.failed, self.first_failures));
            }
            _ => {}
        }
        broken
    }

    /// Everything, in lines for a person.
    pub fn told(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        for Silence { shard, hit, writes, reads } in &self.silences {
            let (writes, reads) = (writes.as_millis(), reads.as_millis());
            let hit = if *hit { "hit" } else { "not hit" };
            let _ = writeln!(text, "  shard {shard} ({hit}): writes silent for at most {writes} ms, reads {reads} ms");
        }
        let Verdict { acknowledged, unknown, .. } = self.verdict;
        let (lost, wrong) = (self.lost(), self.wrong());
        let _ = writeln!(text, "  acknowledged {acknowledged}, lost {lost}, wrong {wrong}");
        let _ = writeln!(
            text,
            "  requests that failed {}, writes of unknown outcome {unknown}, attempts repeated {}",
            self.failed, self.repeated
        );
        let broken = self.broken();
        if broken.is_empty() {
            text.push_str("  ok\n");
        }
        for broken in broken {
            let _ = writeln!(text, "  BROKEN: {broken}");
        }
        for details in [&self.verdict.lost, &self.verdict.not_found, &self.verdict.stale, &self.verdict.ghosts] {
            for detail in details.iter().take(5) {
                let _ = writeln!(text, "    {detail}");
            }
        }
        text
    }

    fn longest(&self, hit: bool) -> String {
        let silences = self.silences.iter().filter(|silence| silence.hit == hit);
        let longest = silences.map(|silence| silence.writes.max(silence.reads)).max();
        longest.map_or_else(|| "-".to_owned(), |longest| longest.as_millis().to_string())
    }
}

/// One table of several exercises.
pub fn table(outcomes: &[Outcome]) -> String {
    let head = ["exercise", "hit ms", "others ms", "acknowledged", "lost", "wrong", "failed", "took s", "result"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(outcomes.iter().map(|outcome| {
        [
            outcome.exercise.to_owned(),
            outcome.longest(true),
            outcome.longest(false),
            outcome.verdict.acknowledged.to_string(),
            outcome.lost().to_string(),
            outcome.wrong().to_string(),
            outcome.failed.to_string(),
            format!("{:.1}", outcome.took.as_secs_f64()),
            if outcome.broken().is_empty() { "ok" } else { "BROKEN" }.to_owned(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = if column == 0 { write!(text, "{cell:<width$}") } else { write!(text, "  {cell:>width$}") };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn outcome() -> Outcome {
        let silence = |shard, hit, writes| Silence { shard, hit, writes: ms(writes), reads: ms(10) };
        Outcome {
            exercise: "kill-primary",
            silences: vec![silence(0, true, 400), silence(1, false, 20)],
            verdict: Verdict { acknowledged: 7, ..Verdict::default() },
            failed: 2,
            first_failures: vec!["503".to_owned()],
            repeated: 0,
            took: ms(1_500),
            limits: Limits { hit: ms(1_000), elsewhere: ms(300), failed: None },
            also_broken: Vec::new(),
        }
    }

    #[test]
    fn every_broken_promise_is_named() {
        assert_eq!(outcome().broken(), [""; 0]);
        type Change = fn(&mut Outcome);
        let cases: [(Change, &str); 5] = [
            (|o| o.silences[0].writes = ms(1_001), "shard 0: writes were silent for 1001 ms, over 1000 ms"),
            (|o| o.silences[1].reads = ms(301), "shard 1: reads were silent for 301 ms, over 300 ms"),
            (|o| o.verdict.not_found.push("k".to_owned()), "1 acknowledged writes are lost"),
            (|o| o.verdict.stale.push("k".to_owned()), "1 answers were wrong"),
            (|o| o.limits.failed = Some(0), "2 requests failed, over 0: [\"503\"]"),
        ];
        for (change, broken) in cases {
            let mut outcome = outcome();
            change(&mut outcome);
            assert_eq!(outcome.broken(), [broken]);
            assert!(outcome.told().contains(&format!("BROKEN: {broken}")));
        }
    }

    #[test]
    fn the_table_has_a_row_an_exercise() {
        let text = table(&[outcome()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        let cells: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(cells, ["kill-primary", "400", "20", "7", "0", "0", "2", "1.5", "ok"]);
    }
}
