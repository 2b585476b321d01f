//! An HTTP/1.1 connection that does only what a load generator needs: it shares the machine with the servers, so each
//! microsecond it spends is one they lack.
//!
//! One request at a time, answers with `Content-Length` or chunked, nothing else.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Result;

/// Answers longer than this are taken for an error of ours.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A connection and its buffers, used again for each request.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    address: String,
    headers: String,
    out: Vec<u8>,
    buffer: Vec<u8>,
    filled: usize,
}

/// The answer's status, and where its body lies in the buffer.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    body: (usize, usize),
}

impl Connection {
    /// Connects to `HOST:PORT`; `authorization` is a whole header value.
    pub async fn open(address: &str, authorization: Option<&str>) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let headers = format!(" HTTP/1.1\r\nHost: {address}\r\n{authorization}");
        let out = Vec::with_capacity(8 << 10);
        Ok(Self { stream, address: address.to_owned(), headers, out, buffer: vec![0; 64 << 10], filled: 0 })
    }

    /// Connects anew after an error.
    pub async fn reopen(&mut self) -> Result<()> {
        self.stream = TcpStream::connect(&self.address).await?;
        self.filled = 0;
        Ok(self.stream.set_nodelay(true)?)
    }

    /// Sends a request and waits for its whole answer.
    pub async fn exchange(&mut self, method: &str, path: &str, body: &[&[u8]]) -> Result<Answer> {
        use std::io::Write;
        self.out.clear();
        let length: usize = body.iter().map(|part| part.len()).sum();
        write!(self.out, "{method} {path}{}", self.headers)?;
        if method != "GET" {
            write!(self.out, "Content-Type: application/json\r\nContent-Length: {length}\r\n")?;
        }
        self.out.extend_from_slice(b"\r\n");
        body.iter().for_each(|part| self.out.extend_from_slice(part));
        self.stream.write_all(&self.out).await?;
        self.answer().await
    }

    /// The body of the last answer.
    pub fn body(&self, answer: Answer) -> &[u8] {
        &self.buffer[answer.body.0..answer.body.1]
    }

    async fn answer(&mut self) -> Result<Answer> {
        self.filled = 0;
        let mut searched = 0usize;
        let head = loop {
            self.fill().await?;
            let from = searched.saturating_sub(3);
            if let Some(found) = find(&self.buffer[from..self.filled], b"\r\n\r\n") {
                break from + found + 4;
            }
            searched = self.filled;
        };
        let text = std::str::from_utf8(&self.buffer[..head])?;
        let status = text.get(9..12).and_then(|code| code.parse().ok()).ok_or("no status")?;
        let mut lines = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let mut length = None;
        let mut chunked = false;
        for (name, value) in lines.by_ref() {
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse::<usize>()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.trim().eq_ignore_ascii_case("chunked");
            }
        }
        let end = if chunked { self.chunks(head).await? } else { self.counted(head, length.unwrap_or(0)).await? };
        Ok(Answer { status, body: (head, end) })
    }

    async fn counted(&mut self, head: usize, length: usize) -> Result<usize> {
        while self.filled < head + length {
            self.fill().await?;
        }
        Ok(head + length)
    }

    /// Reads chunks and moves their contents together; where the body ends.
    async fn chunks(&mut self, head: usize) -> Result<usize> {
        let (mut from, mut to) = (head, head);
        loop {
            let line = loop {
                match find(&self.buffer[from..self.filled], b"\r\n") {
                    Some(found) => break from + found,
                    None => self.fill().await?,
                }
            };
            let size = std::str::from_utf8(&self.buffer[from..line])?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
            let start = line + 2;
            while self.filled < start + size + 2 {
                self.fill().await?;
            }
            self.buffer.copy_within(start..start + size, to);
            to += size;
            from = start + size + 2;
            if size == 0 {
                return Ok(to);
            }
        }
    }

    async fn fill(&mut self) -> Result<()> {
        if self.filled == self.buffer.len() {
            if self.filled >= ANSWER_BYTES_MAX {
                return Err("the answer is too large".into());
            }
            self.buffer.resize(self.filled * 2, 0);
        }
        match self.stream.read(&mut self.buffer[self.filled..]).await? {
            0 => Err("the server closed the connection".into()),
            read => {
                self.filled += read;
                Ok(())
            }
        }
    }
}

/// Where `wanted` first stands in `bytes`.
pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn answered_with(parts: &[&str]) -> (u16, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound").to_string();
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.expect("reads") > 0);
            for part in parts {
                stream.write_all(part.as_bytes()).await.expect("writes");
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let client = async {
            let mut connection = Connection::open(&address, None).await.expect("connects");
            let answer = connection.exchange("PUT", "/x", &[b"{", b"}"]).await.expect("answers");
            (answer.status, String::from_utf8_lossy(connection.body(answer)).into_owned())
        };
        futures::join!(server, client).1
    }

    #[tokio::test]
    async fn answers_come_whole_however_they_are_cut() {
        let counted = answered_with(&["HTTP/1.1 201 Created\r\ncontent-le", "ngth: 4\r\n\r", "\nab", "cd"]).await;
        assert_eq!(counted, (201, "abcd".to_owned()));
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunked = answered_with(&[head, "3\r\nab", "c\r\n2;x=y\r\nde\r", "\n0\r\n\r\n"]).await;
        assert_eq!(chunked, (200, "abcde".to_owned()));
    }
}
