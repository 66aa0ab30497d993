//! The loader: takes staged segments from S3 into Redshift, each exactly once and in order.
//!
//! `main` only wires. A message goes through [`handler`] (order and partial failures), [`apply`] (one segment from manifest
//! to receipt), [`re_dms_plan`] (pure: manifest and catalog to SQL) and [`transaction`] (the plan as one transaction, found again by
//! a later invocation). The AWS SDK is known to [`data_api`], [`objects`] and [`queues`] alone.

pub mod apply;
pub mod check;
pub mod config;
pub mod copy_fault;
pub mod data_api;
pub mod deadline;
pub mod error;
#[cfg(test)]
mod fake;
pub mod handler;
pub mod ledger;
pub mod metrics;
#[cfg(test)]
mod model;
pub mod objects;
pub mod queues;
pub mod receipt;
pub mod remove;
pub mod resume;
pub mod runner;
pub mod sql_error;
pub mod staging;
pub mod statements;
pub mod table_log;
pub mod traces;
pub mod transaction;
pub mod verify;

pub use error::LoadError;
