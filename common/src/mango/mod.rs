//! Mango, CouchDB's query language: selectors, indexes, and which index serves which query. Data and pure rules.
//!
//! Nothing here reads a store or waits: documents come in as text, what comes out is a truth, bytes or a plan.

pub mod bounds;
pub mod collate;
pub mod ddoc;
pub mod document;
pub mod erlang;
mod error;
pub mod explain;
pub mod fields;
pub mod index;
pub mod kept;
pub mod key;
pub mod name;
pub mod number;
pub mod path;
pub mod plan;
pub mod range;
pub mod request;
pub mod selector;
#[cfg(test)]
mod testing;
pub mod value;

pub use document::{Document, Reader};
pub use error::Error;
pub use fields::{Direction, Projection, Sort};
pub use number::Number;
pub use path::{Found, Path};
pub use selector::{Selector, Subject};
pub use value::Value;
