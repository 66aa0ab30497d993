//! How the source lets us in: where the password comes from, and who vouches for the server.

use std::path::PathBuf;

use super::reader::Reader;
use super::{AwsConfig, Secret, units};
use crate::replication::ConnectParams;
use crate::tls::SslMode;

/// How the source lets us in.
#[derive(Clone, Debug)]
pub struct LoginConfig {
    /// Where the password comes from.
    pub password: PasswordFrom,
    /// Certificates that vouch for the server's; none for the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// How AWS is reached, where the password comes from there.
    pub aws: AwsConfig,
}

/// Where the password comes from. All but the first are asked anew for every connection, so that one that was changed is
/// found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordFrom {
    /// This one; without it the URL's, if it has one.
    Config(Option<Secret>),
    /// A file that holds nothing else.
    File(PathBuf),
    /// A secret of Secrets Manager, by ARN or name.
    SecretsManager(String),
    /// A token of RDS's IAM authentication.
    RdsIam,
}

impl LoginConfig {
    pub(super) fn read(reader: &mut Reader, url: Option<&Secret>, aws: &AwsConfig) -> Self {
        let password = reader.optional("source.password", |text| Ok(Secret::new(text.to_owned())));
        let file = reader.optional("source.password_file", |text| Ok(PathBuf::from(text)));
        let secret = reader.optional("source.password_secret", |text| Ok(text.to_owned()));
        let rds_iam = reader.or_default("source.rds_iam", units::boolean, false);
        let tls_ca_file = reader.optional("source.tls_ca_file", |text| Ok(PathBuf::from(text)));
        let given = [password.is_some(), file.is_some(), secret.is_some(), rds_iam];
        if given.into_iter().filter(|&given| given).count() > 1 {
            reader.problem(
                "source.password",
                "comes from more than one place".into(),
                "set one of source.password, source.password_file, source.password_secret and source.rds_iam",
            );
        }
        if let (true, Some(params)) =
            (rds_iam, url.and_then(|url| ConnectParams::from_url(url.reveal()).ok()))
        {
            check_for_iam(reader, &params);
        }
        let password = match (file, secret, rds_iam) {
            (Some(file), _, _) => PasswordFrom::File(file),
            (_, Some(secret), _) => PasswordFrom::SecretsManager(secret),
            (_, _, true) => PasswordFrom::RdsIam,
            _ => PasswordFrom::Config(password),
        };
        Self { password, tls_ca_file, aws: aws.clone() }
    }
}

/// A token is made for one host, and is as good as a password for a quarter of an hour.
fn check_for_iam(reader: &mut Reader, params: &ConnectParams) {
    if params.only_host().is_none() {
        let hint = "let source.url name the instance's or cluster's endpoint";
        reader.problem("source.rds_iam", "takes one host, and none by its address file".into(), hint);
    }
    if params.tls().mode < SslMode::Require {
        let what = "sends a token that must not cross an open wire".into();
        reader.problem("source.rds_iam", what, "use sslmode=verify-full in source.url");
    }
}
