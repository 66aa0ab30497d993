//! The loader's settings, all from its environment. Every mistake is reported at once, each with its variable and a hint.

use std::fmt;

pub use re_dms_plan::CopySettings;
use re_dms_telemetry::reports::{Rollbar, Sentry, Service, rollbar};
use re_dms_telemetry::traces::Collector;

/// The database that segments go into.
pub const DATABASE: &str = "RE_DMS_DATABASE";
/// The serverless workgroup, by name or ARN. Exactly one of this and [`CLUSTER`].
pub const WORKGROUP: &str = "RE_DMS_WORKGROUP";
/// The provisioned cluster's identifier.
pub const CLUSTER: &str = "RE_DMS_CLUSTER";
/// A Secrets Manager secret with the database user. Without it and [`DB_USER`] the function's IAM identity is the user.
pub const SECRET_ARN: &str = "RE_DMS_SECRET_ARN";
/// The database user, for a provisioned cluster.
pub const DB_USER: &str = "RE_DMS_DB_USER";
/// The role that COPY reads S3 with: an ARN (several, chained, with commas), or `default`.
pub const COPY_ROLE: &str = "RE_DMS_COPY_ROLE";
/// The bucket's Region, if Redshift is in another one.
pub const COPY_REGION: &str = "RE_DMS_COPY_REGION";
/// How many staging tables are filled at the same time, where a segment has many or large ones: 1 to 50.
pub const COPY_CONCURRENCY: &str = "RE_DMS_COPY_CONCURRENCY";
/// After so many failures of one segment for one table's sake, the table is quarantined; 0 stops the stream instead.
pub const MAX_ATTEMPTS: &str = "RE_DMS_MAX_ATTEMPTS";
/// What is committed at once: `segment`, or `table` for each table alone.
pub const ATOMIC: &str = "RE_DMS_ATOMIC";
/// A filter for the log, such as `info` or `re_dms_loader=debug,info`.
pub const LOG: &str = "RE_DMS_LOG";
/// A Sentry project that errors are reported to.
pub const SENTRY_DSN: &str = "RE_DMS_SENTRY_DSN";
/// A Rollbar project that errors are reported to, by its access token.
pub const ROLLBAR_TOKEN: &str = "RE_DMS_ROLLBAR_TOKEN";
/// Where Rollbar is, if it is not where everybody's is.
pub const ROLLBAR_URL: &str = "RE_DMS_ROLLBAR_URL";
/// What reports say of where they come from.
pub const ENVIRONMENT: &str = "RE_DMS_ENVIRONMENT";
/// A receiver of traces by OTLP over HTTP, by its base address.
pub const OTLP_ENDPOINT: &str = "RE_DMS_OTLP_ENDPOINT";
/// Headers that it wants, as `name=value`, with commas between them.
pub const OTLP_HEADERS: &str = "RE_DMS_OTLP_HEADERS";
/// `false` keeps metrics off the log.
pub const METRICS: &str = "RE_DMS_METRICS";
/// CloudWatch's namespace of the metrics.
pub const METRICS_NAMESPACE: &str = "RE_DMS_METRICS_NAMESPACE";
/// `true` puts the bucket into S3's path instead of the host name: for stand-ins.
pub const S3_PATH_STYLE: &str = "RE_DMS_S3_PATH_STYLE";

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which Redshift, as whom.
    pub warehouse: Warehouse,
    /// How segments are applied.
    pub apply: ApplySettings,
    /// The log's filter.
    pub log: String,
    /// Whom errors are reported to.
    pub errors: ErrorSettings,
    /// CloudWatch's namespace of the metrics; none if there are to be none.
    pub metrics: Option<String>,
    /// Where traces go; none if there are to be none.
    pub traces: Option<Collector>,
    /// Path-style S3 addresses.
    pub s3_path_style: bool,
}

/// Which Redshift, as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warehouse {
    /// The database.
    pub database: String,
    /// Where it is.
    pub location: Location,
    /// Who connects.
    pub identity: Identity,
}

/// Serverless or provisioned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A serverless workgroup.
    Workgroup(String),
    /// A provisioned cluster.
    Cluster(String),
}

/// Who connects to the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The function's own IAM role.
    Iam,
    /// A database user by name, with temporary credentials.
    DbUser(String),
    /// Whoever the secret says.
    Secret(String),
}

/// Whom errors are reported to.
#[derive(Clone, Debug)]
pub struct ErrorSettings {
    /// Sentry and Rollbar, or neither.
    pub services: Vec<Service>,
    /// `production`, `staging` and the like.
    pub environment: String,
}

/// How segments are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplySettings {
    /// How COPY gets at the files.
    pub copy: CopySettings,
    /// Failures of one segment for one table's sake before the table is quarantined; 0 for never.
    pub max_attempts: u32,
    /// Staging tables that are filled at the same time.
    pub concurrency: usize,
    /// What is committed at once.
    pub atomic: Atomic,
}

