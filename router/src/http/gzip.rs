//! Inflates a gzip body as it arrives, bounded by what comes out of it: a few kilobytes can hold gigabytes of zeros.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

use super::error::Error;

/// A body being inflated.
pub(super) struct Inflate {
    decoder: MultiGzDecoder<Bounded>,
    /// Whether anything has come in: no body at all is taken for an empty one, as clients send it with any headers.
    begun: bool,
}

/// What came out, never more than is allowed.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if piece.len() > self.bytes_max - self.bytes.len() {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Inflate {
    /// Nothing yet; `bytes_max` may come out.
    pub(super) fn new(bytes_max: usize) -> Self {
        let bounded = Bounded { bytes: Vec::new(), bytes_max, full: false };
        Self { decoder: MultiGzDecoder::new(bounded), begun: false }
    }

    /// Takes in the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.begun |= !piece.is_empty();
        self.decoder.write_all(piece).map_err(|_| self.failure())
    }

    /// The whole, if the last piece was its end.
    pub(super) fn end(mut self) -> Result<Bytes, Error> {
        if !self.begun {
            return Ok(Bytes::new());
        }
        self.decoder.try_finish().map_err(|_| self.failure())?;
        Ok(std::mem::take(&mut self.decoder.get_mut().bytes).into())
    }

    fn failure(&self) -> Error {
        match self.decoder.get_ref().full {
            true => Error::TooLarge,
            false => Error::bad("Request body is not properly gzipped."),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).expect("a vector takes it");
        encoder.finish().expect("a vector takes it")
    }

    fn inflated(pieces: &[&[u8]], bytes_max: usize) -> Result<Bytes, String> {
        let mut inflate = Inflate::new(bytes_max);
        pieces.iter().try_for_each(|piece| inflate.push(piece)).map_err(|error| error.to_string())?;
        inflate.end().map_err(|error| error.to_string())
    }

    const BROKEN: &str = "Request body is not properly gzipped.";
    const LARGE: &str = "the request entity is too large";

    #[test]
    fn what_comes_out_is_bounded_to_the_byte() {
        let packed = gzip(&[b'x'; 1000]);
        assert_eq!(inflated(&[&packed], 1000).map(|text| text.len()), Ok(1000));
        assert_eq!(inflated(&[&packed], 999), Err(LARGE.to_owned()));
        let bomb = gzip(&vec![0; 100 << 20]);
        assert!(bomb.len() < 200_000);
        assert_eq!(inflated(&[&bomb], 8 << 20), Err(LARGE.to_owned()));
    }

    #[test]
    fn several_members_are_one_text_and_nothing_is_nothing() {
        let two = [gzip(b"{\"a\""), gzip(b":1}")].concat();
        assert_eq!(inflated(&[&two], 100), Ok(Bytes::from_static(b"{\"a\":1}")));
        assert_eq!(inflated(&[], 100), Ok(Bytes::new()));
        assert_eq!(inflated(&[b""], 100), Ok(Bytes::new()));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let packed = gzip(b"{\"some\":\"text\",\"again\":\"text\"}");
        for end in 1..packed.len() {
            assert_eq!(inflated(&[&packed[..end]], 100), Err(BROKEN.to_owned()), "cut at {end}");
        }
        // The header's time, flags of compression and operating system say nothing about the text.
        for at in (0..4).chain(10..packed.len()) {
            for bit in 0..8 {
                let mut flipped = packed.clone();
                flipped[at] ^= 1 << bit;
                let came_out = inflated(&[&flipped], 100);
                // Some bits of the header only announce optional fields.
                assert!(came_out.is_err() || at == 3, "byte {at}, bit {bit}: {came_out:?}");
            }
        }
        assert_eq!(inflated(&[&packed, b"garbage"], 100), Err(BROKEN.to_owned()));
        assert_eq!(inflated(&[b"{}"], 100), Err(BROKEN.to_owned()));
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_come_out_as_they_went_in(
            text in proptest::collection::vec(any::<u8>(), 0..2000), piece in 1usize..50,
        ) {
            let packed = gzip(&text);
            let pieces: Vec<&[u8]> = packed.chunks(piece).collect();
            prop_assert_eq!(inflated(&pieces, 2000), Ok(Bytes::from(text)));
        }

        #[test]
        fn no_bytes_make_it_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let _ = inflated(&pieces, 100);
        }
    }
}
