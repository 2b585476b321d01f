//! Reads a feed of changes over a bare connection, as it comes, or does not read it: what was received stays, whatever
//! becomes of the connection.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::Result;

/// Bytes read at once.
const PIECE: usize = 64 << 10;
/// What the kernel keeps for a reader: little, so that one who does not read is noticed soon.
const RECEIVE_BYTES: u32 = 64 << 10;

/// How the feed is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A line each.
    Continuous,
    /// Server-sent events, gone on with by `Last-Event-ID`.
    EventSource,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The token behind it.
    pub seq: String,
    /// The document.
    pub id: String,
    /// Its winner.
    pub rev: String,
}

impl Row {
    /// The number that stands in front of its token.
    pub fn number(&self) -> u64 {
        self.seq.split_once('-').and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
    }
}

/// A feed under way.
#[derive(Debug)]
pub struct Feed {
    stream: TcpStream,
    kind: Kind,
    received: Vec<u8>,
    /// An event whose id is not here yet.
    begun: Option<Row>,
}

impl Feed {
    /// Asks the server at `HOST:PORT` for a database's feed behind `since`; comes back when the answer has begun.
    /// `options` go into the query, `&` before each.
    pub async fn open(address: &str, db: &str, kind: Kind, since: &str, options: &str) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BYTES)?;
        let mut stream = socket.connect(address.parse::<SocketAddr>()?).await?;
        // By HTTP/1.0 the answer is what comes until the end, with nothing in between.
        let request = match kind {
            Kind::Continuous => format!("GET /{db}/_changes?feed=continuous&since={since}{options} HTTP/1.0\r\n\r\n"),
            Kind::EventSource => {
                format!("GET /{db}/_changes?feed=eventsource{options} HTTP/1.0\r\nLast-Event-ID: {since}\r\n\r\n")
            }
        };
        stream.write_all(request.as_bytes()).await?;
        let mut feed = Self { stream, kind, received: Vec::new(), begun: None };
        let status = feed.line().await.ok_or("no answer")?;
        if status.split(' ').nth(1) != Some("200") {
            return Err(format!("the feed was refused: {status}").into());
        }
        while !feed.line().await.ok_or("no whole head")?.is_empty() {}
        Ok(feed)
    }

    /// The next change; `None` when the connection has ended, in order or not. What came of a row that was cut is lost.
    /// May be dropped while it waits, and asked again.
    pub async fn next(&mut self) -> Result<Option<Row>> {
        while let Some(line) = self.line().await {
            let json = match (self.kind, line.split_once(": ")) {
                (Kind::Continuous, _) => line.as_str(),
                (Kind::EventSource, Some(("data", json))) => json,
                (Kind::EventSource, Some(("id", id))) => {
                    let row = self.begun.take().ok_or("an id without its event")?;
                    // CouchDB writes it as JSON.
                    if serde_json::from_str::<String>(id).ok().as_ref() != Some(&row.seq) {
                        return Err(format!("{row:?} has the id {id}").into());
                    }
                    return Ok(Some(row));
                }
                (Kind::EventSource, _) => continue,
            };
            if json.is_empty() {
                continue;
            }
            let value: Value = serde_json::from_str(json).map_err(|error| format!("{error}: {json}"))?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if value["id"].is_null() {
                return Ok(None);
            }
            let row = Row { seq: text(&value["seq"]), id: text(&value["id"]), rev: text(&value["changes"][0]["rev"]) };
            match self.kind {
                Kind::Continuous => return Ok(Some(row)),
                Kind::EventSource => self.begun = Some(row),
            }
        }
        Ok(None)
    }

    /// The next whole line, without its end.
    async fn line(&mut self) -> Option<String> {
        let (mut looked, mut piece) = (0, vec![0; PIECE]);
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.received[looked..]) {
                let line = self.received.drain(..=looked + at).collect::<Vec<_>>();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            looked = self.received.len();
            match self.stream.read(&mut piece).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.received.extend_from_slice(&piece[..read]),
            }
        }
    }
}
