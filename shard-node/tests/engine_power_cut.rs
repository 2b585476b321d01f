//! Power cuts, on a real file system in an image file that is shut down under the engine: what was not fsynced is lost.
//! And a full disk, on the same kind of file system. Needs root and loop devices; says so and passes without.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "engine/child.rs"]
mod child;
mod engine;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use common::config::EngineKind;
use engine::{Map, Model, all, applied, as_pairs, history, open};
use rand::{RngExt, SeedableRng};
use shard_node::storage::{self, Error, boot};

const ROUNDS: u32 = 8;

/// `FS_IOC_SHUTDOWN` with `NOLOGFLUSH`: from here on nothing reaches the device, the file system's journal included.
const SHUTDOWN: &str = "
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))
";

/// A mounted file system of its own. Unmounted at the end, whatever happens.
struct Disk {
    dir: tempfile::TempDir,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("{program} {arguments:?}: {}", said.trim()))
}

impl Disk {
    fn new(megabytes: u64) -> Result<Self, String> {
        let disk = Self { dir: tempfile::tempdir().unwrap() };
        File::create(disk.image()).unwrap().set_len(megabytes << 20).unwrap();
        fs::create_dir(disk.root()).unwrap();
        run("mkfs.ext4", &["-q", "-F", &disk.image()])?;
        disk.mount()?;
        Ok(disk)
    }

    fn image(&self) -> String {
        self.dir.path().join("image").display().to_string()
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", &self.image(), &self.root().display().to_string()])
    }

    /// Cuts the power. Only reading from the page cache may go on.
    fn cut(&self) {
        run("python3", &["-c", SHUTDOWN, &self.root().display().to_string()]).unwrap();
    }

    /// Power is back: whatever is on the device is what there is.
    fn restart(&self) {
        run("umount", &[&self.root().display().to_string()]).unwrap();
        self.mount().unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // An error says that it is not mounted.
        let _ = run("umount", &[&self.root().display().to_string()]);
    }
}

/// A disk, or the reason why there can be none here.
fn disk(megabytes: u64) -> Option<Disk> {
    let cut = |disk: &Disk| run("python3", &["-c", SHUTDOWN, &disk.root().display().to_string()]);
    let probe = Disk::new(16).and_then(|probe| cut(&probe));
    match probe.and_then(|()| Disk::new(megabytes)) {
        Ok(disk) => Some(disk),
        Err(why) => {
            println!("skipped: {why}");
            None
        }
    }
}

/// Cuts the power under `running`. Returns its reports that must hold: those that came before the cut.
///
/// ext4 has a race here that a real power cut has not: an fsync under way while the file system is shut down may
/// return success and its data be gone (a plain file shows it, too). So every other time the child is frozen first,
/// which lets a running fsync end: all its reports must hold. The other times the cut comes in the midst of things,
/// and only what was reported before it began must hold.
fn cut(disk: &Disk, running: child::Running, round: u32) -> Vec<(String, u64)> {
    let frozen = round.is_multiple_of(2);
    if frozen {
        running.freeze();
    }
    let mut reports = running.wait(Duration::ZERO);
    disk.cut();
    let late = running.kill();
    if frozen {
        reports.extend(late);
    }
    disk.restart();
    reports
}

fn random() -> rand::rngs::StdRng {
    let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("repeat with SEED={seed}");
    rand::rngs::StdRng::seed_from_u64(seed)
}

/// What the child processes do; nothing in a normal run.
#[test]
fn child_job() {
    let Some(job) = child::job() else { return };
    match job.word.as_str() {
        "apply" => {
            let engine = open(job.kind, &job.dir);
            for n in applied(&*engine) + 1.. {
                engine.apply(history(n)).unwrap();
                if n.is_multiple_of(97) {
                    engine.flush().unwrap();
                    child::report("flushed", n);
                }
            }
        }
        "install" => {
            let engine = open(job.kind, &job.dir);
            for n in applied(&*engine) + 1.. {
                engine.install(&mut as_pairs(Model::default().at(n))).unwrap();
                child::report("installed", n);
            }
        }
        "replica" => {
            let mut replica = Replica::start(&job.dir, job.kind, &std::env::var("BOOT").unwrap());
            loop {
                child::report("acknowledged", replica.write());
            }
        }
        word => panic!("{word}"),
    }
}

