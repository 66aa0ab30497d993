//! The whole pipeline on real parts, one sandbox a test.

mod bad_input;
mod cases;
mod contract;
mod exactly_once;
mod failover;
mod faults;
mod histories;
mod identity;
mod initial_copy;
mod matrix;
mod operate;
mod ownership;
mod policies;
mod preflight;
mod quarantine;
mod replication;
mod schema_changes;
mod secrecy;
mod set_back;
mod stand_in;
mod stress;
mod table_rules;
mod types;
mod versions;
