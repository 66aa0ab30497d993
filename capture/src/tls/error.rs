//! Why there is no TLS.

use std::io;
use std::path::PathBuf;

use rustls::CertificateError;

/// TLS could not be had. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of certificates can't be used.
    #[error("source.tls_ca_file: {path}: {reason} (hint: it must hold certificates in PEM form)")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The system has no certificates that could vouch for a server.
    #[error(
        "this system has no root certificates to verify PostgreSQL's by (hint: install ca-certificates, or name the CA's file as source.tls_ca_file)"
    )]
    NoRoots,
    /// The cryptography library refuses its settings.
    #[error("TLS can't be set up: {0} (hint: report this as a bug)")]
    Setup(String),
    /// The server answered that it has none.
    #[error(
        "PostgreSQL at {address} has no TLS (hint: set ssl = on there, or sslmode=disable in source.url if the way is private)"
    )]
    Refused {
        /// The server's address.
        address: String,
    },
    /// The host's name can't be in a certificate.
    #[error("the host {host} in source.url can't be verified by a certificate (hint: use its DNS name)")]
    ServerName {
        /// The name.
        host: String,
    },
    /// The server's certificate is not good enough.
    #[error("the certificate of PostgreSQL at {host} is not accepted: {reason} (hint: {hint})")]
    Certificate {
        /// The host.
        host: String,
        /// Why.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// The two sides did not agree.
    #[error("TLS with PostgreSQL at {host} failed: {reason} (hint: see the source's log)")]
    Handshake {
        /// The host.
        host: String,
        /// Why.
        reason: String,
    },
    /// The connection broke off meanwhile.
    #[error("the connection to PostgreSQL at {host} broke off during the TLS handshake: {source}")]
    Io {
        /// The host.
        host: String,
        /// Why.
        source: io::Error,
    },
}

impl TlsError {
    /// Trying again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, TlsError::Io { .. })
    }

    pub(super) fn of_handshake(host: &str, error: io::Error) -> Self {
        let host = host.to_owned();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                TlsError::Certificate { host, reason: reason.to_string(), hint: hint(reason) }
            }
            Some(reason) => TlsError::Handshake { host, reason: reason.to_string() },
            None => TlsError::Io { host, source: error },
        }
    }
}

fn hint(reason: &CertificateError) -> &'static str {
    match reason {
        CertificateError::UnknownIssuer => {
            "name the file of the CA that signed it as source.tls_ca_file; for RDS and Aurora that is AWS's global bundle"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "let source.url name the host as the certificate does, or use sslmode=verify-ca"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew it on the server, and check this machine's clock"
        }
        CertificateError::Other(_) => {
            "a certificate that is its own CA is not taken for a server: have the server's signed by a CA"
        }
        _ => "see the server's ssl_cert_file",
    }
}
