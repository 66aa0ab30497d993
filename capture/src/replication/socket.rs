//! The byte stream under a connection: TCP or a Unix socket.
//!
//! Everything above works on [`ByteStream`]: TLS comes in by wrapping the socket here, before the login. An encrypted one is
//! read as it comes: the kernel's marks count bytes on the wire, and rustls reads ahead.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use nix::sys::socket::{SetSockOpt, setsockopt, sockopt};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::error::ReplicationError;
use crate::tls::{self, Connector, TlsError};

/// What carries the protocol's bytes.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// A connected byte stream, and what can be set of the socket that feeds it.
pub(super) struct Socket {
    pub(super) stream: Box<dyn ByteStream>,
    pub(super) tuning: Tuning,
    /// What a login is tied to this connection by, if it is encrypted and the server's certificate has it.
    pub(super) binding: Option<Vec<u8>>,
}

/// A peer that vanished without a word (power, a firewall that forgot us) is noticed after about this long.
const PEER_TIMEOUT: Duration = Duration::from_secs(60);

impl Socket {
    /// Connects over TCP.
    pub(super) async fn tcp(host: &str, port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        setsockopt(&stream, sockopt::KeepAlive, &true)?;
        setsockopt(&stream, sockopt::TcpKeepIdle, &20)?;
        let milliseconds = u32::try_from(PEER_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
        setsockopt(&stream, sockopt::TcpUserTimeout, &milliseconds)?;
        let own_host = stream.peer_addr()?.ip() == stream.local_addr()?.ip();
        let tuning = Tuning { socket: Some(stream.as_fd().try_clone_to_owned()?), own_host };
        Ok(Self { stream: Box::new(stream), tuning, binding: None })
    }

    /// Connects to the server's socket in a folder.
    pub(super) async fn unix(folder: &Path, port: u16) -> io::Result<Self> {
        let stream = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?;
        // Unix sockets take the options and ignore them.
        let tuning = Tuning { socket: None, own_host: true };
        Ok(Self { stream: Box::new(stream), tuning, binding: None })
    }

    /// Asks the server for TLS and goes over to it; stays as it is if the server has none and that is good enough.
    pub(super) async fn encrypted(
        mut self,
        connector: &Connector,
        host: &str,
        port: u16,
    ) -> Result<Self, ReplicationError> {
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        self.stream.write_all_buf(&mut request).await?;
        self.stream.flush().await?;
        // One byte, and none behind it: what somebody slips in before the handshake must not count as the server's.
        match self.stream.read_u8().await? {
            b'S' => {}
            b'N' if connector.is_optional() => return Ok(self),
            b'N' => return Err(TlsError::Refused { address: format!("{host}:{port}") }.into()),
            // An error that nobody vouches for: a server that is out of processes may say so like this.
            b'E' => return Err(ReplicationError::Closed),
            _ => return Err(ReplicationError::NotPostgres),
        }
        let stream = connector.handshake(host, self.stream).await?;
        let binding = tls::channel_binding(&stream);
        let tuning = Tuning { socket: None, own_host: false };
        Ok(Self { stream: Box::new(stream), tuning, binding })
    }
}

/// What of the socket can be set while it is read, whatever wraps the stream.
pub(super) struct Tuning {
    /// A second handle of the socket; none if it does not honour what is set.
    socket: Option<OwnedFd>,
    own_host: bool,
}

#[derive(Clone, Copy, Debug)]
struct ReceiveLowWater;
nix::setsockopt_impl!(
    ReceiveLowWater,
    libc::SOL_SOCKET,
    libc::SO_RCVLOWAT,
    usize,
    nix::sys::socket::sockopt::SetUsize
);

impl Tuning {
    /// Whether the peer is on this host: both ends have one address.
    pub(super) fn is_own_host(&self) -> bool {
        self.own_host
    }

    /// `SO_RCVLOWAT`: how many bytes the kernel gathers before it reports the socket readable. If bytes that suffice are
    /// there already, it becomes readable at once. Says whether the socket honours it.
    pub(super) fn set_mark(&mut self, bytes: usize) -> bool {
        let honoured = self.socket.as_ref().is_some_and(|socket| ReceiveLowWater.set(socket, &bytes).is_ok());
        if !honoured {
            self.socket = None;
        }
        honoured
    }

    /// `SO_RCVBUF`: how much the peer may send without being read, about; from now on the kernel no longer adapts it. Says
    /// whether the socket honours it.
    pub(super) fn limit_window(&self, bytes: usize) -> bool {
        self.socket.as_ref().is_some_and(|socket| setsockopt(socket, sockopt::RcvBuf, &bytes).is_ok())
    }
}
