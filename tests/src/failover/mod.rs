//! Failover exercises: a fault on a cluster that serves, what its clients saw, and whether every promise was kept.
//!
//! The same exercises run on processes of the harness and on containers of a running compose project. Both are driven
//! as an operator would: signals, networks and volumes on one side, a router's HTTP API on the other.

mod containers;
mod exercise;
mod processes;
mod report;
mod scene;
mod target;
mod view;

pub use containers::Project;
pub use exercise::Exercise;
pub use processes::Processes;
pub use report::{Limits, Outcome, table};
pub use scene::{Settings, run};
pub use target::Target;
