//! Reads a log from outside, record by record, without changing anything: for admins who look at a damaged replica.

use std::path::{Path, PathBuf};

use super::record::Record;
use super::scan::{Tail, Why, scan as scan_segment};
use super::segment::Header;
use super::{Error, Identity, disk};

/// One record, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dumped<'a> {
    /// The segment.
    pub file: &'a Path,
    /// Whose segment it says it is.
    pub identity: &'a Identity,
    /// Offset in the segment.
    pub offset: u64,
    /// Framed size in bytes.
    pub len: u64,
    /// The record.
    pub record: &'a Record<'a>,
}

/// Calls `each` for every record in `dir`, oldest first, and goes on behind damage with the next segment. Returns
/// what is damaged. May run beside a live log; what is being written then looks torn, which is not reported.
pub fn scan(dir: &Path, mut each: impl FnMut(Dumped<'_>)) -> Result<Vec<Error>, Error> {
    let mut damage = Vec::new();
    for (_, path) in disk::segments(dir)? {
        if let Err(error) = scan_one(&path, &mut each) {
            damage.push(error);
        }
    }
    Ok(damage)
}

fn scan_one(path: &PathBuf, each: &mut impl FnMut(Dumped<'_>)) -> Result<Tail, Error> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, &error))?;
    let (header, seed) = Header::parse(&bytes, path)?;
    let end = scan_segment(&bytes, seed, header.chain, |spot, record| {
        let (offset, len) = (u64::from(spot.offset), u64::from(spot.len));
        each(Dumped { file: path, identity: &header.identity, offset, len, record });
        Ok::<_, std::convert::Infallible>(())
    });
    end.map(|end| end.tail).map_err(|stop| match stop.why {
        Why::Rotten(reason) => Error::damaged(path, u64::from(stop.offset), reason),
        Why::Format(found) => Error::Format { file: path.clone(), found: u32::from(found) },
        Why::Visitor(never) => match never {},
    })
}
