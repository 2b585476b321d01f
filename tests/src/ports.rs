//! Free ports, kept free for a whole test.
//!
//! They lie below the range the kernel takes for outgoing connections: a port of that range, given back while a node
//! is down, may be somebody's source port when the node returns. A locked file keeps other tests away from it.

use std::fs::File;
use std::net::TcpListener;

use rand::RngExt;

use crate::Result;

const FIRST: u16 = 10_000;
const LAST: u16 = 31_999;

/// A port on the loopback that nobody listens on and no other harness takes while this lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Takes a free port.
    pub fn take() -> Result<Self> {
        let folder = std::env::temp_dir().join("quorate-ports");
        std::fs::create_dir_all(&folder)?;
        for _ in 0..1_000 {
            let number = rand::rng().random_range(FIRST..=LAST);
            let lock = File::create(folder.join(number.to_string()))?;
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        Err("no free port".into())
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}
