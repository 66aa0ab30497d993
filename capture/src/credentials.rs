//! The source's password, from wherever it is kept: the config, a file, Secrets Manager, or RDS's IAM authentication.
//!
//! Asked anew for every connection. What was changed is found with the next one, and a token, which is good for a quarter
//! of an hour, is always fresh.

mod iam_token;
mod secret;

use crate::aws;
use crate::config::{PasswordFrom, SourceConfig};
use crate::replication::{ConnectParams, ReplicationError};

/// All that a connection to the source takes.
///
/// # Errors
/// If the password can't be had; [`ReplicationError::Url`] for a URL that was never checked.
pub async fn connect_params(config: &SourceConfig) -> Result<ConnectParams, ReplicationError> {
    let params = ConnectParams::from_url(config.url.reveal())?;
    let params = params.with_ca_file(config.login.tls_ca_file.clone());
    match &config.login.password {
        PasswordFrom::Config(None) => Ok(params),
        PasswordFrom::Config(Some(password)) => Ok(params.with_password(password.reveal())),
        PasswordFrom::File(path) => {
            let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                let what = format!("source.password_file: {} can't be read: {error}", path.display());
                missing(what, "let it hold the password and nothing else, readable for this user")
            })?;
            // An editor ends a file by a line's end.
            Ok(params.with_password(text.trim_end_matches(['\r', '\n'])))
        }
        PasswordFrom::SecretsManager(id) => {
            let login = secret::read(&aws::sdk_config(&config.login.aws).await, id).await?;
            let params = match &login.user {
                Some(user) => params.with_user(user),
                None => params,
            };
            Ok(params.with_password(login.password.reveal()))
        }
        PasswordFrom::RdsIam => {
            let token = iam_token::make(&aws::sdk_config(&config.login.aws).await, &params).await?;
            Ok(params.with_password(token.reveal()))
        }
    }
}

/// Somebody has to do something about it.
fn missing(what: impl Into<String>, hint: &str) -> ReplicationError {
    ReplicationError::Credentials { what: what.into(), hint: hint.to_owned(), transient: false }
}

/// It may be there the next time.
fn unreachable(what: impl Into<String>, hint: &str) -> ReplicationError {
    ReplicationError::Credentials { what: what.into(), hint: hint.to_owned(), transient: true }
}
