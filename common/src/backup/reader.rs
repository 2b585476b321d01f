//! Takes a backup's stream apart, checks all of it, and says where it is damaged.
//!
//! Bytes come in any cut; no more than one block is held. Whether the records say what the end of the stream says is
//! checked here too, so that whoever reads a stream to its end knows that it is whole.

use bytes::{Buf, BytesMut};
use serde::de::DeserializeOwned;

use super::block::{self, HEAD_BYTES, Head, MAGIC};
use super::record::Record;
use super::tally::Tallies;
use super::{End, FORMAT, Header};

/// Bytes that are no whole stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damaged at byte {offset}: {reason}")]
pub struct Damaged {
    /// Where in the stream: the beginning of the block that is not as it was written.
    pub offset: u64,
    /// What does not hold.
    pub reason: String,
}

/// What the reader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Always first.
    Header(Header),
    /// Records, in order.
    Records(Vec<Record>),
    /// The stream is whole, if nothing comes behind it.
    End(End),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: BytesMut,
    offset: u64,
    /// Number of the next block.
    next: u32,
    state: State,
    tallies: Tallies,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Magic,
    Header,
    Records,
    End,
}

impl Reader {
    /// More bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece, if all of it is here.
    pub fn read(&mut self) -> Result<Option<Piece>, Damaged> {
        if self.state == State::Magic {
            let known = self.buffer.len().min(MAGIC.len());
            if self.buffer[..known] != MAGIC[..known] {
                return Err(self.damaged("this is no file of a Quorate backup"));
            }
            if known < MAGIC.len() {
                return Ok(None);
            }
            self.pass(MAGIC.len());
            self.state = State::Header;
        }
        let Some(head) = self.buffer.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let head = Head::read(head).map_err(|reason| self.damaged(reason))?;
        let whole = HEAD_BYTES + head.len;
        if self.buffer.len() < whole {
            return Ok(None);
        }
        if head.number != self.next {
            return Err(self.damaged(format!("block {} stands where {} should", head.number, self.next)));
        }
        let payload = head.open(&self.buffer[HEAD_BYTES..whole]).map_err(|reason| self.damaged(reason))?;
        let piece = self.piece(&head, &payload).map_err(|reason| self.damaged(reason))?;
        self.pass(whole);
        self.next += 1;
        Ok(Some(piece))
    }

    /// To be called at the end of the stream: whether it was whole.
    pub fn finish(&self) -> Result<(), Damaged> {
        match (self.state, self.buffer.is_empty()) {
            (State::End, true) => Ok(()),
            (State::End, false) => Err(self.damaged("there is something behind the last block")),
            _ => Err(self.damaged("it ends too early")),
        }
    }

    /// What was read so far, by database.
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    fn piece(&mut self, head: &Head, payload: &[u8]) -> Result<Piece, String> {
        match (self.state, head.kind) {
            (State::Header, block::HEADER) => {
                let header: Header = whole(payload)?;
                if header.format != FORMAT {
                    return Err(format!("format {}, which is not known here", header.format));
                }
                self.state = State::Records;
                Ok(Piece::Header(header))
            }
            (State::Records, block::RECORDS) => {
                let mut rest = payload;
                let mut records = Vec::new();
                while !rest.is_empty() {
                    let record = Record::decode(&mut rest).map_err(|error| error.to_string())?;
                    self.tallies.push(&record)?;
                    records.push(record);
                }
                Ok(Piece::Records(records))
            }
            (State::Records, block::END) => {
                let end: End = whole(payload)?;
                self.tallies.agree(&end)?;
                self.state = State::End;
                Ok(Piece::End(end))
            }
            _ => Err("a block out of place".to_owned()),
        }
    }

    fn pass(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.offset += bytes as u64;
    }

    fn damaged(&self, reason: impl ToString) -> Damaged {
        Damaged { offset: self.offset, reason: reason.to_string() }
    }
}

fn whole<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err("a block that is too long".to_owned()),
        Err(error) => Err(format!("a block that cannot be read: {error}")),
    }
}
