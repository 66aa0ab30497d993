//! The capture: PostgreSQL's replication stream to segments on S3.
//!
//! [`run`] wires the parts together. In the order in which a change passes through them: [`replication`] (the
//! connection's protocol), [`receive`], [`persist`] over the local [`wal`], [`collect`] over [`pgoutput`],
//! [`relations`] and the [`batch`], [`stage`] over [`rows`], and [`announce`]. What the stream was before this process
//! is found by [`start`] and [`history`]; what the source held before the stream comes by the initial [`copy`], and again
//! by [`resync`]; [`verify`] compares both sides; [`init`] prepares a source. What is on S3 is read by [`segments`] and
//! loaded again by [`replay`], which [`checkpoint`] keeps short; what all of them left behind is removed by [`destroy`]. How
//! the source is reached is [`tls`]'s and [`credentials`]' business.

pub mod announce;
pub mod aws;
pub mod batch;
mod catalog;
pub mod check;
pub mod checkpoint;
pub mod collect;
pub mod config;
pub mod copy;
pub mod credentials;
pub mod destroy;
pub mod error;
pub mod flight;
pub mod foresee;
pub mod history;
pub mod hmac;
pub mod init;
pub mod key_order;
mod lasting;
mod look_around;
pub mod metrics;
#[cfg(test)]
mod older_files;
pub mod overview;
pub mod persist;
pub mod pgoutput;
pub mod progress;
pub mod pulse;
pub mod receive;
pub mod relations;
pub mod replay;
pub mod replication;
pub mod resync;
pub mod retention;
pub mod retry;
pub mod rows;
pub mod run;
pub mod segments;
pub mod service;
pub mod slot_watch;
pub mod source;
mod sql;
pub mod stage;
pub mod start;
pub mod status;
pub mod tables;
mod threads;
pub mod tls;
pub mod verify;
pub mod wal;
mod watchdog;
