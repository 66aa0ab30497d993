//! User and password in Secrets Manager: the JSON that RDS keeps there, or a password as it is.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use serde::Deserialize;

use super::{missing, unreachable};
use crate::aws::words;
use crate::config::Secret;
use crate::replication::ReplicationError;

/// What a secret says.
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Secret,
}

/// What RDS writes has more keys: where the server is, source.url says.
#[derive(Deserialize)]
struct RdsSecret {
    username: Option<String>,
    password: String,
}

/// Reads the secret's current version.
pub(super) async fn read(sdk: &SdkConfig, id: &str) -> Result<Login, ReplicationError> {
    let answer = Client::new(sdk).get_secret_value().secret_id(id).send().await;
    let secret = answer.map_err(|error| {
        let what = format!("source.password_secret: {id} can't be read: {}", words(&error));
        match error.code() {
            Some("ResourceNotFoundException") => missing(what, "correct its ARN or name, and aws.region"),
            Some("AccessDeniedException" | "DecryptionFailure") => missing(
                what,
                "give the capture's role secretsmanager:GetSecretValue on it, and kms:Decrypt on its key",
            ),
            _ => unreachable(what, "check the network and aws.endpoint_url; it is tried again"),
        }
    })?;
    parse(secret.secret_string().unwrap_or_default()).ok_or_else(|| {
        let what = format!("source.password_secret: {id} holds no password");
        missing(what, "it must be JSON with \"username\" and \"password\", or the password alone")
    })
}

/// Errors of the parser quote what they read, so they are not told.
fn parse(text: &str) -> Option<Login> {
    if text.trim_start().starts_with('{') {
        let secret: RdsSecret = serde_json::from_str(text).ok()?;
        return Some(Login { user: secret.username, password: Secret::new(secret.password) });
    }
    (!text.is_empty()).then(|| Login { user: None, password: Secret::new(text.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rds_writes_json_and_people_a_password() {
        let parsed = |text| parse(text).map(|login| (login.user, login.password.reveal().to_owned()));
        let rds = r#"{"username":"re_dms","password":"p{w","engine":"postgres","host":"h","port":5432}"#;
        assert_eq!(parsed(rds), Some((Some("re_dms".into()), "p{w".into())));
        assert_eq!(parsed(r#" {"password":"pw"}"#), Some((None, "pw".into())));
        assert_eq!(parsed("pw"), Some((None, "pw".into())));
        for nothing in ["", r#"{"username":"u"}"#, "{pw"] {
            assert_eq!(parsed(nothing), None, "{nothing}");
        }
    }
}
