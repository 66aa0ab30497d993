//! Messages of the protocol: a type, a length, and what belongs to the type.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::redshift::catalog::Failure;

/// The longest message that is taken: Redshift's longest statement is 16 MB.
const MAX_BYTES: usize = 64 << 20;

/// A client's connection, with what is about to be sent.
pub(super) struct Wire {
    socket: TcpStream,
    out: BytesMut,
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the client sent {what}"))
}

impl Wire {
    pub(super) fn new(socket: TcpStream) -> Self {
        // Answers are small and waited for.
        let _ = socket.set_nodelay(true);
        Self { socket, out: BytesMut::new() }
    }

    /// The next message; None at the connection's end.
    pub(super) async fn read(&mut self) -> io::Result<Option<(u8, Reader)>> {
        let kind = match self.socket.read_u8().await {
            Ok(kind) => kind,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some((kind, self.read_untyped().await?)))
    }

    /// The messages of the start have no type.
    pub(super) async fn read_untyped(&mut self) -> io::Result<Reader> {
        let length = usize::try_from(self.socket.read_i32().await?).unwrap_or(0);
        let length = length.checked_sub(4).filter(|length| *length <= MAX_BYTES);
        let mut body = vec![0; length.ok_or_else(|| malformed("an impossible length"))?];
        self.socket.read_exact(&mut body).await?;
        Ok(Reader(body.into()))
    }

    /// One byte outside of messages.
    pub(super) async fn send_byte(&mut self, byte: u8) -> io::Result<()> {
        self.socket.write_all(&[byte]).await
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let out = self.out.split();
        self.socket.write_all(&out).await
    }

    /// Sends what is a lot already.
    pub(super) async fn flush_much(&mut self) -> io::Result<()> {
        if self.out.len() > 256 * 1024 { self.flush().await } else { Ok(()) }
    }

    /// Puts a message into the buffer.
    pub(super) fn message(&mut self, kind: u8, write: impl FnOnce(&mut BytesMut)) {
        self.out.put_u8(kind);
        let start = self.out.len();
        self.out.put_i32(0);
        write(&mut self.out);
        let length = i32::try_from(self.out.len() - start).unwrap_or(i32::MAX);
        self.out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    pub(super) fn empty(&mut self, kind: u8) {
        self.message(kind, |_| {});
    }

    /// `CommandComplete`
    pub(super) fn complete(&mut self, tag: &str) {
        self.message(b'C', |out| put_text(out, tag));
    }

    /// `ErrorResponse`, or with `severity` INFO a notice.
    pub(super) fn error(&mut self, failure: &Failure, severity: &str) {
        let kind = if severity == "INFO" { b'N' } else { b'E' };
        let (message, detail) = match failure.message.split_once(" DETAIL: ") {
            Some((message, detail)) => (message, Some(detail)),
            None => (failure.message.as_str(), None),
        };
        self.message(kind, |out| {
            let fields = [(b'S', severity), (b'C', &failure.code), (b'M', message)];
            for (field, text) in fields.into_iter().chain(detail.map(|detail| (b'D', detail))) {
                out.put_u8(field);
                put_text(out, text);
            }
            out.put_u8(0);
        });
    }
}

/// A text and its end.
pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    // NUL ends a text: none gets out within one.
    out.put_slice(text.replace('\0', "\u{fffd}").as_bytes());
    out.put_u8(0);
}

/// What is left of a message.
pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) fn byte(&mut self) -> io::Result<u8> {
        self.0.try_get_u8().map_err(|_| malformed("a message that is cut off"))
    }

    pub(super) fn short(&mut self) -> io::Result<i16> {
        self.0.try_get_i16().map_err(|_| malformed("a message that is cut off"))
    }

    pub(super) fn int(&mut self) -> io::Result<i32> {
        self.0.try_get_i32().map_err(|_| malformed("a message that is cut off"))
    }

    pub(super) fn text(&mut self) -> io::Result<String> {
        let end =
            self.0.iter().position(|&byte| byte == 0).ok_or_else(|| malformed("a text without its end"))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(text.to_vec()).map_err(|_| malformed("a text that is no UTF-8"))
    }

    /// So many bytes; none for -1.
    pub(super) fn bytes(&mut self) -> io::Result<Option<Bytes>> {
        let Ok(length) = usize::try_from(self.int()?) else { return Ok(None) };
        if length > self.0.len() {
            return Err(malformed("a message that is cut off"));
        }
        Ok(Some(self.0.split_to(length)))
    }
}
