//! Startup and authentication.

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use tokio_postgres::config;

use super::connection::{Connection, tag};
use super::error::ReplicationError;
use super::params::ConnectParams;

const LOGIN: &str = "the login";

/// Logs in; returns what the server calls its version, such as `15.18 (Debian 15.18-0+deb12u1)`.
pub(super) async fn log_in(
    connection: &mut Connection,
    params: &ConnectParams,
) -> Result<String, ReplicationError> {
    let startup = params.startup();
    let pairs = startup.iter().map(|(name, value)| (*name, value.as_str()));
    connection.send(|out| frontend::startup_message(pairs, out)).await?;

    let mut version = None;
    let mut authenticated = false;
    loop {
        let message = connection.receive().await?;
        if let Some(error) = message.error() {
            return Err(error);
        }
        match message.tag {
            tag::AUTHENTICATION if !authenticated => {
                authenticate(connection, params, &message.body).await?;
                authenticated = true;
            }
            tag::PARAMETER_STATUS => {
                let mut texts = message.body.split(|&byte| byte == 0);
                if texts.next() == Some(b"server_version") {
                    version = texts.next().map(|text| String::from_utf8_lossy(text).into_owned());
                }
            }
            tag::BACKEND_KEY | tag::NEGOTIATE_VERSION => {}
            tag::READY if authenticated => {
                return version.ok_or(ReplicationError::Malformed { what: "server_version" });
            }
            _ => return Err(message.unexpected(LOGIN)),
        }
    }
}

/// Answers the server's first request for authentication, and all that follow from it, up to its consent.
async fn authenticate(
    connection: &mut Connection,
    params: &ConnectParams,
    request: &[u8],
) -> Result<(), ReplicationError> {
    let password = || {
        let missing = || ReplicationError::PasswordMissing { user: params.user.clone() };
        params.password.as_deref().ok_or_else(missing)
    };
    let must_bind = params.channel_binding == config::ChannelBinding::Require;
    match split_request(request)? {
        (number, _) if must_bind && number != 10 => return Err(ReplicationError::ChannelBinding),
        (0, _) => return Ok(()),
        (3, _) => {
            let password = password()?;
            connection.send(|out| frontend::password_message(password, out)).await?;
        }
        (5, salt) => {
            let salt = salt.try_into().map_err(|_| ReplicationError::Malformed { what: "md5 salt" })?;
            let hash = md5_hash(params.user.as_bytes(), password()?, salt);
            connection.send(|out| frontend::password_message(hash.as_bytes(), out)).await?;
        }
        (10, mechanisms) => scram(connection, password()?, mechanisms, params.channel_binding).await?,
        (2, _) => return Err(other_method("Kerberos")),
        (7, _) => return Err(other_method("GSSAPI")),
        (9, _) => return Err(other_method("SSPI")),
        (number, _) => return Err(other_method(&format!("number {number}"))),
    }
    match next_request(connection).await? {
        (0, _) => Ok(()),
        _ => Err(ReplicationError::Malformed { what: "end of the authentication" }),
    }
}

/// SCRAM-SHA-256, which proves to both sides that the other knows the password; over TLS also that nobody sits between
/// them with a certificate of his own.
async fn scram(
    connection: &mut Connection,
    password: &[u8],
    mechanisms: &[u8],
    wanted: config::ChannelBinding,
) -> Result<(), ReplicationError> {
    let offered = || mechanisms.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let is_offered = |mechanism: &str| offered().any(|name| name == mechanism.as_bytes());
    let binding = connection.socket.binding.clone().filter(|_| wanted != config::ChannelBinding::Disable);
    let (mechanism, binding) = match binding {
        Some(binding) if is_offered(SCRAM_SHA_256_PLUS) => {
            (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(binding))
        }
        _ if wanted == config::ChannelBinding::Require => return Err(ReplicationError::ChannelBinding),
        // The server notices if somebody took its offer away.
        Some(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
        None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
    };
    if !is_offered(mechanism) {
        let names: Vec<_> = offered().map(String::from_utf8_lossy).collect();
        return Err(other_method(&names.join(", ")));
    }
    let mut scram = ScramSha256::new(password, binding);
    connection.send(|out| frontend::sasl_initial_response(mechanism, scram.message(), out)).await?;
    let not_authentic =
        |error: std::io::Error| ReplicationError::ServerNotAuthentic { reason: error.to_string() };
    let (11, challenge) = next_request(connection).await? else {
        return Err(ReplicationError::Malformed { what: "SCRAM challenge" });
    };
    scram.update(&challenge).map_err(not_authentic)?;
    connection.send(|out| frontend::sasl_response(scram.message(), out)).await?;
    let (12, outcome) = next_request(connection).await? else {
        return Err(ReplicationError::Malformed { what: "SCRAM outcome" });
    };
    scram.finish(&outcome).map_err(not_authentic)
}

/// The next request for authentication: its number, and what comes with it.
async fn next_request(connection: &mut Connection) -> Result<(u32, Vec<u8>), ReplicationError> {
    let message = connection.receive().await?;
    if let Some(error) = message.error() {
        return Err(error);
    }
    if message.tag != tag::AUTHENTICATION {
        return Err(message.unexpected(LOGIN));
    }
    let (number, rest) = split_request(&message.body)?;
    Ok((number, rest.to_vec()))
}

fn split_request(body: &[u8]) -> Result<(u32, &[u8]), ReplicationError> {
    let malformed = || ReplicationError::Malformed { what: "request for authentication" };
    let (number, rest) = body.split_first_chunk().ok_or_else(malformed)?;
    Ok((u32::from_be_bytes(*number), rest))
}

fn other_method(method: &str) -> ReplicationError {
    ReplicationError::AuthenticationMethod { method: method.to_owned() }
}
