//! A connection in copy-both mode: changes come in, positions go out.
//!
//! Reader and writer can be used apart, so that the server hears from us while nobody reads: a client that stops
//! reading but still sends its position stays connected, one that is silent is cut off at `wal_sender_timeout`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use postgres_protocol::message::frontend;
use re_dms_shared::Lsn;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

use super::connection::{Connection, ServerMessage, split_message, tag};
use super::error::ReplicationError;
use super::gather::Gathering;
use super::socket::ByteStream;

/// How long a polite end may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// From 1970 to 2000, where PostgreSQL's clock begins.
const POSTGRES_EPOCH: Duration = Duration::from_secs(946_684_800);

/// What the server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One message of the output plugin.
    Frame {
        /// Its position: the change's own; 0/0 for Relation messages. Not what is confirmed.
        start: Lsn,
        /// The message: a slice of the read buffer, which stays allocated as long as a slice of it lives.
        payload: Bytes,
    },
    /// A sign of life.
    Keepalive {
        /// How far the server has come: all that was committed before and is ours was sent before this.
        wal_end: Lsn,
        /// It wants a status now. A server that is shutting down asks thousands of times a second, until the flush
        /// position has caught up with what it sent.
        reply_requested: bool,
    },
}

/// A replication stream.
pub struct ReplicationStream {
    reader: ReplicationReader,
    writer: ReplicationWriter,
}

/// The incoming half.
pub struct ReplicationReader {
    half: ReadHalf<Box<dyn ByteStream>>,
    gathering: Gathering,
    buffer: BytesMut,
    /// Came after events that had to be handed out first.
    failure: Option<ReplicationError>,
}

/// The outgoing half.
pub struct ReplicationWriter {
    half: WriteHalf<Box<dyn ByteStream>>,
    /// What is not sent yet, so that a message cut in two by a dropped future is completed by the next one.
    outgoing: BytesMut,
}

impl ReplicationStream {
    pub(super) fn new(connection: Connection) -> Self {
        let Connection { socket, incoming, outgoing } = connection;
        let (reading, writing) = split(socket.stream);
        let gathering = Gathering::new(socket.tuning);
        Self {
            reader: ReplicationReader { half: reading, gathering, buffer: incoming, failure: None },
            writer: ReplicationWriter { half: writing, outgoing },
        }
    }

    /// See [`ReplicationReader::next`].
    ///
    /// # Errors
    /// As there.
    pub async fn next(&mut self) -> Result<Vec<Event>, ReplicationError> {
        self.reader.next().await
    }

    /// See [`ReplicationWriter::send_status`].
    ///
    /// # Errors
    /// As there.
    pub async fn send_status(
        &mut self,
        write: Lsn,
        flush: Lsn,
        apply: Lsn,
        reply: bool,
    ) -> Result<(), ReplicationError> {
        self.writer.send_status(write, flush, apply, reply).await
    }

    /// The two halves, for two tasks.
    #[must_use]
    pub fn into_split(self) -> (ReplicationReader, ReplicationWriter) {
        (self.reader, self.writer)
    }

    /// The halves of one stream, together again.
    #[must_use]
    pub fn from_halves(reader: ReplicationReader, writer: ReplicationWriter) -> Self {
        Self { reader, writer }
    }

    /// Ends the stream: asks the server to stop, passes over what it had sent already, and closes. A server that does not
    /// stop within two seconds is left alone; the connection is closed in any case.
    pub async fn stop(mut self) {
        let farewell = async {
            frontend::copy_done(&mut self.writer.outgoing);
            self.writer.flush().await?;
            self.reader.discard().await?;
            frontend::terminate(&mut self.writer.outgoing);
            self.writer.flush().await
        };
        // What goes wrong here changes nothing: all that we hold is ours already.
        let _ = timeout(FAREWELL, farewell).await;
        let _ = timeout(FAREWELL, self.writer.half.shutdown()).await;
    }
}

