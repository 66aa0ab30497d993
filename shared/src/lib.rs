//! What capture and loader must agree on, and nothing else: positions in the source's WAL, the S3 layout and the
//! manifests on it, the type map, queue messages, the ledger's shape, and how SQL text is quoted.
//!
//! Everything here is pure: no I/O, no async, no AWS types.

pub mod check;
pub mod columns;
pub mod epoch;
pub mod ledger;
pub mod lsn;
pub mod manifest;
pub mod message;
pub mod metrics;
pub mod names;
pub mod remove;
pub mod s3_layout;
pub mod sql;
pub mod status;
pub mod table_log;
pub mod trace;
pub mod types;
pub mod verify;

pub use epoch::Epoch;
pub use lsn::Lsn;
