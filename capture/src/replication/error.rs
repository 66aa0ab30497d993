//! What can go wrong between us and the source.

use std::io;
use std::time::Duration;

use super::server_error::ServerError;
use crate::tls::TlsError;

/// The replication connection failed. No variant holds a password or a row's value.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// The source's URL can't be used.
    #[error("source.url: {reason} (hint: the form is postgres://user:password@host:5432/database)")]
    Url {
        /// Why.
        reason: String,
    },
    /// There is no TLS as the URL asks for it.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The password could not be had.
    #[error("{what} (hint: {hint})")]
    Credentials {
        /// What happened.
        what: String,
        /// What to do.
        hint: String,
        /// Trying again may help.
        transient: bool,
    },
    /// The URL asks for a login that is tied to the TLS connection, and the server does not offer one.
    #[error(
        "source.url asks for channel_binding=require, and the server offers no SCRAM login with it (hint: it takes TLS, and scram-sha-256 in pg_hba.conf)"
    )]
    ChannelBinding,
    /// No host of the URL could be reached.
    #[error(
        "can't connect to PostgreSQL at {address}: {source} (hint: is it running there, and may this host reach it?)"
    )]
    Connect {
        /// The host and port that were tried last.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The server took the connection and did not finish the login.
    #[error(
        "PostgreSQL at {address} did not answer within {limit:?} (hint: raise connect_timeout in source.url if the way is slow)"
    )]
    ConnectTimeout {
        /// The host and port.
        address: String,
        /// How long we waited.
        limit: Duration,
    },
    /// The other side does not speak PostgreSQL's protocol.
    #[error(
        "what answers at the source's address does not speak PostgreSQL's protocol (hint: check host and port in source.url)"
    )]
    NotPostgres,
    /// The server wants a password, and the URL has none.
    #[error(
        "PostgreSQL wants a password for user {user:?} (hint: set source.password_file, source.password_secret or RE_DMS_SOURCE__PASSWORD)"
    )]
    PasswordMissing {
        /// The user.
        user: String,
    },
    /// The server wants a way of login that we don't have.
    #[error(
        "PostgreSQL wants the authentication method {method} (hint: pg_hba.conf should say scram-sha-256 for this user and host)"
    )]
    AuthenticationMethod {
        /// Its name.
        method: String,
    },
    /// SCRAM failed on our side: the server could not prove that it knows the password.
    #[error(
        "the server's part of the SCRAM login is not right: {reason} (hint: is it the server that source.url means?)"
    )]
    ServerNotAuthentic {
        /// Why.
        reason: String,
    },
    /// The server lacks something.
    #[error("{what} needs PostgreSQL {needs}, and the source is {found} (hint: leave it out of the config)")]
    ServerTooOld {
        /// What.
        what: &'static str,
        /// The first major version that has it.
        needs: u32,
        /// The source's major version.
        found: u32,
    },
    /// The server refused or gave up.
    #[error("{0}")]
    Server(Box<ServerError>),
    /// The server ended the stream in good order.
    #[error(
        "PostgreSQL ended the replication stream (hint: it is shutting down or switching over; connect again)"
    )]
    Ended,
    /// The connection is gone.
    #[error("PostgreSQL closed the connection (hint: see the source's log)")]
    Closed,
    /// Reading or writing failed.
    #[error("the connection to PostgreSQL failed: {0}")]
    Io(#[from] io::Error),
    /// A message has no place where it came.
    #[error("PostgreSQL sent the unexpected message {tag:?} during {during}")]
    Unexpected {
        /// The message's tag.
        tag: char,
        /// What we were doing.
        during: &'static str,
    },
    /// A message or an answer is not of its form.
    #[error("PostgreSQL sent a malformed {what}")]
    Malformed {
        /// What it was to be.
        what: &'static str,
    },
}

impl From<ServerError> for ReplicationError {
    fn from(error: ServerError) -> Self {
        ReplicationError::Server(Box::new(error))
    }
}

impl ReplicationError {
    /// The server's own error, if it is one.
    #[must_use]
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            ReplicationError::Server(error) => Some(error),
            _ => None,
        }
    }

    /// Trying again after a while may help, without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            ReplicationError::Connect { .. }
            | ReplicationError::ConnectTimeout { .. }
            | ReplicationError::Ended
            | ReplicationError::Closed
            | ReplicationError::Io(_) => true,
            ReplicationError::Server(error) => error.failure().is_transient(),
            ReplicationError::Tls(error) => error.is_transient(),
            ReplicationError::Credentials { transient, .. } => *transient,
            ReplicationError::Url { .. }
            | ReplicationError::ChannelBinding
            | ReplicationError::NotPostgres
            | ReplicationError::PasswordMissing { .. }
            | ReplicationError::AuthenticationMethod { .. }
            | ReplicationError::ServerNotAuthentic { .. }
            | ReplicationError::ServerTooOld { .. }
            | ReplicationError::Unexpected { .. }
            | ReplicationError::Malformed { .. } => false,
        }
    }
}
