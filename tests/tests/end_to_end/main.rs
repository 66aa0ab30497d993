//! The whole pipeline on real parts, one sandbox a test.

mod bad_input;
mod contract;
mod exactly_once;
mod faults;
mod histories;
mod matrix;
mod ownership;
mod policies;
mod replication;
mod set_back;
