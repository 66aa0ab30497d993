//! From the first byte to a session: no TLS, one user with a password.

use std::collections::HashMap;
use std::io;

use bytes::BufMut;
use postgres_protocol::authentication::md5_hash;
use tokio::net::TcpStream;

use super::frames::{Reader, Wire, put_text};
use super::{WireConfig, session};
use crate::redshift::catalog::Failure;
use crate::redshift::{StandIn, lock};

const PROTOCOL_3: i32 = 3 << 16;
const CANCEL: i32 = 80_877_102;
const WANTS_TLS: i32 = 80_877_103;
const WANTS_GSSAPI: i32 = 80_877_104;

/// What drivers ask a server for. A backslash in a string is an escape.
const PARAMETERS: [(&str, &str); 7] = [
    ("server_version", "8.0.2"),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "off"),
];

/// Lets a client in and stays with it to its end.
pub(super) async fn welcome(stand_in: &StandIn, config: &WireConfig, socket: TcpStream) -> io::Result<()> {
    let mut wire = Wire::new(socket);
    let parameters = loop {
        let mut start = wire.read_untyped().await?;
        match start.int()? {
            WANTS_TLS | WANTS_GSSAPI => wire.send_byte(b'N').await?,
            CANCEL => {
                cancel(stand_in, (start.int()?, start.int()?)).await;
                return Ok(());
            }
            version if version >> 16 == PROTOCOL_3 >> 16 => break named(&mut start)?,
            _ => return refuse(&mut wire, "08P01", "unsupported frontend protocol").await,
        }
    };
    let user = parameters.get("user").map_or("", String::as_str);
    if !has_password(&mut wire, config, user).await? {
        let message = format!("password authentication failed for user \"{user}\"");
        return refuse(&mut wire, "28000", &message).await;
    }
    let database = parameters.get("database").map_or(user, String::as_str);
    if database != stand_in.warehouse.database() {
        return refuse(&mut wire, "3D000", &format!("database \"{database}\" does not exist")).await;
    }
    let connection = match stand_in.warehouse.connect().await {
        Ok(connection) => connection,
        Err(error) => {
            let failure = Failure::from(error);
            return refuse(&mut wire, &failure.code, &failure.message).await;
        }
    };
    let key = (connection.pid, rand::random::<i32>());
    lock(&stand_in.cancels).insert(key, connection.cancel_token());
    wire.message(b'R', |out| out.put_i32(0));
    for (name, value) in PARAMETERS {
        wire.message(b'S', |out| {
            put_text(out, name);
            put_text(out, value);
        });
    }
    wire.message(b'K', |out| {
        out.put_i32(key.0);
        out.put_i32(key.1);
    });
    // On the heap: the future of a whole session is a deep one.
    let ended = Box::pin(session::serve(stand_in, wire, connection)).await;
    lock(&stand_in.cancels).remove(&key);
    ended
}

/// Names and values, up to an empty name.
fn named(start: &mut Reader) -> io::Result<HashMap<String, String>> {
    let mut parameters = HashMap::new();
    loop {
        let name = start.text()?;
        if name.is_empty() {
            return Ok(parameters);
        }
        parameters.insert(name, start.text()?);
    }
}

async fn refuse(wire: &mut Wire, code: &str, message: &str) -> io::Result<()> {
    wire.error(&Failure { code: code.to_owned(), message: message.to_owned() }, "FATAL");
    wire.flush().await
}

/// MD5 with a salt, which all drivers know.
async fn has_password(wire: &mut Wire, config: &WireConfig, user: &str) -> io::Result<bool> {
    let salt: [u8; 4] = rand::random();
    wire.message(b'R', |out| {
        out.put_i32(5);
        out.put_slice(&salt);
    });
    wire.flush().await?;
    let Some((b'p', mut answer)) = wire.read().await? else { return Ok(false) };
    let expected = md5_hash(config.user.as_bytes(), config.password.as_bytes(), salt);
    Ok(user == config.user && answer.text()? == expected)
}

async fn cancel(stand_in: &StandIn, key: (i32, i32)) {
    let token = lock(&stand_in.cancels).get(&key).cloned();
    if let Some(token) = token
        && let Err(error) = token.cancel_query(tokio_postgres::NoTls).await
    {
        tracing::warn!(%error, "a query could not be cancelled");
    }
}
