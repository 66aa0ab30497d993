//! Messages on a byte stream: a tag, a length, a body.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::ReplicationError;
use super::server_error::{Failure, ServerError};
use super::socket::Socket;

/// PostgreSQL allocates no message larger than this.
const LARGEST_MESSAGE: usize = 1 << 30;

/// Tags of the server's messages.
pub(super) mod tag {
    pub(in super::super) const AUTHENTICATION: u8 = b'R';
    pub(in super::super) const BACKEND_KEY: u8 = b'K';
    pub(in super::super) const COMMAND_COMPLETE: u8 = b'C';
    pub(in super::super) const COPY_BOTH: u8 = b'W';
    pub(in super::super) const COPY_DATA: u8 = b'd';
    pub(in super::super) const COPY_DONE: u8 = b'c';
    pub(in super::super) const DATA_ROW: u8 = b'D';
    pub(in super::super) const EMPTY_QUERY: u8 = b'I';
    pub(in super::super) const ERROR: u8 = b'E';
    pub(in super::super) const NEGOTIATE_VERSION: u8 = b'v';
    pub(in super::super) const NOTICE: u8 = b'N';
    pub(in super::super) const PARAMETER_STATUS: u8 = b'S';
    pub(in super::super) const READY: u8 = b'Z';
    pub(in super::super) const ROW_DESCRIPTION: u8 = b'T';
}

/// One message of the server.
pub(super) struct ServerMessage {
    pub(super) tag: u8,
    pub(super) body: Bytes,
}

impl ServerMessage {
    /// The error that it is, if it is one.
    pub(super) fn error(&self) -> Option<ReplicationError> {
        (self.tag == tag::ERROR).then(|| ServerError::parse(&self.body).into())
    }

    /// What it means for a stream if it is a notice that is as bad as an error.
    pub(super) fn grave_notice(&self) -> Option<ReplicationError> {
        let notice = (self.tag == tag::NOTICE).then(|| ServerError::parse(&self.body))?;
        (notice.failure() == Failure::PublicationMissing).then(|| notice.into())
    }

    /// For a message that has no place where it came.
    pub(super) fn unexpected(&self, during: &'static str) -> ReplicationError {
        ReplicationError::Unexpected { tag: char::from(self.tag), during }
    }
}

/// Takes the first message off `buffer` if it is whole; otherwise makes room for the rest of it.
pub(super) fn split_message(buffer: &mut BytesMut) -> Result<Option<ServerMessage>, ReplicationError> {
    let Some(&[tag, a, b, c, d]) = buffer.first_chunk::<5>() else { return Ok(None) };
    // The length counts itself, not the tag.
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(4..=LARGEST_MESSAGE).contains(&length) || !tag.is_ascii_alphanumeric() {
        return Err(ReplicationError::NotPostgres);
    }
    let total = length + 1;
    if buffer.len() < total {
        buffer.reserve(total - buffer.len());
        return Ok(None);
    }
    let mut body = buffer.split_to(total).freeze();
    body.advance(5);
    Ok(Some(ServerMessage { tag, body }))
}

/// A connection before it streams: messages one by one.
pub(super) struct Connection {
    pub(super) socket: Socket,
    /// What was read and not yet taken.
    pub(super) incoming: BytesMut,
    /// What is to be sent.
    pub(super) outgoing: BytesMut,
}

impl Connection {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, incoming: BytesMut::with_capacity(8 << 10), outgoing: BytesMut::new() }
    }

    /// Encodes messages with `encode` and sends them.
    pub(super) async fn send(
        &mut self,
        encode: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), ReplicationError> {
        encode(&mut self.outgoing)?;
        self.socket.stream.write_all_buf(&mut self.outgoing).await?;
        Ok(self.socket.stream.flush().await?)
    }

    /// The server's next message; notices and the like, which may come at any time, are passed over.
    pub(super) async fn receive(&mut self) -> Result<ServerMessage, ReplicationError> {
        loop {
            match split_message(&mut self.incoming)? {
                Some(message) if message.tag == tag::NOTICE => {}
                Some(message) => return Ok(message),
                None => {
                    if self.socket.stream.read_buf(&mut self.incoming).await? == 0 {
                        return Err(ReplicationError::Closed);
                    }
                }
            }
        }
    }
}
