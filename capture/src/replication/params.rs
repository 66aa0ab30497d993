//! Where the source is and how to log in there.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{self, ChannelBinding, Host};

use super::error::ReplicationError;
use crate::tls::{SslMode, TlsSettings, split_mode};

/// Where a host without a name of its own listens.
const DEFAULT_PORT: u16 = 5432;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What every replication connection sets, so that values have one text form wherever the source stands.
const SESSION_SETTINGS: [(&str, &str); 7] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("statement_timeout", "0"),
];

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp { host: String, port: u16 },
    Unix { folder: PathBuf, port: u16 },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix { folder, port } => write!(f, "{}/.s.PGSQL.{port}", folder.display()),
        }
    }
}

/// How to reach the source and log in for replication. Prints without the password.
#[derive(Clone)]
pub struct ConnectParams {
    /// Tried in this order.
    pub(super) addresses: Vec<Address>,
    pub(super) user: String,
    pub(super) password: Option<Vec<u8>>,
    pub(super) database: String,
    pub(super) connect_timeout: Duration,
    pub(super) tls: TlsSettings,
    pub(super) channel_binding: ChannelBinding,
    settings: Vec<(String, String)>,
    /// The URL's own `options`, passed on as they are.
    url_options: Option<String>,
    /// All that the URL says, for SQL.
    sql: Config,
}

