//! The threads a process runs on.

use std::io;

use tokio::runtime::{Builder, Runtime};

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
