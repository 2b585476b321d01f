//! What this process uses of its machine, from `/proc`: the numbers every Prometheus client shows of its process.

use std::fs;
use std::path::Path;

use common::metrics::{
    BUILD_INFO, PROCESS_CPU, PROCESS_FDS, PROCESS_FDS_MAX, PROCESS_RESIDENT, PROCESS_START, PROCESS_THREADS,
    PROCESS_VIRTUAL, Sheet,
};
use rustix::process::{Resource, getrlimit};

/// Writes down what the process uses. What the system does not tell is left out.
pub fn measure(sheet: &mut Sheet) {
    sheet.set(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        sheet.set(&PROCESS_CPU, &[], stat.cpu_ticks as f64 / ticks);
        sheet.set(&PROCESS_THREADS, &[], stat.threads);
        sheet.set(&PROCESS_VIRTUAL, &[], stat.virtual_bytes);
        sheet.set(&PROCESS_RESIDENT, &[], stat.resident_pages * rustix::param::page_size() as u64);
        if let Some(booted) = booted() {
            sheet.set(&PROCESS_START, &[], booted as f64 + stat.start_ticks as f64 / ticks);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is this look itself.
        sheet.set(&PROCESS_FDS, &[], (open.count() as u64).saturating_sub(1));
    }
    if let Some(max) = getrlimit(Resource::Nofile).current {
        sheet.set(&PROCESS_FDS_MAX, &[], max);
    }
}

/// The room and the size of the disk under `folder`, in bytes; `None` if the system does not say.
pub(crate) fn disk(folder: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some((bytes(disk.f_bavail), bytes(disk.f_blocks)))
}

/// When the machine started, in seconds since 1970.
fn booted() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// What is wanted of `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// Fields are counted from the parenthesis behind the program's name, which may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(11)? + field(12)?,
            threads: field(17)?,
            start_ticks: field(19)?,
            virtual_bytes: field(20)?,
            resident_pages: field(21)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use common::metrics::Format;

    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 30 12 0 0 20 0 5 0 9000 1048576 256 1844 1 1";
        let stat = Stat { cpu_ticks: 42, threads: 5, start_ticks: 9000, virtual_bytes: 1 << 20, resident_pages: 256 };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("7 (cut) S 1"), None);
    }

    #[test]
    fn this_process_uses_memory_and_files() {
        let mut sheet = Sheet::default();
        measure(&mut sheet);
        let text = sheet.text(Format::Classic);
        for metric in [&PROCESS_RESIDENT, &PROCESS_CPU, &PROCESS_FDS, &PROCESS_FDS_MAX, &PROCESS_START] {
            assert!(
                text.lines().any(|line| line.starts_with(&format!("{} ", metric.name))),
                "{} in\n{text}",
                metric.name
            );
        }
        let (free, size) = disk(Path::new("/")).expect("a disk");
        assert!(size > 0 && free <= size);
    }
}
