//! A child process that works on an engine until it is killed, and its parent's end of the line.
//!
//! The child is the test binary itself, started again with one test chosen and a variable set. It reports progress as
//! lines on its standard output.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::config::EngineKind;

const JOB: &str = "QUORATE_TEST_JOB";
/// Begins each report: the test harness writes to the same output.
const REPORT: &str = "report: ";

/// A word, an engine and a folder: what the child is to do.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) word: String,
    pub(crate) kind: EngineKind,
    pub(crate) dir: PathBuf,
}

/// In the child: what to do. In a normal test run: nothing.
pub(crate) fn job() -> Option<Job> {
    let job = std::env::var(JOB).ok()?;
    let mut parts = job.splitn(3, ' ').map(str::to_owned);
    let word = parts.next().unwrap();
    let kind = match parts.next().unwrap().as_str() {
        "Fjall" => EngineKind::Fjall,
        "Sled" => EngineKind::Sled,
        kind => panic!("{kind}"),
    };
    Some(Job { word, kind, dir: parts.next().unwrap().into() })
}

/// In the child: tells the parent `what` is so up to `n`.
pub(crate) fn report(what: &str, n: u64) {
    let mut out = std::io::stdout().lock();
    // The parent may be gone, and so will we be then.
    let _ = writeln!(out, "{REPORT}{what} {n}").and_then(|()| out.flush());
}

/// A running child.
pub(crate) struct Running {
    process: Child,
    reports: Receiver<(String, u64)>,
    reader: Option<JoinHandle<()>>,
}

/// Starts this test binary again for `job`, which the test `test` does.
pub(crate) fn start(test: &str, word: &str, kind: EngineKind, dir: &Path) -> Running {
    start_with(test, word, kind, dir, &[])
}

/// As [`start`], with more variables.
pub(crate) fn start_with(test: &str, word: &str, kind: EngineKind, dir: &Path, variables: &[(&str, &str)]) -> Running {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(JOB, format!("{word} {kind:?} {}", dir.display()))
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let (sender, reports) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in output.lines() {
            // A line cut by the kill does not parse, and counts for nothing.
            let Ok(line) = line else { break };
            let Some((_, report)) = line.split_once(REPORT) else { continue };
            let Some((what, n)) = report.split_once(' ') else { continue };
            if let Ok(n) = n.parse() {
                let _ = sender.send((what.to_owned(), n));
            }
        }
    });
    Running { process, reports, reader: Some(reader) }
}

impl Running {
    /// Waits for `time`, or until the child has ended. Returns all reports since the last call.
    pub(crate) fn wait(&self, time: Duration) -> Vec<(String, u64)> {
        let end = Instant::now() + time;
        let mut reports = Vec::new();
        loop {
            match self.reports.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(report) => reports.push(report),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return reports,
            }
        }
    }

    /// Waits for the next report, however long it takes; none when the child has ended.
    pub(crate) fn next(&self) -> Option<(String, u64)> {
        self.reports.recv().ok()
    }

    /// Stops all threads of the child where they are, system calls under way finished.
    pub(crate) fn freeze(&self) {
        let id = self.process.id();
        let stop = Command::new("kill").args(["-STOP", &id.to_string()]).status().unwrap();
        assert!(stop.success());
        let stopped = |stat: String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['T', 'Z']));
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
            // A thread that ended meanwhile has nothing to read.
            let mut states =
                threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
            if states.all(stopped) {
                return;
            }
            assert!(Instant::now() < end, "the child does not stop");
            std::thread::yield_now();
        }
    }

    /// Kills the child as `kill -9` does. Returns the reports that were still on the way.
    pub(crate) fn kill(mut self) -> Vec<(String, u64)> {
        self.end();
        self.reports.try_iter().collect()
    }

    fn end(&mut self) {
        // An error says that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// The last value reported for `what`.
pub(crate) fn last(reports: &[(String, u64)], what: &str) -> u64 {
    reports.iter().rev().find(|(word, _)| word == what).map_or(0, |(_, n)| *n)
}
