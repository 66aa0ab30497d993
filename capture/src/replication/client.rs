//! A replication connection that is not streaming yet: its commands.

use bytes::Buf;
use postgres_protocol::message::frontend;
use re_dms_shared::Lsn;
use tokio::time::timeout;

use super::connection::{Connection, ServerMessage, tag};
use super::error::ReplicationError;
use super::login::log_in;
use super::params::{Address, ConnectParams};
use super::socket::Socket;
use super::stream::ReplicationStream;
use crate::sql;
use crate::tls::Connector;

/// The output plugin: always there, and the one that publications work with.
const PLUGIN: &str = "pgoutput";

/// The first major version whose slots can follow a failover.
pub const FAILOVER_SINCE: u32 = 17;

/// A logged-in replication connection (`replication=database`).
pub struct ReplicationClient {
    connection: Connection,
    server_version: u32,
}

/// `IDENTIFY_SYSTEM`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// The cluster's identifier, made by initdb.
    pub system_identifier: String,
    /// The timeline: one more after each promotion.
    pub timeline: u32,
    /// How far WAL is flushed.
    pub flushed: Lsn,
    /// The database that we are connected to.
    pub database: String,
}

/// Whether transactions that are still in progress are streamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Streaming {
    /// The server keeps them, on its disk if they are large, until they are committed.
    #[default]
    Off,
    /// Large ones are streamed (protocol version 2).
    On,
    /// As on, and aborts carry their position and time (protocol version 4).
    Parallel,
}

/// What pgoutput is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartOptions {
    /// The protocol's version, 1 to 4.
    pub proto_version: u32,
    /// The publications' names.
    pub publications: Vec<String>,
    /// `pg_logical_emit_message` is passed on.
    pub messages: bool,
    /// Transactions in progress are passed on.
    pub streaming: Streaming,
}

impl StartOptions {
    /// The most that a server of this major version offers and we have a use for: messages, and streaming if `streaming`.
    #[must_use]
    pub fn for_server(server_version: u32, publications: Vec<String>, streaming: bool) -> Self {
        let has_streaming = server_version >= 14;
        Self {
            proto_version: if has_streaming { 2 } else { 1 },
            publications,
            messages: has_streaming,
            streaming: if has_streaming && streaming { Streaming::On } else { Streaming::Off },
        }
    }

    /// The list in parentheses after START_REPLICATION.
    fn to_sql(&self) -> String {
        let names: Vec<_> = self.publications.iter().map(|name| sql::ident(name)).collect();
        let names = sql::literal(&names.join(","));
        let mut sql = format!("proto_version '{}', publication_names {names}", self.proto_version);
        if self.messages {
            sql.push_str(", messages 'true'");
        }
        match self.streaming {
            Streaming::Off => {}
            Streaming::On => sql.push_str(", streaming 'on'"),
            Streaming::Parallel => sql.push_str(", streaming 'parallel'"),
        }
        sql
    }
}

/// A row of texts, as the simple query protocol gives it.
type TextRow = Vec<Option<String>>;

