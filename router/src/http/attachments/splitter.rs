//! Takes a body of parts (RFC 2046) apart, in whatever pieces it comes. Pure; holds a piece and a head at most.
//!
//! A library would read forms: those at hand take in all there is before they give out any of it.

use bytes::{Buf, Bytes, BytesMut};

/// Longest head of a part. A body without one must not be gathered for ever.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// A line's end, two dashes, the boundary.
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first part.
    Preamble,
    /// Behind a delimiter.
    Delimiter,
    /// In a part's head, the line's end behind the delimiter included.
    Head,
    Data,
    End,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A part begins.
    Head(Head),
    /// Bytes of it.
    Data(Bytes),
    /// There is no other part. What follows is not looked at.
    End,
}

/// What a part says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its `Content-Type`.
    pub content_type: Option<String>,
    /// The name in its `Content-Disposition`.
    pub name: Option<String>,
}

impl Splitter {
    /// Of parts with this boundary.
    pub(crate) fn new(boundary: &str) -> Self {
        let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
        // The first delimiter need not have a line before it.
        Self { delimiter, buffer: BytesMut::from(&b"\r\n"[..]), state: State::Preamble }
    }

    /// More of the body.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What comes next, if enough of it is here; what is wrong with the body otherwise.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, &'static str> {
        loop {
            match self.state {
                State::Preamble => {
                    let (at, found) = self.find();
                    self.buffer.advance(at);
                    if !found {
                        return Ok(None);
                    }
                    self.pass_delimiter();
                }
                State::Delimiter => {
                    let padding = self.buffer.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                    match self.buffer.get(padding..padding + 2) {
                        Some(b"--") if padding == 0 => self.state = State::End,
                        Some(b"\r\n") => {
                            self.buffer.advance(padding);
                            self.state = State::Head;
                        }
                        Some(_) => return Err("something stands behind a boundary"),
                        None if padding > HEAD_BYTES_MAX => return Err("a boundary's line does not end"),
                        None => return Ok(None),
                    }
                }
                State::Head => {
                    let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                        return if self.buffer.len() > HEAD_BYTES_MAX {
                            Err("a part's head is too long")
                        } else {
                            Ok(None)
                        };
                    };
                    let head = Head::read(&self.buffer[..end]);
                    self.buffer.advance(end + 4);
                    self.state = State::Data;
                    return Ok(Some(Piece::Head(head)));
                }
                State::Data => {
                    let (at, found) = self.find();
                    if at > 0 {
                        return Ok(Some(Piece::Data(self.buffer.split_to(at).freeze())));
                    }
                    if !found {
                        return Ok(None);
                    }
                    self.pass_delimiter();
                }
                State::End => return Ok(Some(Piece::End)),
            }
        }
    }

    /// How much stands before the next delimiter, and whether one is there; without one, how much belongs to none in any
    /// case.
    fn find(&self) -> (usize, bool) {
        let mut from = 0;
        while let Some(at) = self.buffer[from..].iter().position(|byte| *byte == b'\r').map(|at| from + at) {
            let rest = &self.buffer[at..];
            if rest.starts_with(&self.delimiter) {
                return (at, true);
            }
            if self.delimiter.starts_with(rest) {
                return (at, false);
            }
            from = at + 1;
        }
        (self.buffer.len(), false)
    }

    fn pass_delimiter(&mut self) {
        self.buffer.advance(self.delimiter.len());
        self.state = State::Delimiter;
    }
}

impl Head {
    fn read(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut head = Self::default();
        for line in text.split("\r\n") {
            let Some((name, value)) = line.split_once(':') else { continue };
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("content-type") {
                head.content_type = Some(value.to_owned());
            } else if name.eq_ignore_ascii_case("content-disposition") {
                head.name = file_name(value);
            }
        }
        head
    }
}

/// `filename` of `attachment; filename="…"`.
fn file_name(value: &str) -> Option<String> {
    let (_, behind) = value.split_once("filename=")?;
    let name = match behind.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => behind.split(';').next()?.trim(),
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All parts, from pieces of some size.
    fn split(body: &[u8], each: usize) -> Result<Vec<(Head, Vec<u8>)>, &'static str> {
        let mut splitter = Splitter::new("b");
        let mut parts: Vec<(Head, Vec<u8>)> = Vec::new();
        for piece in body.chunks(each) {
            splitter.push(piece);
            while let Some(piece) = splitter.next()? {
                match piece {
                    Piece::Head(head) => parts.push((head, Vec::new())),
                    Piece::Data(bytes) => parts.last_mut().expect("a head comes first").1.extend_from_slice(&bytes),
                    Piece::End => return Ok(parts),
                }
            }
        }
        Err("it ends too early")
    }

    const BODY: &[u8] = b"preamble\r\n--b \t\r\nContent-Type: application/json\r\n\r\n{}\r\n--b\r\n\
        content-disposition: attachment; filename=\"a;b c\"\r\nX: y\r\n\r\n\r\n--\r\r\n--\r\n-\r\n--b\r\n\r\n\r\n--b--\r\nepilogue";

    #[test]
    fn a_body_cut_at_every_byte_gives_the_same_parts() {
        let whole = split(BODY, BODY.len()).expect("sound");
        let json = Head { content_type: Some("application/json".to_owned()), name: None };
        let named = Head { content_type: None, name: Some("a;b c".to_owned()) };
        let wanted = [(json, b"{}".to_vec()), (named, b"\r\n--\r\r\n--\r\n-".to_vec()), (Head::default(), Vec::new())];
        assert_eq!(whole, wanted);
        for each in 1..BODY.len() {
            assert_eq!(split(BODY, each).as_ref(), Ok(&whole), "pieces of {each}");
        }
        let end = BODY.len() - b"\r\nepilogue".len();
        for cut in 0..end {
            assert!(split(&BODY[..cut.max(1)], 7).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn what_stands_behind_a_boundary_and_heads_without_an_end_are_refused() {
        assert!(split(b"--bx\r\n\r\n", 3).is_err());
        let endless = [&b"--b\r\nx: "[..], &vec![b'y'; HEAD_BYTES_MAX + 1]].concat();
        assert_eq!(split(&endless, 1000), Err("a part's head is too long"));
    }

    proptest! {
        #[test]
        fn data_comes_back_whatever_it_is(
            parts in proptest::collection::vec(proptest::collection::vec(prop_oneof![
                Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'x'), any::<u8>(),
            ], 0..40), 1..4),
            each in 1usize..60,
        ) {
            prop_assume!(parts.iter().all(|part| !part.windows(5).any(|bytes| bytes == b"\r\n--b")));
            let mut body = Vec::new();
            for part in &parts {
                body.extend_from_slice(b"\r\n--b\r\n\r\n");
                body.extend_from_slice(part);
            }
            body.extend_from_slice(b"\r\n--b--");
            let data: Vec<Vec<u8>> = split(&body[2..], each).expect("sound").into_iter().map(|(_, data)| data).collect();
            prop_assert_eq!(data, parts);
        }

        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), each in 1usize..60) {
            let _ = split(&body, each);
        }
    }
}