#[test]
fn fjall_comes_back_with_everything_flushed() {
    let Some(disk) = disk(512) else { return };
    let (mut random, dir) = (random(), disk.root().join("replica/engine"));
    let (mut model, mut before) = (Model::default(), 0);
    for round in 0..ROUNDS {
        let running = child::start("child_job", "apply", EngineKind::Fjall, &dir);
        let mut reports = Vec::new();
        if round > 2 {
            reports.extend(running.next());
        }
        reports.extend(running.wait(Duration::from_millis(random.random_range(0..400))));
        reports.extend(cut(&disk, running, round));

        let now = model.check(&*open(EngineKind::Fjall, &dir));
        assert!(now >= child::last(&reports, "flushed"), "round {round}: flushed batches are gone");
        assert!(now >= before, "round {round}: what an earlier round had is gone");
        before = now;
    }
    println!("{before} batches");
    assert!(before > 97, "the cuts came too early to mean anything");
}

#[test]
fn fjall_install_is_one_step() {
    let Some(disk) = disk(512) else { return };
    let (mut random, dir) = (random(), disk.root().join("replica/engine"));
    let (mut model, mut before) = (Model::default(), 0);
    for round in 0..ROUNDS {
        let running = child::start("child_job", "install", EngineKind::Fjall, &dir);
        let mut reports = Vec::new();
        // Every other round lets one install finish, however slow the machine is.
        if round % 2 == 1 {
            reports.extend(running.next());
        }
        reports.extend(running.wait(Duration::from_millis(random.random_range(0..300))));
        reports.extend(cut(&disk, running, round));

        let now = model.check(&*open(EngineKind::Fjall, &dir));
        assert!(now >= child::last(&reports, "installed").max(before), "round {round}: an install is gone");
        before = now;
    }
    println!("{before} installs");
    assert!(before > 3, "the cuts came too early to mean anything");
}

/// A replica as far as it matters here: a log with fsync, an engine, now and then a snapshot with fsync.
struct Replica {
    engine: std::sync::Arc<dyn storage::Engine>,
    dir: PathBuf,
    log: File,
    last: u64,
    start: boot::Start,
    /// Kept running: power cuts leave no time to mark a clean stop.
    _marker: boot::Marker,
}

impl Replica {
    fn start(dir: &Path, kind: EngineKind, boot_id: &str) -> Self {
        let engine_dir = dir.join("engine");
        let (marker, start) = boot::start(&engine_dir, storage::crash_safe(kind), boot_id).unwrap();
        let engine = open(kind, &engine_dir);
        if applied(&*engine) == 0 {
            engine.install(&mut as_pairs(&snapshot(dir))).unwrap();
        }
        // The log is a number a batch, as batches are functions of their numbers. A torn end was never acknowledged.
        let mut text = String::new();
        let mut log = File::options().read(true).append(true).create(true).open(dir.join("log")).unwrap();
        log.read_to_string(&mut text).unwrap();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        log.set_len(whole as u64).unwrap();
        let last = text[..whole].lines().last().map_or(0, |line| line.parse().unwrap());
        for n in applied(&*engine) + 1..=last {
            engine.apply(history(n)).unwrap();
        }
        File::open(dir).unwrap().sync_all().unwrap();
        Self { engine, dir: dir.to_owned(), log, last, start, _marker: marker }
    }

    fn write(&mut self) -> u64 {
        let n = self.last + 1;
        writeln!(self.log, "{n}").unwrap();
        self.log.sync_data().unwrap();
        self.engine.apply(history(n)).unwrap();
        self.last = n;
        if n.is_multiple_of(40) {
            self.engine.flush().unwrap();
        }
        if n.is_multiple_of(150) {
            self.save();
        }
        n
    }

