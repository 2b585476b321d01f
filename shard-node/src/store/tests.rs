//! Tests of the store as a whole: readable scripts, a model, and single facts.

mod export;
mod facts;
mod golden;
mod indexed;
mod model;
