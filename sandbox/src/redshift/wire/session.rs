//! One client's session: the loop over its messages, simple and extended.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;

use bytes::BufMut;

use super::frames::{Reader, Wire};
use super::prepared::{Portal, Prepared};
use super::values::{describe, put_value};
use crate::redshift::StandIn;
use crate::redshift::catalog::Failure;
use crate::redshift::execute::{self, Outcome, Wrapping};
use crate::redshift::results::{self, ResultColumn, ResultSet};
use crate::redshift::sql::{self, Command};
use crate::redshift::transaction::{self, Phase};
use crate::redshift::warehouse::Connection;

struct Session<'a> {
    stand_in: &'a StandIn,
    wire: Wire,
    connection: Connection,
    prepared: HashMap<String, Prepared>,
    portals: HashMap<String, Open>,
}

/// A portal, and what of its result was not fetched yet.
struct Open {
    portal: Portal,
    left: Option<(ResultSet, usize, String)>,
}

/// Serves to the connection's end. Dropping the warehouse's connection rolls back what is open.
pub(super) async fn serve(stand_in: &StandIn, wire: Wire, connection: Connection) -> io::Result<()> {
    let (prepared, portals) = (HashMap::new(), HashMap::new());
    let mut session = Session { stand_in, wire, connection, prepared, portals };
    session.ready().await?;
    let mut skipping = false;
    while let Some((kind, mut message)) = session.wire.read().await? {
        match kind {
            b'X' => return Ok(()),
            b'S' => {
                skipping = false;
                session.ready().await?;
            }
            b'Q' => {
                let sql = message.text()?;
                session.simple(&sql).await?;
                session.ready().await?;
            }
            b'H' => session.wire.flush().await?,
            // After an error nothing counts up to Sync.
            _ if skipping => {}
            _ => {
                if let Err(failure) = session.extended(kind, &mut message).await? {
                    session.wire.error(&failure, "ERROR");
                    skipping = true;
                }
            }
        }
    }
    Ok(())
}

