//! `sslmode`: five of libpq's six words, and what holds where the URL says none.

use std::fmt;
use std::net::IpAddr;

use tokio_postgres::config::Host;

/// How much TLS is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// None.
    Disable,
    /// If the server has it, and whoever the server is; without it else. Protects from nobody who can touch the wire.
    Prefer,
    /// Encrypted, to whomever; with a CA file as `VerifyCa`.
    Require,
    /// The server's certificate comes from a CA that is trusted.
    VerifyCa,
    /// And it is the one of the host that the URL names.
    VerifyFull,
}

impl SslMode {
    /// By its word; `allow` is refused, since it would encrypt only where the server insists.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "disable" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => return None,
        })
    }

    /// Where the URL has no word: nothing on this machine, everything else where.
    #[must_use]
    pub fn default_for(hosts: &[Host]) -> Self {
        if hosts.iter().all(is_local) { SslMode::Disable } else { SslMode::VerifyFull }
    }
}

impl fmt::Display for SslMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SslMode::Disable => "disable",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        })
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
    }
}

/// Takes `sslmode` out of a connection text of either form: the parser after us knows three of its words only. The last
/// one counts.
#[must_use]
pub fn split_mode(text: &str) -> (String, Option<String>) {
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    let (before, options) = match (is_url, text.split_once('?')) {
        (true, Some((before, options))) => (Some(before), options),
        (true, None) => return (text.to_owned(), None),
        (false, _) => (None, text),
    };
    let separator: fn(char) -> bool = if is_url { |c| c == '&' } else { char::is_whitespace };
    let mut mode = None;
    let mut rest = String::new();
    for option in options.split_inclusive(separator) {
        match option.trim_end_matches(separator).strip_prefix("sslmode=") {
            Some(word) => mode = Some(word.trim_matches('\'').to_owned()),
            None => rest.push_str(option),
        }
    }
    match before {
        Some(before) => (format!("{before}?{}", rest.trim_end_matches('&')), mode),
        None => (rest, mode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_taken_out_of_both_forms() {
        let split = |text| {
            let (rest, mode) = split_mode(text);
            (rest, mode.unwrap_or_default())
        };
        let both = |rest: &str, mode: &str| (rest.to_owned(), mode.to_owned());
        assert_eq!(split("postgres://u@h/d"), both("postgres://u@h/d", ""));
        assert_eq!(split("postgres://u@h/d?sslmode=verify-ca"), both("postgres://u@h/d?", "verify-ca"));
        assert_eq!(split("postgres://h/d?a=b&sslmode=x&c=d"), both("postgres://h/d?a=b&c=d", "x"));
        assert_eq!(split("postgres://h/d?a=b&sslmode=x"), both("postgres://h/d?a=b", "x"));
        assert_eq!(
            split("host=h sslmode='verify-full' user='a  b'"),
            both("host=h user='a  b'", "verify-full")
        );
        assert_eq!(split("host=h sslmode=disable sslmode=require"), both("host=h ", "require"));
        assert_eq!(split("postgres://sslmode=x@h/d").0, "postgres://sslmode=x@h/d");
    }

    #[test]
    fn other_hosts_have_to_prove_who_they_are() {
        let default = |text: &str| {
            let config: tokio_postgres::Config = text.parse().unwrap();
            SslMode::default_for(config.get_hosts())
        };
        for local in
            ["host=/run/pg", "host=localhost", "host=127.3.2.1", "host=::1", "host=LocalHost,/run/pg"]
        {
            assert_eq!(default(local), SslMode::Disable, "{local}");
        }
        for other in ["host=db", "host=10.0.0.1", "host=localhost,db", "host=localhost.example"] {
            assert_eq!(default(other), SslMode::VerifyFull, "{other}");
        }
    }
}