/// What is committed at once. Either way each segment is applied exactly once, and one loader may go on with what one of
/// the other kind began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Atomic {
    /// All tables of a segment: readers see whole transactions of the source.
    #[default]
    Segment,
    /// Each table alone: shorter transactions, and for a moment readers see one table further than another.
    Table,
}

impl Default for ApplySettings {
    fn default() -> Self {
        Self { copy: CopySettings::default(), max_attempts: 3, concurrency: 8, atomic: Atomic::default() }
    }
}

/// Everything that is wrong with the environment.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
}

#[derive(Debug, PartialEq, Eq)]
struct Mistake {
    variable: &'static str,
    problem: &'static str,
    hint: &'static str,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.mistakes.iter().map(|Mistake { variable, problem, hint }| {
            // The value itself stays out: a secret may have been put into the wrong variable.
            format!("{variable} {problem} (hint: {hint})")
        });
        f.write_str(&lines.collect::<Vec<_>>().join("; "))
    }
}

impl Config {
    /// Reads the environment through `lookup`; an empty variable counts as absent, since templates can't leave one out.
    ///
    /// # Errors
    /// All mistakes together.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let get = |variable| lookup(variable).filter(|value| !value.is_empty());
        let mut mistakes = Vec::new();
        let mut wrong = |variable, problem, hint| mistakes.push(Mistake { variable, problem, hint });

        let database = get(DATABASE).unwrap_or_else(|| {
            wrong(DATABASE, "is missing", "name the Redshift database that the segments go into");
            String::new()
        });
        let location = match (get(WORKGROUP), get(CLUSTER)) {
            (Some(workgroup), None) => Location::Workgroup(workgroup),
            (None, Some(cluster)) => Location::Cluster(cluster),
            (None, None) => {
                let hint = "set it for Redshift Serverless, or RE_DMS_CLUSTER for a provisioned cluster";
                wrong(WORKGROUP, "is missing", hint);
                Location::Workgroup(String::new())
            }
            (Some(workgroup), Some(_)) => {
                wrong(WORKGROUP, "is set together with RE_DMS_CLUSTER", "keep the one that you load into");
                Location::Workgroup(workgroup)
            }
        };
        let identity = match (get(SECRET_ARN), get(DB_USER)) {
            (None, None) => Identity::Iam,
            (Some(secret), None) => Identity::Secret(secret),
            (None, Some(user)) => {
                if matches!(location, Location::Workgroup(_)) {
                    let hint = "a workgroup takes the IAM role's user or RE_DMS_SECRET_ARN: remove it";
                    wrong(DB_USER, "is set for a workgroup", hint);
                }
                Identity::DbUser(user)
            }
            (Some(secret), Some(_)) => {
                wrong(
                    DB_USER,
                    "is set together with RE_DMS_SECRET_ARN",
                    "the secret names the user: keep one",
                );
                Identity::Secret(secret)
            }
        };
        let role = get(COPY_ROLE).filter(|role| role != "default");
        if role.as_deref().is_some_and(|role| !is_role(role)) {
            wrong(COPY_ROLE, "is not a role", "give arn:aws:iam::ACCOUNT:role/NAME, or `default`");
        }
        let region = get(COPY_REGION);
        if region.as_deref().is_some_and(|region| !is_region(region)) {
            wrong(COPY_REGION, "is not a Region", "give the bucket's Region, such as eu-central-1");
        }
        let ApplySettings { max_attempts, concurrency, .. } = ApplySettings::default();
        let concurrency = get(COPY_CONCURRENCY).map_or(Some(concurrency), |text| text.parse().ok());
        let concurrency = concurrency.filter(|concurrency| (1..=50).contains(concurrency));
        if concurrency.is_none() {
            wrong(COPY_CONCURRENCY, "is not a number from 1 to 50", "try 8, or remove it");
        }
        let max_attempts = get(MAX_ATTEMPTS).map_or(Some(max_attempts), |text| text.parse().ok());
        if max_attempts.is_none() {
            wrong(
                MAX_ATTEMPTS,
                "is not a number",
                "try 3; 0 stops the stream where a table would be quarantined",
            );
        }
        let atomic = match get(ATOMIC).as_deref() {
            None | Some("segment") => Atomic::Segment,
            Some("table") => Atomic::Table,
            Some(_) => {
                wrong(ATOMIC, "is neither segment nor table", "remove it to commit whole segments");
                Atomic::default()
            }
        };
        let s3_path_style = yes_or_no(get(S3_PATH_STYLE).as_deref(), false);
        if s3_path_style.is_none() {
            wrong(S3_PATH_STYLE, "is neither true nor false", "remove it outside of a sandbox");
        }
        let metrics = yes_or_no(get(METRICS).as_deref(), true);
        if metrics.is_none() {
            wrong(METRICS, "is neither true nor false", "false keeps metrics off the log");
        }
        let namespace = get(METRICS_NAMESPACE).unwrap_or_else(|| "re_dms".to_owned());
        let sentry = get(SENTRY_DSN).map(|dsn| Sentry::from_dsn(&dsn).map(Service::Sentry));
        if matches!(sentry, Some(None)) {
            wrong(SENTRY_DSN, "is no DSN", "give https://KEY@HOST/PROJECT");
        }
        let url = get(ROLLBAR_URL).unwrap_or_else(|| rollbar::ROLLBAR.to_owned());
        let rollbar = get(ROLLBAR_TOKEN).map(|token| Rollbar::new(&token, &url).map(Service::Rollbar));
        if matches!(rollbar, Some(None)) {
            wrong(
                ROLLBAR_TOKEN,
                "can't be used",
                "give a project's access token, and correct RE_DMS_ROLLBAR_URL",
            );
        }
        let services = [sentry, rollbar].into_iter().flatten().flatten().collect();
        let environment = get(ENVIRONMENT).unwrap_or_else(|| "production".to_owned());
        let headers = get(OTLP_HEADERS).unwrap_or_default();
        let headers = headers.split(',').map(str::trim).filter(|header| !header.is_empty());
        let traces = get(OTLP_ENDPOINT).map(|endpoint| Collector::new(&endpoint, headers));
        if matches!(traces, Some(None)) {
            wrong(OTLP_ENDPOINT, "can't be used", "give http://HOST:4318, and headers as name=value");
        }
        let log = get(LOG).unwrap_or_else(|| "info".to_owned());
        if log.parse::<tracing_subscriber::filter::Targets>().is_err() {
            wrong(LOG, "is not a log filter", "try info, debug, or re_dms_loader=debug,info");
        }