impl Session<'_> {
    async fn ready(&mut self) -> io::Result<()> {
        let phase = match self.connection.transaction.phase {
            Phase::None => b'I',
            Phase::Open => b'T',
            Phase::Failed => b'E',
        };
        self.wire.message(b'Z', |out| out.put_u8(phase));
        self.wire.flush().await
    }

    /// A text of one statement, or of several, which are one transaction unless they say otherwise.
    async fn simple(&mut self, text: &str) -> io::Result<()> {
        let statements = match sql::split(text) {
            Ok(statements) if statements.is_empty() => {
                self.wire.empty(b'I');
                return Ok(());
            }
            Ok(statements) => statements,
            Err(error) => {
                self.fail(&error.into());
                return Ok(());
            }
        };
        let together = statements.len() > 1 && self.connection.transaction.phase == Phase::None;
        if together && let Err(failure) = transaction::begin(&mut self.connection).await {
            self.fail(&failure);
            return Ok(());
        }
        for statement in statements {
            let ran = self.run_text(statement).await;
            match ran {
                Ok(outcome) => self.answer(outcome, statement).await?,
                Err(failure) => {
                    self.wire.error(&failure, "ERROR");
                    break;
                }
            }
        }
        if together {
            let ended = match self.connection.transaction.phase {
                Phase::Failed => transaction::roll_back(&mut self.connection).await,
                _ => transaction::commit(self.stand_in, &mut self.connection).await,
            };
            if let Err(failure) = ended {
                self.wire.error(&failure, "ERROR");
            }
        }
        Ok(())
    }

    fn fail(&mut self, failure: &Failure) {
        self.connection.transaction.fail();
        self.wire.error(failure, "ERROR");
    }

    async fn run_text(&mut self, text: &str) -> Result<Outcome, Failure> {
        let id = self.stand_in.query_ids.fetch_add(1, Ordering::Relaxed);
        let command = execute::translate(self.stand_in, text, &[], id).map_err(Failure::from);
        self.run(command, id).await
    }

    /// With the faults of any statement.
    async fn run(&mut self, command: Result<Command, Failure>, id: i64) -> Result<Outcome, Failure> {
        tokio::time::sleep(self.stand_in.faults.latency()).await;
        let fault = self.stand_in.faults.fail_execution();
        if let Some((error, false)) = &fault {
            self.connection.transaction.fail();
            return Err(error.clone().into());
        }
        let run = execute::run_command(self.stand_in, &mut self.connection, command, Wrapping::None, id);
        let ran = Box::pin(run).await;
        match (ran, fault) {
            (Ok(_), Some((error, true))) => Err(error.into()),
            (ran, _) => ran,
        }
    }

    /// Rows and tag of a simple statement.
    async fn answer(&mut self, outcome: Outcome, statement: &str) -> io::Result<()> {
        let tag = self.tag(statement, &outcome);
        if let Some(result) = &outcome.result {
            self.row_description(&result.columns, |_| false);
            if let Err(failure) = self.rows(result, 0, usize::MAX, |_| false).await? {
                self.wire.error(&failure, "ERROR");
                return Ok(());
            }
        }
        self.wire.complete(&tag);
        Ok(())
    }

    fn row_description(&mut self, columns: &[ResultColumn], is_binary: impl Fn(usize) -> bool) {
        self.wire.message(b'T', |out| {
            out.put_i16(i16::try_from(columns.len()).unwrap_or(i16::MAX));
            for (position, column) in columns.iter().enumerate() {
                describe(column, is_binary(position), out);
            }
        });
    }

    /// So many rows from one on; the first that is left.
    async fn rows(
        &mut self,
        result: &ResultSet,
        start: usize,
        count: usize,
        is_binary: impl Fn(usize) -> bool,
    ) -> io::Result<Result<usize, Failure>> {
        let mut next = start;
        for row in result.rows.iter().skip(start).take(count) {
            let mut unknown = None;
            self.wire.message(b'D', |out| {
                out.put_i16(i16::try_from(row.len()).unwrap_or(i16::MAX));
                for (position, (value, column)) in row.iter().zip(&result.columns).enumerate() {
                    let put = match value {
                        None => {
                            out.put_i32(-1);
                            Some(())
                        }
                        Some(text) => put_value(text, column, is_binary(position), out),
                    };
                    if put.is_none() {
                        unknown = Some(&column.name);
                    }
                }
            });
            if let Some(name) = unknown {
                let what = format!("the binary form of column \"{name}\" is not supported by the stand-in");
                return Ok(Err(what.into()));
            }
            next += 1;
            self.wire.flush_much().await?;
        }
        Ok(Ok(next))
    }

    async fn extended(&mut self, kind: u8, message: &mut Reader) -> io::Result<Result<(), Failure>> {
        match kind {
            b'P' => {
                let (name, prepared) = Prepared::read(message)?;
                Ok(self.parse(name, prepared))
            }
            b'B' => {
                let (portal, statement) = (message.text()?, message.text()?);
                let Some(prepared) = self.prepared.get(&statement).cloned() else {
                    return Ok(Err(missing("prepared statement", &statement)));
                };
                let bound = Portal::read(message, prepared)?;
                Ok(bound.map(|bound| {
                    self.portals.insert(portal, Open { portal: bound, left: None });
                    self.wire.empty(b'2');
                }))
            }
            b'D' => {
                let (kind, name) = (message.byte()?, message.text()?);
                Ok(self.describe(kind, &name).await)
            }
            b'E' => {
                let name = message.text()?;
                let limit = usize::try_from(message.int()?).ok().filter(|limit| *limit > 0);
                self.execute(&name, limit.unwrap_or(usize::MAX)).await
            }
            b'C' => {
                let (kind, name) = (message.byte()?, message.text()?);
                if kind == b'S' {
                    self.prepared.remove(&name);
                } else {
                    self.portals.remove(&name);
                }
                self.wire.empty(b'3');
                Ok(Ok(()))
            }
            other => {
                let message = format!("the message {:?} is not supported by the stand-in", char::from(other));
                Ok(Err(Failure { code: "08P01".to_owned(), message }))
            }
        }
    }

    fn parse(&mut self, name: String, mut prepared: Prepared) -> Result<(), Failure> {
        let (strings, tag) = (self.stand_in.copy_strings(), self.tag_of_a_query());
        // What can't be translated is refused now. An empty statement is one that does nothing.
        let known = prepared.complete(strings).and_then(|()| {
            if prepared.sql.trim().is_empty() { Ok(()) } else { prepared.outline(strings, &tag).map(drop) }
        });
        if let Err(failure) = known {
            self.connection.transaction.fail();
            return Err(failure);
        }
        self.prepared.insert(name, prepared);
        self.wire.empty(b'1');
        Ok(())
    }

    fn tag_of_a_query(&self) -> String {
        format!("q{}", self.stand_in.query_ids.fetch_add(1, Ordering::Relaxed))
    }

    async fn describe(&mut self, kind: u8, name: &str) -> Result<(), Failure> {
        let (prepared, portal) = if kind == b'S' {
            let prepared = self.prepared.get(name).ok_or_else(|| missing("prepared statement", name))?;
            (prepared.clone(), None)
        } else {
            let open = self.portals.get(name).ok_or_else(|| missing("portal", name))?;
            (open.portal.prepared.clone(), Some(open.portal.clone()))
        };
        let (strings, tag) = (self.stand_in.copy_strings(), self.tag_of_a_query());
        let columns = if prepared.sql.trim().is_empty() {
            None
        } else {
            match prepared.outline(strings, &tag)? {
                Command::Query { sql, .. } => Some(self.columns(&sql).await?),
                _ => None,
            }
        };
        if kind == b'S' {
            self.wire.message(b't', |out| {
                out.put_i16(i16::try_from(prepared.types.len()).unwrap_or(i16::MAX));
                prepared.types.iter().for_each(|oid| out.put_u32(*oid));
            });
        }
        match columns {
            Some(columns) => {
                let is_binary = |column| portal.as_ref().is_some_and(|portal| portal.is_binary(column));
                self.row_description(&columns, is_binary);
            }
            None => self.wire.empty(b'n'),
        }
        Ok(())
    }

    /// PostgreSQL looks the query over, and takes its snapshot for that.
    async fn columns(&mut self, sql: &str) -> Result<Vec<ResultColumn>, Failure> {
        if self.connection.transaction.phase == Phase::Open {
            transaction::take_snapshot(self.stand_in, &mut self.connection).await?;
        }
        let columns = results::columns(&self.connection.client, sql).await;
        if columns.is_err() {
            self.connection.transaction.fail();
        }
        Ok(columns?)
    }

    async fn execute(&mut self, name: &str, limit: usize) -> io::Result<Result<(), Failure>> {
        let Some(mut open) = self.portals.remove(name) else { return Ok(Err(missing("portal", name))) };
        let (result, start, tag) = match open.left.take() {
            Some(left) => left,
            None => {
                if open.portal.prepared.sql.trim().is_empty() {
                    self.wire.empty(b'I');
                    return Ok(Ok(()));
                }
                let id = self.stand_in.query_ids.fetch_add(1, Ordering::Relaxed);
                let command = open.portal.command(self.stand_in.copy_strings(), &format!("q{id}"));
                let outcome = match self.run(command, id).await {
                    Ok(outcome) => outcome,
                    Err(failure) => return Ok(Err(failure)),
                };
                let tag = self.tag(&open.portal.prepared.sql, &outcome);
                match outcome.result {
                    Some(result) => (result, 0, tag),
                    None => {
                        self.wire.complete(&tag);
                        return Ok(Ok(()));
                    }
                }
            }
        };
        let next = match self.rows(&result, start, limit, |column| open.portal.is_binary(column)).await? {
            Ok(next) => next,
            Err(failure) => return Ok(Err(failure)),
        };
        if next < result.rows.len() {
            self.wire.empty(b's');
            open.left = Some((result, next, tag));
            self.portals.insert(name.to_owned(), open);
        } else {
            self.wire.complete(&tag);
        }
        Ok(Ok(()))
    }

    /// What `CommandComplete` says; a COPY also sends Redshift's notice.
    fn tag(&mut self, sql: &str, outcome: &Outcome) -> String {
        let words: Vec<String> =
            sql::words(sql).into_iter().take(4).map(|word| word.to_uppercase()).collect();
        let fillers = ["TEMP", "TEMPORARY", "LOCAL", "OR", "REPLACE"];
        let mut words = words.iter().map(String::as_str).filter(|word| !fillers.contains(word));
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match first {
            "SELECT" | "WITH" | "" => format!("SELECT {}", outcome.rows.max(0)),
            "INSERT" => format!("INSERT 0 {}", outcome.rows.max(0)),
            "UPDATE" | "DELETE" | "MERGE" => format!("{first} {}", outcome.rows.max(0)),
            "COPY" => {
                let message = format!(
                    "Load into table '{}' completed, {} record(s) loaded successfully.",
                    second.to_lowercase(),
                    outcome.rows
                );
                self.wire.error(&Failure { code: "00000".to_owned(), message }, "INFO");
                "COPY".to_owned()
            }
            "CREATE" | "ALTER" | "DROP" => format!("{first} {second}"),
            "START" => "BEGIN".to_owned(),
            "END" => "COMMIT".to_owned(),
            "ABORT" => "ROLLBACK".to_owned(),
            "LOCK" | "TRUNCATE" => format!("{first} TABLE"),
            other => other.to_owned(),
        }
    }
}

fn missing(what: &str, name: &str) -> Failure {
    Failure { code: "26000".to_owned(), message: format!("{what} \"{name}\" does not exist") }
}
