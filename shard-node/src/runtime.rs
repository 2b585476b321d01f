//! The threads a process runs on.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// Has this process's memory come in small pages, to be called before it takes much. The allocator gives back what it does
/// not need by small pieces; where the kernel has put a large page (2 MiB), the next use of any piece fills another one.
/// Measured with three replicas under writes: a fifth more memory with large pages, and no fewer microseconds a document.
pub fn small_pages() {
    // Where the system has no such switch, there is nothing to switch off.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "large pages stay as they are");
    }
}

/// Runs `main` on `threads` threads. With one, everything runs on the caller's: nothing is handed from thread to thread,
/// which saves wake-ups, the larger part of a small request's cost. Errors if the system gives no threads.
pub fn run<T>(threads: usize, main: impl Future<Output = T>) -> io::Result<T> {
    let runtime = of(threads)?;
    let outcome = runtime.block_on(main);
    // Whatever matters has ended by now; a lookup of a name that nobody has would be waited for, for seconds.
    runtime.shutdown_background();
    Ok(outcome)
}

fn of(threads: usize) -> io::Result<Runtime> {
    match threads {
        0 | 1 => Builder::new_current_thread().enable_all().build(),
        more => Builder::new_multi_thread().worker_threads(more).enable_all().build(),
    }
}