impl ConnectParams {
    /// From a connection URL, or the `key=value` form, as libpq reads them.
    ///
    /// # Errors
    /// [`ReplicationError::Url`]
    pub fn from_url(url: &str) -> Result<Self, ReplicationError> {
        let wrong = |reason: &str| ReplicationError::Url { reason: reason.to_owned() };
        let (url, word) = split_mode(url);
        let mode = word.map(|word| {
            let known = "disable, prefer, require, verify-ca or verify-full";
            SslMode::of_word(&word).ok_or_else(|| wrong(&format!("its sslmode is none of {known}")))
        });
        let mode = mode.transpose()?;
        let config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            // Only the cause names what is wrong; it holds option names, never values.
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            wrong(&cause.unwrap_or_else(|| error.to_string()))
        })?;
        if config.get_ssl_mode() != config::SslMode::Prefer {
            return Err(wrong(
                "its sslmode is written in a way that could be overlooked; write sslmode=MODE",
            ));
        }
        let user = config.get_user().ok_or_else(|| wrong("it names no user"))?.to_owned();
        let addresses: Vec<Address> = config
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(index, host)| {
                let ports = config.get_ports();
                let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(DEFAULT_PORT);
                match host {
                    Host::Tcp(host) => Address::Tcp { host: host.clone(), port },
                    Host::Unix(folder) => Address::Unix { folder: folder.clone(), port },
                }
            })
            .collect();
        if addresses.is_empty() {
            return Err(wrong("it names no host"));
        }
        let settings = SESSION_SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Self {
            addresses,
            database: config.get_dbname().unwrap_or(&user).to_owned(),
            user,
            password: config.get_password().map(<[u8]>::to_vec),
            connect_timeout: config.get_connect_timeout().copied().unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            settings: settings.into(),
            url_options: config.get_options().map(str::to_owned),
            tls: TlsSettings {
                mode: mode.unwrap_or_else(|| SslMode::default_for(config.get_hosts())),
                ca_file: None,
            },
            channel_binding: config.get_channel_binding(),
            sql: config,
        })
    }

    /// Sets the password, over one that the URL has.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        self.password = Some(password.as_bytes().to_vec());
        self
    }

    /// Sets the user, over the URL's. The database stays.
    #[must_use]
    pub fn with_user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// Names the certificates that vouch for the server's.
    #[must_use]
    pub fn with_ca_file(mut self, ca_file: Option<PathBuf>) -> Self {
        self.tls.ca_file = ca_file;
        self
    }

    /// What TLS is to be like.
    #[must_use]
    pub fn tls(&self) -> &TlsSettings {
        &self.tls
    }

    /// The user who logs in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Host and port, if it is one that is reached over the network.
    #[must_use]
    pub fn only_host(&self) -> Option<(&str, u16)> {
        match self.addresses.as_slice() {
            [Address::Tcp { host, port }] => Some((host, *port)),
            _ => None,
        }
    }

    /// The same for connections that speak SQL.
    pub(crate) fn sql(&self) -> Config {
        let mut config = self.sql.clone();
        config.user(&self.user).dbname(&self.database);
        config.connect_timeout(self.connect_timeout).application_name("re_dms");
        // However the server is set: `crate::sql` writes literals, and keys that ranges begin with are among them.
        let ours = "-c standard_conforming_strings=on";
        config.options(self.url_options.as_ref().map_or(ours.to_owned(), |given| format!("{given} {ours}")));
        if let Some(password) = &self.password {
            config.password(password);
        }
        let over_network = self.addresses.iter().any(|address| matches!(address, Address::Tcp { .. }));
        config.ssl_mode(match self.tls.mode {
            SslMode::Disable => config::SslMode::Disable,
            _ if !over_network => config::SslMode::Disable,
            SslMode::Prefer => config::SslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => config::SslMode::Require,
        });
        config
    }

    /// Sets a server parameter for the connection, such as `wal_sender_timeout` or `logical_decoding_work_mem`.
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The startup message's parameters.
    pub(super) fn startup(&self) -> Vec<(&'static str, String)> {
        vec![
            ("user", self.user.clone()),
            ("database", self.database.clone()),
            ("replication", "database".to_owned()),
            ("client_encoding", "UTF8".to_owned()),
            ("application_name", "re_dms".to_owned()),
            ("options", self.options()),
        ]
    }

    /// Settings in the form of a server's command line. The URL's come before ours, which later parts rely on.
    fn options(&self) -> String {
        let escape = |text: &str| text.replace('\\', "\\\\").replace(' ', "\\ ");
        let ours = self.settings.iter().map(|(name, value)| format!("-c {}={}", escape(name), escape(value)));
        self.url_options.iter().cloned().chain(ours).collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for ConnectParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectParams")
            .field("addresses", &self.addresses)
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_hosts_user_and_database() {
        let params =
            ConnectParams::from_url("postgres://u%40x:p@db1,db2:5433/shop?connect_timeout=3&sslmode=prefer")
                .unwrap();
        assert_eq!(params.addresses[0], Address::Tcp { host: "db1".into(), port: 5432 });
        assert_eq!(params.addresses[1], Address::Tcp { host: "db2".into(), port: 5433 });
        assert_eq!((params.user.as_str(), params.database.as_str()), ("u@x", "shop"));
        assert_eq!(params.connect_timeout, Duration::from_secs(3));
        let socket = ConnectParams::from_url("host=/run/pg user=u sslmode=disable").unwrap();
        assert_eq!(socket.addresses[0], Address::Unix { folder: "/run/pg".into(), port: 5432 });
        assert_eq!(socket.database, "u");
    }

    #[test]
    fn tls_that_is_asked_for_is_never_left_out_silently() {
        for word in ["allow", "REQUIRE", "", "verify"] {
            for url in [
                format!("postgres://u@h/d?sslmode={word}"),
                format!("postgres://u@h/d?connect_timeout=3&sslmode={word}"),
                format!("host=h user=u sslmode='{word}'"),
            ] {
                let error = ConnectParams::from_url(&url).unwrap_err();
                assert!(matches!(error, ReplicationError::Url { .. }), "{url}: {error}");
            }
        }
        for hidden in ["host=h user=u sslmode = require", "postgres://u@127.0.0.1/d?%73slmode=require"] {
            assert!(ConnectParams::from_url(hidden).is_err(), "{hidden}");
        }
        for (word, mode) in [
            ("disable", SslMode::Disable),
            ("prefer", SslMode::Prefer),
            ("require", SslMode::Require),
            ("verify-ca", SslMode::VerifyCa),
            ("verify-full", SslMode::VerifyFull),
        ] {
            for url in [format!("postgres://u@h/d?sslmode={word}"), format!("host=h user=u sslmode={word}")] {
                let params = ConnectParams::from_url(&url).unwrap();
                assert_eq!(params.tls.mode, mode);
                let encrypted = params.sql().get_ssl_mode() == config::SslMode::Require;
                assert_eq!(encrypted, mode > SslMode::Prefer, "{url}");
            }
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let params = ConnectParams::from_url("postgres://u:geheim@h/d").unwrap();
        assert_eq!(params.password.as_deref(), Some(&b"geheim"[..]));
        assert!(!format!("{params:?}").contains("geheim"));
        for broken in ["postgres://u:geheim@h:port/d", "postgres://u:geheim@h/d?what=geheim", "geheim"] {
            let error = ConnectParams::from_url(broken).unwrap_err().to_string();
            assert!(!error.contains("geheim"), "{error}");
        }
    }

    #[test]
    fn settings_survive_blanks_and_backslashes() {
        let params = ConnectParams::from_url("postgres://u@h/d?options=-c%20a%3Db").unwrap();
        let options = params.with_setting("x", r"a b\c").options();
        assert!(options.starts_with("-c a=b -c DateStyle=ISO "), "{options}");
        assert!(options.ends_with(r"-c statement_timeout=0 -c x=a\ b\\c"), "{options}");
    }
}
