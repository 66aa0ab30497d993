//! Random histories: what applications do to tables, drawn from a seed. The SQL of each session and the order in which
//! the sessions take turns follow from the seed alone; who runs them, and what becomes of them on the other side, is not
//! known here.
//!
//! A [`Generator`] gives one [`Round`] after the other. It keeps a [model](model) of which rows are there and who holds
//! locks on them, so that nearly every statement is valid, hits rows that exist, and never waits for another session.

mod bulk;
mod disturbance;
mod generator;
mod keys;
mod model;
mod parameters;
mod session;
mod statement;
mod tables;
mod values;
mod writes;

pub use disturbance::Disturbance;
pub use generator::{Generator, Round, Step};
pub use parameters::Parameters;
pub use statement::Statement;
pub use tables::{Table, schema, tables};