        if !mistakes.is_empty() {
            return Err(ConfigError { mistakes });
        }
        let warehouse = Warehouse { database, location, identity };
        let apply = ApplySettings {
            copy: CopySettings { role, region },
            max_attempts: max_attempts.unwrap_or_default(),
            concurrency: concurrency.unwrap_or_default(),
            atomic,
        };
        let metrics = metrics.unwrap_or_default().then_some(namespace);
        let errors = ErrorSettings { services, environment };
        let (traces, s3_path_style) = (traces.flatten(), s3_path_style.unwrap_or_default());
        Ok(Self { warehouse, apply, log, errors, metrics, traces, s3_path_style })
    }
}

/// None if it is neither.
fn yes_or_no(text: Option<&str>, default: bool) -> Option<bool> {
    match text {
        None => Some(default),
        Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        Some(_) => None,
    }
}

/// Role ARNs go into SQL between quotes: anything that could end them is no role.
fn is_role(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-:/".contains(c);
    text.chars().all(plain)
        && text
            .split(',')
            .all(|arn| arn.starts_with("arn:") && arn.contains(":iam::") && arn.contains(":role/"))
}

fn is_region(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_env(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn little_is_needed() {
        let config =
            config(&[(DATABASE, "dev"), (WORKGROUP, "wg"), (SECRET_ARN, ""), (COPY_ROLE, "default")])
                .unwrap();
        assert_eq!(config.warehouse.location, Location::Workgroup("wg".into()));
        assert_eq!(config.warehouse.identity, Identity::Iam);
        assert_eq!(config.apply, ApplySettings::default());
        assert_eq!((config.log.as_str(), config.metrics.as_deref()), ("info", Some("re_dms")));
        let quiet = [(DATABASE, "dev"), (WORKGROUP, "wg"), (METRICS, "false")];
        assert_eq!(super::tests::config(&quiet).unwrap().metrics, None);
    }

    #[test]
    fn a_cluster_takes_a_user() {
        let config = config(&[(DATABASE, "dev"), (CLUSTER, "c"), (DB_USER, "loader")]).unwrap();
        assert_eq!(config.warehouse.identity, Identity::DbUser("loader".into()));
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_no_values() {
        let error = config(&[
            (WORKGROUP, "wg"),
            (CLUSTER, "c"),
            (DB_USER, "hunter2"),
            (COPY_ROLE, "arn:aws:iam::1:role/x' CREDENTIALS '"),
            (COPY_REGION, "eu'"),
            (MAX_ATTEMPTS, "some"),
            (COPY_CONCURRENCY, "0"),
            (ATOMIC, "row"),
            (S3_PATH_STYLE, "perhaps"),
            (METRICS, "some"),
            (SENTRY_DSN, "hunter2"),
            (ROLLBAR_TOKEN, "hunter2"),
            (ROLLBAR_URL, "nowhere"),
            (OTLP_ENDPOINT, "hunter2"),
            (LOG, "loud=very"),
        ])
        .unwrap_err()
        .to_string();
        insta::assert_snapshot!(error.replace("; ", "\n"));
        assert!(!error.contains("hunter2"));
    }
}
