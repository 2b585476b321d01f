//! Two databases that replicate both ways while primaries die, writers that write to both, and clients that keep edits
//! while they are offline: everything ends equal everywhere, and nothing acknowledged is lost.

mod compare;
mod offline;
mod stubborn;
mod writer;

pub use compare::{Documents, differences, documents, lost};
pub use offline::Offline;
pub use stubborn::Stubborn;
pub use writer::{Acknowledged, Writer};