impl ReplicationClient {
    /// Connects and logs in. Of several hosts the first that takes the connection is taken.
    ///
    /// # Errors
    /// If no host can be reached, or the login fails.
    pub async fn connect(params: &ConnectParams) -> Result<Self, ReplicationError> {
        let connector = params.tls.connector()?;
        let mut last_error = ReplicationError::Url { reason: "it names no host".to_owned() };
        for address in &params.addresses {
            let connecting = Self::connect_to(address, connector.as_ref(), params);
            match timeout(params.connect_timeout, connecting).await {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(error @ ReplicationError::Connect { .. })) => last_error = error,
                Ok(Err(error)) => return Err(error),
                Err(_elapsed) => {
                    let (address, limit) = (address.to_string(), params.connect_timeout);
                    last_error = ReplicationError::ConnectTimeout { address, limit };
                }
            }
        }
        Err(last_error)
    }

    async fn connect_to(
        address: &Address,
        connector: Option<&Connector>,
        params: &ConnectParams,
    ) -> Result<Self, ReplicationError> {
        let socket = match address {
            Address::Tcp { host, port } => Socket::tcp(host, *port).await,
            Address::Unix { folder, port } => Socket::unix(folder, *port).await,
        };
        let mut socket =
            socket.map_err(|source| ReplicationError::Connect { address: address.to_string(), source })?;
        // A socket in the file system needs none, whatever the URL says.
        if let (Some(connector), Address::Tcp { host, port }) = (connector, address) {
            socket = socket.encrypted(connector, host, *port).await?;
        }
        let mut connection = Connection::new(socket);
        let version = log_in(&mut connection, params).await?;
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        let server_version =
            digits.parse().map_err(|_| ReplicationError::Malformed { what: "server_version" })?;
        Ok(Self { connection, server_version })
    }

    /// The server's major version, such as 15.
    #[must_use]
    pub fn server_version(&self) -> u32 {
        self.server_version
    }

    /// Who the server is.
    ///
    /// # Errors
    /// If the connection fails or the answer is not of its form.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, ReplicationError> {
        let rows = self.simple_query("IDENTIFY_SYSTEM").await?;
        let malformed = || ReplicationError::Malformed { what: "answer to IDENTIFY_SYSTEM" };
        let [system_identifier, timeline, flushed, database] = first_row(rows).ok_or_else(malformed)?;
        Ok(SystemIdentity {
            system_identifier,
            timeline: timeline.parse().map_err(|_| malformed())?,
            flushed: flushed.parse().map_err(|_| malformed())?,
            database,
        })
    }

    /// The history file of a timeline that the server is on: its forefathers, and where each was left.
    ///
    /// # Errors
    /// If the server does not have it, or the answer is not of its form.
    pub async fn timeline_history(&mut self, timeline: u32) -> Result<String, ReplicationError> {
        let rows = self.simple_query(&format!("TIMELINE_HISTORY {timeline}")).await?;
        let malformed = || ReplicationError::Malformed { what: "answer to TIMELINE_HISTORY" };
        let [_file_name, content] = first_row(rows).ok_or_else(malformed)?;
        Ok(content)
    }

    /// Makes a logical slot; returns its consistent point: transactions that are committed after it will be streamed.
    /// Waits for all transactions that are in progress. `failover`: standbys keep a copy of it (PostgreSQL 17 and later).
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn create_logical_slot(&mut self, name: &str, failover: bool) -> Result<Lsn, ReplicationError> {
        // Options in parentheses came with 15.
        let options = if failover { "(SNAPSHOT 'nothing', FAILOVER)" } else { "NOEXPORT_SNAPSHOT" };
        if failover {
            self.check_failover_exists()?;
        }
        let name = sql::ident(name);
        let sql = format!("CREATE_REPLICATION_SLOT {name} LOGICAL {PLUGIN} {options}");
        let rows = self.simple_query(&sql).await?;
        let malformed = || ReplicationError::Malformed { what: "answer to CREATE_REPLICATION_SLOT" };
        let [_name, consistent_point] = first_row(rows).ok_or_else(malformed)?;
        consistent_point.parse().map_err(|_| malformed())
    }

    /// Makes a temporary slot and exports the snapshot of its consistent point: what is committed before that is visible
    /// in it, and nothing else. Waits as [`Self::create_logical_slot`] does. Slot and snapshot end with the connection,
    /// or with its next command; transactions that took the snapshot keep it.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn export_snapshot(&mut self, slot: &str) -> Result<(Lsn, String), ReplicationError> {
        let name = sql::ident(slot);
        let sql = format!("CREATE_REPLICATION_SLOT {name} TEMPORARY LOGICAL {PLUGIN} EXPORT_SNAPSHOT");
        let rows = self.simple_query(&sql).await?;
        let malformed = || ReplicationError::Malformed { what: "answer to CREATE_REPLICATION_SLOT" };
        let [_name, consistent_point, snapshot] = first_row(rows).ok_or_else(malformed)?;
        Ok((consistent_point.parse().map_err(|_| malformed())?, snapshot))
    }

    /// Drops a slot.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn drop_slot(&mut self, slot: &str) -> Result<(), ReplicationError> {
        self.simple_query(&format!("DROP_REPLICATION_SLOT {}", sql::ident(slot))).await.map(drop)
    }

    /// Changes whether standbys keep a copy of a slot (PostgreSQL 17 and later).
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn set_failover(&mut self, name: &str, failover: bool) -> Result<(), ReplicationError> {
        self.check_failover_exists()?;
        let sql = format!("ALTER_REPLICATION_SLOT {} (FAILOVER {failover})", sql::ident(name));
        self.simple_query(&sql).await.map(drop)
    }

    fn check_failover_exists(&self) -> Result<(), ReplicationError> {
        let found = self.server_version;
        if found >= FAILOVER_SINCE {
            return Ok(());
        }
        Err(ReplicationError::ServerTooOld { what: "slot.failover = true", needs: FAILOVER_SINCE, found })
    }

    /// Runs SQL (or a replication command); returns the rows of all its statements as texts.
    ///
    /// # Errors
    /// If the server refuses or the connection fails. After a refusal the connection may be used on.
    pub async fn simple_query(&mut self, sql: &str) -> Result<Vec<TextRow>, ReplicationError> {
        self.connection.send(|out| frontend::query(sql, out)).await?;
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            let message = match (self.connection.receive().await, failure.take()) {
                (Ok(message), kept) => {
                    failure = kept;
                    message
                }
                // After a FATAL error the server closes instead of being ready again.
                (Err(_), Some(error)) => return Err(error),
                (Err(error), None) => return Err(error),
            };
            match message.tag {
                tag::DATA_ROW => rows.push(data_row(&message)?),
                tag::ROW_DESCRIPTION | tag::COMMAND_COMPLETE | tag::EMPTY_QUERY | tag::PARAMETER_STATUS => {}
                tag::ERROR => failure = message.error(),
                tag::READY => return failure.map_or(Ok(rows), Err),
                _ => return Err(message.unexpected("a query")),
            }
        }
    }

    /// Waits until the server ends the connection; nothing is lost if the future is dropped.
    pub async fn ended(&mut self) -> ReplicationError {
        loop {
            match self.connection.receive().await {
                Ok(message) => {
                    if let Some(error) = message.error() {
                        return error;
                    }
                }
                Err(error) => return error,
            }
        }
    }

    /// Starts streaming from a slot. `from` below the slot's confirmed position is raised to it by the server; a position
    /// beyond it **skips** what lies between, so it must be one up to which everything is really held.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn start(
        mut self,
        slot: &str,
        from: Lsn,
        options: &StartOptions,
    ) -> Result<ReplicationStream, ReplicationError> {
        let slot = sql::ident(slot);
        let sql = format!("START_REPLICATION SLOT {slot} LOGICAL {from} ({})", options.to_sql());
        self.connection.send(|out| frontend::query(&sql, out)).await?;
        loop {
            let message = self.connection.receive().await?;
            match message.tag {
                tag::COPY_BOTH => return Ok(ReplicationStream::new(self.connection)),
                tag::PARAMETER_STATUS => {}
                tag::ERROR => return Err(message.error().unwrap_or(ReplicationError::Closed)),
                _ => return Err(message.unexpected("the start of replication")),
            }
        }
    }
}