impl ReplicationReader {
    /// The events that came in since the last call, in order: at least one, and as many as were read at once. Nothing is
    /// lost if the future is dropped.
    ///
    /// # Errors
    /// If the server ends the stream, gives up with an error, or the connection fails.
    pub async fn next(&mut self) -> Result<Vec<Event>, ReplicationError> {
        let mut events = Vec::new();
        loop {
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if let Err(failure) = self.take_events(&mut events) {
                self.failure = Some(failure);
            }
            if !events.is_empty() {
                return Ok(events);
            }
            if self.failure.is_none() && self.gathering.fill(&mut self.half, &mut self.buffer).await? == 0 {
                return Err(ReplicationError::Closed);
            }
        }
    }

    /// Moves all whole messages from the buffer to `events`.
    fn take_events(&mut self, events: &mut Vec<Event>) -> Result<(), ReplicationError> {
        while let Some(message) = split_message(&mut self.buffer)? {
            match message.tag {
                tag::COPY_DATA => events.push(event(message)?),
                tag::NOTICE => message.grave_notice().map_or(Ok(()), Err)?,
                tag::PARAMETER_STATUS => {}
                tag::ERROR => return Err(message.error().unwrap_or(ReplicationError::Closed)),
                tag::COPY_DONE | tag::COMMAND_COMPLETE => return Err(ReplicationError::Ended),
                _ => return Err(message.unexpected("replication")),
            }
        }
        Ok(())
    }

    /// Passes over everything up to the server's consent to the end of the stream.
    async fn discard(&mut self) -> Result<(), ReplicationError> {
        loop {
            while let Some(message) = split_message(&mut self.buffer)? {
                if message.tag == tag::READY {
                    return Ok(());
                }
            }
            if self.gathering.fill(&mut self.half, &mut self.buffer).await? == 0 {
                return Err(ReplicationError::Closed);
            }
        }
    }
}

impl ReplicationWriter {
    /// Tells the server how far we are: `write` received, `flush` what it may forget (a transaction's **end_lsn**, or a
    /// keepalive's WAL end when nothing is pending; 0 moves nothing), `apply` loaded. With `reply` it answers by a
    /// keepalive. If the future is dropped in the middle, the next call completes the message first.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn send_status(
        &mut self,
        write: Lsn,
        flush: Lsn,
        apply: Lsn,
        reply: bool,
    ) -> Result<(), ReplicationError> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(POSTGRES_EPOCH);
        let clock = since_1970.saturating_sub(POSTGRES_EPOCH).as_micros();
        let out = &mut self.outgoing;
        out.put_u8(tag::COPY_DATA);
        out.put_u32(4 + 1 + 3 * 8 + 8 + 1);
        out.put_u8(b'r');
        for position in [write, flush, apply] {
            out.put_u64(position.0);
        }
        out.put_u64(u64::try_from(clock).unwrap_or(0));
        out.put_u8(u8::from(reply));
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), ReplicationError> {
        self.half.write_all_buf(&mut self.outgoing).await?;
        Ok(self.half.flush().await?)
    }
}

/// The event in a CopyData message.
fn event(message: ServerMessage) -> Result<Event, ReplicationError> {
    let malformed = || ReplicationError::Malformed { what: "replication message" };
    let mut body = message.body;
    match body.try_get_u8().map_err(|_| malformed())? {
        // Position, the server's WAL end (the same for logical decoding) and its clock.
        b'w' if body.len() >= 24 => {
            let start = Lsn(body.get_u64());
            body.advance(16);
            Ok(Event::Frame { start, payload: body })
        }
        // WAL end, the server's clock, a flag.
        b'k' if body.len() == 17 => {
            let wal_end = Lsn(body.get_u64());
            body.advance(8);
            Ok(Event::Keepalive { wal_end, reply_requested: body.get_u8() != 0 })
        }
        _ => Err(malformed()),
    }
}
