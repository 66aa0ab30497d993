//! The replication protocol's client side: one connection that makes slots and streams changes.
//!
//! Our own, because the usual client has no copy-both mode, and because how the stream is read decides how fast the
//! server sends it (see `gather.rs`). Knows frames and positions; what is in a frame is
//! [`pgoutput`](crate::pgoutput)'s business. SQL beyond a few catalog questions goes over an ordinary connection.
//!
//! [`ReplicationClient`] logs in and runs commands; [`ReplicationClient::start`] turns it into a [`ReplicationStream`].

mod client;
mod connection;
mod error;
mod gather;
mod login;
mod params;
mod server_error;
mod socket;
mod stream;

pub use client::{FAILOVER_SINCE, ReplicationClient, StartOptions, Streaming, SystemIdentity};
pub use error::ReplicationError;
pub use params::ConnectParams;
pub use server_error::{Failure, ServerError};
pub use stream::{Event, ReplicationReader, ReplicationStream, ReplicationWriter};
