//! Where metrics go.

use std::net::SocketAddr;
use std::time::Duration;

use super::reader::Reader;
use super::units;

/// Where metrics go. Nowhere, if nothing is said.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// Where Prometheus asks for them.
    pub prometheus_listen: Option<SocketAddr>,
    /// Whether they go to stdout in CloudWatch's Embedded Metric Format.
    pub emf: bool,
    /// CloudWatch's namespace.
    pub namespace: String,
    /// Host and port of a StatsD server.
    pub statsd: Option<String>,
    /// How often they are sent.
    pub interval: Duration,
}

impl MetricsConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            prometheus_listen: reader.optional("metrics.prometheus_listen", listen),
            emf: reader.or_default("metrics.emf", units::boolean, false),
            namespace: reader.or_default("metrics.namespace", namespace, "re_dms".to_owned()),
            statsd: reader.optional("metrics.statsd", host_and_port),
            interval: reader.or_default("metrics.interval", units::duration, Duration::from_secs(30)),
        }
    }
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address and a port such as 127.0.0.1:9464".into())
}

fn namespace(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_/#: ".contains(c);
    if (1..=255).contains(&text.len()) && text.chars().all(plain) && !text.starts_with("AWS/") {
        Ok(text.to_owned())
    } else {
        Err("must be letters, digits and .-_/#: and not begin with AWS/".into())
    }
}

fn host_and_port(text: &str) -> Result<String, String> {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    if matches!(port, Some(Ok(1..))) {
        Ok(text.to_owned())
    } else {
        Err("must be a host and a port such as localhost:8125".into())
    }
}
