//! The byte stream under a connection: TCP or a Unix socket.
//!
//! Everything above works on [`ByteStream`]: TLS comes in by wrapping the socket here, before the login.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{SetSockOpt, setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// What carries the protocol's bytes.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// A connected byte stream, and the mark of the socket that feeds it.
pub(super) struct Socket {
    pub(super) stream: Box<dyn ByteStream>,
    pub(super) mark: LowWaterMark,
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
        let mark = LowWaterMark { socket: Some(stream.as_fd().try_clone_to_owned()?) };
        Ok(Self { stream: Box::new(stream), mark })
    }

    /// Connects to the server's socket in a folder.
    pub(super) async fn unix(folder: &Path, port: u16) -> io::Result<Self> {
        let stream = UnixStream::connect(folder.join(format!(".s.PGSQL.{port}"))).await?;
        // Unix sockets take the option and ignore it.
        Ok(Self { stream: Box::new(stream), mark: LowWaterMark { socket: None } })
    }
}

/// `SO_RCVLOWAT`: how many bytes the kernel gathers before it reports the socket readable.
pub(super) struct LowWaterMark {
    /// A second handle of the socket, so that the mark can be moved whatever wraps the stream.
    socket: Option<OwnedFd>,
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

impl LowWaterMark {
    /// Moves the mark. If bytes that suffice for the new mark are there already, the socket becomes readable at once.
    /// Says whether the socket honours it.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        let honoured = self.socket.as_ref().is_some_and(|socket| ReceiveLowWater.set(socket, &bytes).is_ok());
        if !honoured {
            self.socket = None;
        }
        honoured
    }
}
