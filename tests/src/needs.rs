//! What some tests need of the machine. A test that cannot run says why and passes; CI shows the line.

use std::process::{Command, Stdio};

/// Why a test cannot run here; `None` when it can.
pub type Missing = Option<&'static str>;

/// Needs root, for mounts.
pub fn root() -> Missing {
    (!rustix::process::geteuid().is_root()).then_some("needs root")
}

/// Needs `strace` that may trace and inject errors.
pub fn strace() -> Missing {
    let inject = ["-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO", "true"];
    let mut tried = Command::new("strace");
    tried.args(inject).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match tried.status() {
        Ok(status) if status.success() => None,
        Ok(_) => Some("strace may not trace here"),
        Err(_) => Some("strace is not installed"),
    }
}

/// Prints the reason and says whether to skip.
pub fn skip(test: &str, missing: Missing) -> bool {
    if let Some(reason) = missing {
        eprintln!("{test} skipped: {reason}");
    }
    missing.is_some()
}
