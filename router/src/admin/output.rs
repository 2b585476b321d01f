//! Prints answers: words for people, or a line of JSON each for programs.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Where answers go.
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints one thing: `words` for people, `value` as a line of JSON for programs.
    pub(super) fn tell(&self, value: &impl Serialize, words: impl FnOnce() -> String) -> io::Result<()> {
        let mut line = match self.json {
            true => serde_json::to_vec(value)?,
            false => words().into_bytes(),
        };
        line.push(b'\n');
        self.raw(&line)
    }

    /// Prints bytes as they are.
    pub(super) fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// Makes room for the next look at something that is watched.
    pub(super) fn redraw(&self) -> io::Result<()> {
        match io::stdout().is_terminal() && !self.json {
            // Home, then clear: the other way round flickers.
            true => self.raw(b"\x1b[H\x1b[2J"),
            false => Ok(()),
        }
    }
}

/// A number of bytes as people read it.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(4);
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_largest_unit_that_leaves_a_number_above_one() {
        let shown = [0, 1023, 1024, 1536, (1 << 20) - 1, 1 << 20, 5 << 30, u64::MAX].map(bytes);
        assert_eq!(
            shown,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1023.9 KiB", "1.0 MiB", "5.0 GiB", "16777215.9 TiB"]
        );
    }
}
