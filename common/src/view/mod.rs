//! Views: what design documents define, what shards are asked of them, and the reduces that are built in. Data and pure
//! rules; the functions themselves are run by whoever has a sandbox.

pub mod design;
pub mod reduce;
mod request;

pub use crate::ids::Signature;
pub use design::{Design, Group};
pub use reduce::{Builtin, Partial};
pub use request::{
    GroupLevel, GroupPage, Reducing, Rows, Span, ViewAnswer, ViewDoc, ViewGroup, ViewPage, ViewReply, ViewRequest,
    ViewRow, Viewed, push_id, row_place,
};
