//! A token of RDS's IAM authentication: a presigned request of the service `rds-db`, without its scheme, in the password's
//! place.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4;

use super::{missing, unreachable};
use crate::config::Secret;
use crate::replication::{ConnectParams, ReplicationError};

/// How long the server takes it. A connection that was let in stays.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// A token for this user at this host, from now on.
pub(super) async fn make(sdk: &SdkConfig, params: &ConnectParams) -> Result<Secret, ReplicationError> {
    let (host, port) = params.only_host().ok_or_else(|| {
        missing("source.rds_iam takes one host", "let source.url name the instance's or cluster's endpoint")
    })?;
    let region = sdk
        .region()
        .ok_or_else(|| missing("source.rds_iam needs the server's Region", "set aws.region or AWS_REGION"))?;
    let provider = sdk.credentials_provider().ok_or_else(|| {
        missing("source.rds_iam needs AWS credentials", "give this machine a role with rds-db:connect")
    })?;
    let credentials = provider.provide_credentials().await.map_err(|error| {
        let what = format!("source.rds_iam: no AWS credentials: {error}");
        unreachable(what, "give this machine a role with rds-db:connect; it is tried again")
    })?;
    let server = format!("{host}:{port}");
    token(&server, params.user(), region.as_ref(), credentials, SystemTime::now())
        .ok_or_else(|| missing("source.rds_iam: the token can't be signed", "report this as a bug"))
}

fn token(
    server: &str,
    user: &str,
    region: &str,
    credentials: Credentials,
    now: SystemTime,
) -> Option<Secret> {
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(LIFETIME);
    settings.signature_location = SignatureLocation::QueryParams;
    let identity = credentials.into();
    let signing = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("rds-db")
        .time(now)
        .settings(settings)
        .build()
        .ok()?;
    let mut url = format!("https://{server}/?Action=connect&DBUser={}", escaped(user));
    let request = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::Bytes(&[])).ok()?;
    let (instructions, _signature) = sign(request, &signing.into()).ok()?.into_parts();
    for (name, value) in instructions.params() {
        write!(url, "&{name}={}", escaped(value)).ok()?;
    }
    url.strip_prefix("https://").map(|token| Secret::new(token.to_owned()))
}

/// As it stands in a query: every byte but RFC 3986's unreserved ones by its hex digits.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What botocore's `generate_db_auth_token` gives for the same.
    #[test]
    fn the_token_is_the_one_that_amazons_own_client_makes() {
        let credentials = Credentials::new("AKIDEXAMPLE", "geheim", Some("a/b+c==".into()), None, "test");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        let token = token("db.example:5432", "re dms@x", "eu-west-1", credentials, now).unwrap();
        let (place, query) = token.reveal().split_once('?').unwrap();
        assert_eq!(place, "db.example:5432/");
        // The order of the query's parts means nothing.
        let parts: BTreeSet<_> = query.split('&').collect();
        let expected: BTreeSet<_> = include_str!("iam_token.golden").trim().split('&').collect();
        assert_eq!(parts, expected);
        assert!(!query.contains("geheim"));
    }
}
