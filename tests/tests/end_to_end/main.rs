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
mod loader;
mod matrix;
mod metrics;
mod operate;
mod ownership;
mod policies;
mod quarantine;
mod replay;
mod replication;
mod resync;
mod schema_changes;
mod set_back;
mod stand_in;
mod stress;
mod table_rules;
mod types;
mod versions;
