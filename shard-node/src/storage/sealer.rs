//! Seals fjall's memtables, on a thread of its own.
//!
//! fjall syncs its journal when a memtable is sealed, and nobody can write meanwhile: with a memtable's worth of
//! unsynced journal that takes tens of milliseconds, in which a shard would stand still. So the journal is synced here
//! first, through another handle, while writing goes on; little is left for fjall.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use ::fjall::Keyspace;

use super::{Error, journal};

/// A handle to the thread, which ends with it.
#[derive(Debug)]
pub(super) struct Sealer {
    ask: Option<SyncSender<()>>,
    failed: Arc<Mutex<Option<Error>>>,
    thread: Option<JoinHandle<()>>,
}

impl Sealer {
    /// For `keyspace`, whose journals are in `folder`. `sort` makes our error of fjall's.
    pub(super) fn start(
        folder: PathBuf,
        keyspace: Keyspace,
        sort: impl Fn(::fjall::Error) -> Error + Send + 'static,
    ) -> std::io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let failed = Arc::new(Mutex::new(None));
        let report = Arc::clone(&failed);
        let work = move || {
            run(&folder, &keyspace, &asked, |error| {
                let error = match error {
                    Failed::Journal(error) => Error::io(&folder, &error),
                    Failed::Fjall(error) => sort(error),
                };
                report.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            })
        };
        let thread = std::thread::Builder::new().name("fjall-sealer".to_owned()).spawn(work)?;
        Ok(Self { ask: Some(ask), failed, thread: Some(thread) })
    }

    /// Has the memtable sealed soon, if that was not asked for already.
    pub(super) fn ask(&self) {
        if let Some(ask) = &self.ask {
            // Full: asked already. Closed: it has failed, and `check` says so.
            let _ = ask.try_send(());
        }
    }

    /// Why no memtable will be sealed any more, if so.
    pub(super) fn check(&self) -> Result<(), Error> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that seals memtables panicked");
        }
    }
}

enum Failed {
    Journal(std::io::Error),
    Fjall(::fjall::Error),
}

fn run(folder: &Path, keyspace: &Keyspace, asked: &Receiver<()>, report: impl Fn(Failed)) {
    while let Ok(()) = asked.recv() {
        let synced = journal::newest(folder).and_then(|newest| match newest {
            Some((_, path)) => File::open(path)?.sync_data(),
            None => Ok(()),
        });
        let sealed = synced.map_err(Failed::Journal).and_then(|()| keyspace.rotate_memtable().map_err(Failed::Fjall));
        if let Err(error) = sealed {
            return report(error);
        }
    }
}
