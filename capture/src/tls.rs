//! TLS to PostgreSQL: what `sslmode` asks for, and the handshake, for the replication connection and for SQL alike.
//!
//! rustls, with the cryptography that the AWS SDKs bring: one TLS stack. The rules are libpq's, but for the default: a host
//! that is neither a local socket nor the loopback has to prove who it is (`verify-full`).

mod binding;
mod error;
mod mode;
mod sql;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use error::TlsError;
pub use mode::{SslMode, split_mode};

/// What TLS is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// How much is asked for.
    pub mode: SslMode,
    /// Certificates that vouch for the server's; none for the system's.
    pub ca_file: Option<PathBuf>,
}

impl TlsSettings {
    /// With a file of certificates, `require` verifies them, as with libpq.
    fn effective(&self) -> SslMode {
        match (self.mode, &self.ca_file) {
            (SslMode::Require, Some(_)) => SslMode::VerifyCa,
            (mode, _) => mode,
        }
    }

    /// Whatever a handshake needs; none if there shall be no TLS. Files are read anew each time: certificates are renewed.
    ///
    /// # Errors
    /// If the certificates can't be read.
    pub(crate) fn connector(&self) -> Result<Option<Connector>, TlsError> {
        let mode = self.effective();
        if mode == SslMode::Disable {
            return Ok(None);
        }
        let mut config: ClientConfig = verify::client_config(mode, self.ca_file.as_deref())?;
        // Servers from 17 on refuse a client that names another protocol; those before don't look.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Some(Connector { mode, inner: TlsConnector::from(Arc::new(config)) }))
    }
}

/// Does handshakes.
#[derive(Clone)]
pub(crate) struct Connector {
    mode: SslMode,
    inner: TlsConnector,
}

impl Connector {
    /// A server without TLS is good enough.
    pub(crate) fn is_optional(&self) -> bool {
        self.mode == SslMode::Prefer
    }

    /// Goes over to TLS on a connection whose server has agreed to it.
    pub(crate) async fn handshake<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| TlsError::ServerName { host: host.to_owned() })?;
        self.inner.connect(name, stream).await.map_err(|error| TlsError::of_handshake(host, error))
    }
}

/// What ties a SCRAM login to this TLS connection (`tls-server-end-point`), if the server's certificate has it.
pub(crate) fn channel_binding<S>(stream: &TlsStream<S>) -> Option<Vec<u8>> {
    let certificates = stream.get_ref().1.peer_certificates()?;
    binding::server_end_point(certificates.first()?)
}