/// The first `N` values of the first row, if they are there and not null.
fn first_row<const N: usize>(rows: Vec<TextRow>) -> Option<[String; N]> {
    let values: Vec<String> = rows.into_iter().next()?.into_iter().take(N).collect::<Option<_>>()?;
    values.try_into().ok()
}

fn data_row(message: &ServerMessage) -> Result<TextRow, ReplicationError> {
    let malformed = || ReplicationError::Malformed { what: "row" };
    let mut body = message.body.clone();
    let columns = body.try_get_u16().map_err(|_| malformed())?;
    let value = |_| {
        let length = body.try_get_i32().map_err(|_| malformed())?;
        let Ok(length) = usize::try_from(length) else { return Ok(None) };
        if body.remaining() < length {
            return Err(malformed());
        }
        let text = String::from_utf8(body.split_to(length).into()).map_err(|_| malformed())?;
        Ok(Some(text))
    };
    (0..columns).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_are_quoted_twice() {
        let options = StartOptions::for_server(15, vec!["a".into(), "B\"'c".into()], true);
        assert_eq!(
            options.to_sql(),
            r#"proto_version '2', publication_names '"a","B""''c"', messages 'true', streaming 'on'"#
        );
        let old = StartOptions::for_server(13, vec!["a".into()], true);
        assert_eq!(old.to_sql(), r#"proto_version '1', publication_names '"a"'"#);
    }
}