    /// Writes a snapshot beside the last one, switches by rename, all fsynced.
    fn save(&self) {
        let view = self.engine.view().unwrap();
        let beside = self.dir.join("snapshot.new");
        let mut file = File::create(&beside).unwrap();
        let mut text = Vec::new();
        for (key, value) in all(&*view) {
            writeln!(text, "{} {}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value)).unwrap();
        }
        file.write_all(&text).unwrap();
        file.sync_all().unwrap();
        fs::rename(beside, self.dir.join("snapshot")).unwrap();
        File::open(&self.dir).unwrap().sync_all().unwrap();
    }
}

fn snapshot(dir: &Path) -> Map {
    let Ok(file) = File::open(dir.join("snapshot")) else { return Map::new() };
    let pair = |line: std::io::Result<String>| {
        let line = line.unwrap();
        let (key, value) = line.split_once(' ').unwrap();
        (Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
    };
    BufReader::new(file).lines().map(pair).collect()
}

#[test]
fn a_replica_on_sled_loses_nothing_acknowledged() {
    a_replica_loses_nothing_acknowledged(EngineKind::Sled);
}

#[test]
fn a_replica_on_fjall_loses_nothing_acknowledged() {
    a_replica_loses_nothing_acknowledged(EngineKind::Fjall);
}

fn a_replica_loses_nothing_acknowledged(kind: EngineKind) {
    let Some(disk) = disk(512) else { return };
    let (mut random, mut model, mut before) = (random(), Model::default(), 0);
    let dir = disk.root().join("replica");
    fs::create_dir(&dir).unwrap();
    for round in 0..ROUNDS {
        let boot_id = format!("boot-{round}");
        let running = child::start_with("child_job", "replica", kind, &dir, &[("BOOT", &boot_id)]);
        let mut reports = Vec::from_iter(running.next());
        reports.extend(running.wait(Duration::from_millis(random.random_range(0..600))));
        reports.extend(cut(&disk, running, round));

        let replica = Replica::start(&dir, kind, &format!("after-{round}"));
        let wiped = kind == EngineKind::Sled;
        assert_eq!(replica.start, if wiped { boot::Start::Wiped } else { boot::Start::Kept });
        let now = model.check(&*replica.engine);
        assert!(
            now >= child::last(&reports, "acknowledged").max(before),
            "round {round}: acknowledged batches are gone"
        );
        before = now;
    }
    println!("{kind:?}: {before} acknowledged");
    assert!(before > 150, "the cuts came before the first snapshot");
}

#[test]
fn fjall_names_a_full_disk_and_comes_back() {
    names_a_full_disk_and_comes_back(EngineKind::Fjall);
}

#[test]
fn sled_names_a_full_disk_and_comes_back() {
    names_a_full_disk_and_comes_back(EngineKind::Sled);
}

#[test]
fn fjall_takes_no_harm_from_a_disk_that_others_fill() {
    takes_no_harm_from_a_disk_that_others_fill(EngineKind::Fjall);
}

#[test]
fn sled_takes_no_harm_from_a_disk_that_others_fill() {
    takes_no_harm_from_a_disk_that_others_fill(EngineKind::Sled);
}

/// Nothing is tried on a disk that filled up between two batches, so the same engine goes on once there is room.
fn takes_no_harm_from_a_disk_that_others_fill(kind: EngineKind) {
    let Some(disk) = disk(320) else { return };
    let (dir, ballast) = (disk.root().join("engine"), disk.root().join("ballast"));
    let engine = open(kind, &dir);
    engine.apply(history(1)).unwrap();
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[1; 4 << 10]).is_ok() {}
    drop(file);
    let mut large = history(2);
    large.changes.push((Bytes::from("large"), Some(Bytes::from(vec![7; 100_000]))));
    for _ in 0..3 {
        let refused = engine.apply(large.clone());
        assert!(matches!(refused, Err(Error::DiskFull { .. })), "{refused:?}");
    }
    if kind == EngineKind::Fjall {
        let refused = engine.flush();
        assert!(matches!(refused, Err(Error::DiskFull { .. })), "{refused:?}");
    }
    assert_eq!(applied(&*engine), 1);
    fs::remove_file(ballast).unwrap();
    engine.apply(large).unwrap();
    engine.flush().unwrap();
    assert_eq!(applied(&*engine), 2);
}

/// A full disk refuses batches whole; with room again the engine goes on, and after a restart nothing is missing.
fn names_a_full_disk_and_comes_back(kind: EngineKind) {
    let Some(disk) = disk(320) else { return };
    let (dir, ballast) = (disk.root().join("engine"), disk.root().join("ballast"));
    fs::write(&ballast, vec![0; 100 << 20]).unwrap();
    // Random bytes, so that compression does not help.
    let filling = |n: u64| {
        let mut bytes = vec![0; 512 << 10];
        rand::rngs::StdRng::seed_from_u64(n).fill(&mut bytes[..]);
        let mut batch = history(n);
        batch.changes.push((Bytes::from(format!("filling-{n}")), Some(Bytes::from(bytes))));
        batch
    };
    let engine = open(kind, &dir);
    let mut n = 0;
    let error = loop {
        assert!(n < 1_000, "the disk never fills");
        match engine.apply(filling(n + 1)) {
            Ok(()) => n += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    // What the engine clears away by itself must not make room for the next one.
    File::options().append(true).open(&ballast).unwrap().write_all(&vec![0; 16 << 20]).unwrap();
    let again = engine.apply(history(n + 1));
    assert!(matches!(again, Err(Error::DiskFull { .. })), "{again:?}");
    assert_eq!(applied(&*engine), n);
    fs::remove_file(ballast).unwrap();
    engine.apply(filling(n + 1)).unwrap();
    engine.flush().unwrap();
    drop(engine);

    let engine = open(kind, &dir);
    let mut expected = Map::new();
    (1..=n + 1).for_each(|n| engine::apply_to(&mut expected, filling(n)));
    assert!(all(&*engine) == expected, "not the first {} batches", n + 1);
    println!("{kind:?}: full after {n} batches");
}
