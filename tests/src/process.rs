//! A server process: started in its own process group, logging to a file, gone when its owner is gone.
//!
//! A killed test runs no destructors, so a watchdog process reads a pipe that only the test holds open; when the pipe
//! closes it kills what is left.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::time::Instant;

use crate::{Error, Result};

/// How to start a process.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name in messages and of its log file.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment added to ours.
    pub env: Vec<(String, String)>,
    /// Its working folder.
    pub folder: PathBuf,
    /// Where its output goes, appended over restarts.
    pub log: PathBuf,
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Highest resident memory, in bytes.
    pub rss_peak_bytes: u64,
    /// CPU time, user and system.
    pub cpu: Duration,
}

/// A process that dies with this value.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Option<Child>,
}

impl Process {
    /// Starts it.
    pub fn start(spec: Spec) -> Result<Self> {
        let mut process = Self { spec, child: None };
        process.restart()?;
        Ok(process)
    }

    /// Starts it again after it ended or was killed.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        let spec = &self.spec;
        let mut log = OpenOptions::new().create(true).append(true).open(&spec.log)?;
        writeln!(log, "--- {} {}", spec.program.display(), spec.args.join(" "))?;
        let mut command = Command::new(&spec.program);
        command
            .args(&spec.args)
            .env("NO_COLOR", "1")
            .env("RUST_BACKTRACE", "1")
            .envs(spec.env.iter().cloned())
            .current_dir(&spec.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().map_err(|error| format!("{}: {error}", spec.program.display()))?;
        watch('+', child.id())?;
        self.child = Some(child);
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its process id while it is ours to wait for.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it is running (stopped counts as running).
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Sends SIGKILL to it and its children, and waits for its end.
    pub fn kill(&mut self) {
        self.kill_soon();
        self.reap();
    }

    /// Sends SIGKILL without waiting, so that many processes can be killed at one instant.
    pub fn kill_soon(&mut self) {
        self.signal(Signal::KILL);
    }

    /// Waits for the end of a process that was sent SIGKILL.
    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            let ended = child.wait();
            let noted = watch('-', child.id());
            if let Some(error) = ended.err().map(Error::from).or(noted.err()) {
                eprintln!("{}: {error}", self.spec.name);
            }
        }
    }

    /// Sends a signal to its process group; nothing happens when it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if !self.is_running() {
            return;
        }
        let pid = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok()).and_then(Pid::from_raw);
        // It may end between the check and the signal; the zombie is still ours, so the id cannot be another's.
        if let Some(Err(error)) = pid.map(|pid| rustix::process::kill_process_group(pid, signal)) {
            eprintln!("{}: signal {signal:?}: {error}", self.spec.name);
        }
    }

    /// Waits for its end; `None` when it still runs after `within`.
    pub async fn ended(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        let until = Instant::now() + within;
        let child = self.child.as_mut().ok_or("it was not running")?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it has used; zero when it does not run.
    pub fn usage(&self) -> Usage {
        let read = |file: &str| self.pid().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok());
        let peak = read("status").and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
        });
        Usage { rss_peak_bytes: peak.unwrap_or(0) * 1024, cpu: self.pid().and_then(cpu_of).unwrap_or_default() }
    }

    /// The path of its log.
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// The last `bytes` of its log.
    pub fn log_tail(&self, bytes: u64) -> String {
        tail(&self.spec.log, bytes).unwrap_or_else(|error| format!("(no log: {error})"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Processor time that a process has used, all threads together; `None` if it is not there.
pub fn cpu_of(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the program's name, which may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)))
}

fn tail(path: &Path, bytes: u64) -> Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Tells the watchdog of a new process (`+`) or of one that is waited for (`-`).
fn watch(sign: char, pid: u32) -> Result<()> {
    // A lost watchdog only costs the safety net; the line it reads must be whole, hence the lock.
    static WATCHDOG: OnceLock<Result<Mutex<ChildStdin>, String>> = OnceLock::new();
    let watchdog = WATCHDOG.get_or_init(|| start_watchdog().map(Mutex::new).map_err(|error| error.to_string()));
    let mut pipe = watchdog.as_ref().map_err(String::as_str)?.lock().map_err(|_| "the watchdog's lock is poisoned")?;
    writeln!(pipe, "{sign}{pid}")?;
    Ok(())
}

fn start_watchdog() -> Result<ChildStdin> {
    const SCRIPT: &str = r#"
left=" "
while read -r line; do
    pid="${line#?}"
    case "$line" in
        +*) left="$left$pid " ;;
        -*) left="${left%% "$pid" *} ${left#* "$pid" }" ;;
    esac
done
for pid in $left; do kill -9 "-$pid" 2>/dev/null; done
"#;
    let mut command = Command::new("bash");
    // A group of its own: Ctrl-C in a terminal ends the test, and the watchdog must outlive it.
    command.args(["-c", SCRIPT]).process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    child.stdin.ok_or_else(|| "the watchdog has no pipe".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Spec {
        Spec {
            name: "sleeper".to_owned(),
            program: "sleep".into(),
            args: vec!["600".to_owned()],
            env: Vec::new(),
            folder: folder.to_owned(),
            log: folder.join("log"),
        }
    }

    #[tokio::test]
    async fn a_process_can_be_stopped_killed_and_started_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = Process::start(sleeper(folder.path())).expect("starts");
        let first = process.pid().expect("runs");
        process.signal(Signal::STOP);
        assert!(process.is_running());
        process.kill();
        assert!(!process.is_running() && process.pid().is_none());
        process.restart().expect("starts again");
        assert_ne!(process.pid(), Some(first));
        assert!(process.usage().rss_peak_bytes > 0);
        assert_eq!(process.ended(Duration::from_millis(30)).await.expect("ours"), None);
        process.signal(Signal::TERM);
        assert!(process.ended(Duration::from_secs(10)).await.expect("ours").is_some());
        assert!(process.log_tail(1000).contains("sleep 600"));
    }
}
