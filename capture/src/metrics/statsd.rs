//! StatsD over UDP: `re_dms.STREAM.NAME`, with labels as further parts of the name. Counters go as what was added since the
//! last time, seconds as `ms`, other distributions as `h`.

use std::collections::BTreeMap;

use re_dms_shared::metrics::{Kind, Metric, Registry, Unit, Value};
use tokio::net::UdpSocket;

/// What goes over Ethernet in one piece.
const LARGEST_PACKET: usize = 1432;

/// Sends one stream's metrics.
#[derive(Debug)]
pub struct StatsD {
    server: String,
    prefix: String,
    counted: BTreeMap<String, f64>,
    told: BTreeMap<String, u64>,
}

impl StatsD {
    /// To `server`, a host and a port.
    #[must_use]
    pub fn new(server: &str, stream: &str) -> Self {
        let prefix = format!("re_dms.{stream}");
        Self { server: server.to_owned(), prefix, counted: BTreeMap::new(), told: BTreeMap::new() }
    }

    /// Sends what there is to tell. What gets lost on the way is lost.
    ///
    /// # Errors
    /// If the server's name can't be resolved, or this machine can't send.
    pub async fn send(&mut self, registry: &Registry) -> std::io::Result<()> {
        let lines = self.lines(registry);
        // Asked each time: the server may move.
        let address = tokio::net::lookup_host(&self.server).await?.next();
        let address = address.ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(own).await?;
        for packet in packets(&lines) {
            socket.send_to(packet.as_bytes(), address).await?;
        }
        Ok(())
    }

    fn lines(&mut self, registry: &Registry) -> Vec<String> {
        let mut lines = Vec::new();
        for (metric, samples) in registry.samples() {
            for sample in samples {
                let name = self.name(metric, &sample.labels);
                match sample.value {
                    Value::Number(value) if metric.kind == Kind::Gauge => {
                        lines.push(format!("{name}:{value}|g"));
                    }
                    Value::Number(value) => {
                        let before = self.counted.insert(name.clone(), value).unwrap_or_default();
                        if value > before {
                            lines.push(format!("{name}:{}|c", value - before));
                        }
                    }
                    Value::Many(many) => {
                        let told = self.told.insert(name.clone(), many.count).unwrap_or_default();
                        let line = |value: f64| match metric.unit {
                            Unit::Seconds => format!("{name}:{}|ms", value * 1000.0),
                            _ => format!("{name}:{value}|h"),
                        };
                        lines.extend(many.since(told).map(line));
                    }
                }
            }
        }
        lines
    }

    fn name(&self, metric: &Metric, labels: &[String]) -> String {
        let mut name = format!("{}.{}", self.prefix, metric.name);
        for label in labels {
            name.push('.');
            // What means something to StatsD or Graphite.
            name.extend(label.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }));
        }
        name
    }
}

/// As many lines in one as fit.
fn packets(lines: &[String]) -> Vec<String> {
    let mut packets: Vec<String> = Vec::new();
    for line in lines {
        match packets.last_mut() {
            Some(packet) if packet.len() + 1 + line.len() <= LARGEST_PACKET => {
                packet.push('\n');
                packet.push_str(line);
            }
            _ => packets.push(line.clone()),
        }
    }
    packets
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use re_dms_shared::metrics::catalogue::{BATCH_ROWS, BYTES, CHANGES, LAG_SECONDS, ROWS, UPLOAD_SECONDS};

    use super::*;

    async fn received(socket: &UdpSocket) -> String {
        let mut packet = vec![0; 65_536];
        let heard = tokio::time::timeout(Duration::from_secs(20), socket.recv(&mut packet));
        let length = heard.await.expect("a packet comes").unwrap();
        assert!(length <= LARGEST_PACKET);
        String::from_utf8(packet[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_socket_hears_what_was_added_since_the_last_time() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut statsd = StatsD::new(&socket.local_addr().unwrap().to_string(), "main");
        let registry = Registry::default();
        registry.set(&LAG_SECONDS, 1.5);
        registry.add(&CHANGES, &[], 7);
        registry.add(&ROWS, &["shop.or ders|x", "insert"], 4);
        registry.observe(&UPLOAD_SECONDS, 0.25);
        registry.observe(&BATCH_ROWS, 40.0);
        statsd.send(&registry).await.unwrap();
        insta::assert_snapshot!(received(&socket).await, @r"
        re_dms.main.batch_rows:40|h
        re_dms.main.changes:7|c
        re_dms.main.lag_seconds:1.5|g
        re_dms.main.rows.shop_or_ders_x.insert:4|c
        re_dms.main.upload_seconds:250|ms
        ");
        registry.add(&CHANGES, &[], 2);
        statsd.send(&registry).await.unwrap();
        let second = received(&socket).await;
        assert_eq!(second, "re_dms.main.changes:2|c\nre_dms.main.lag_seconds:1.5|g");
    }

    #[tokio::test]
    async fn much_is_several_packets() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut statsd = StatsD::new(&socket.local_addr().unwrap().to_string(), "main");
        let registry = Registry::default();
        for table in 0..200 {
            registry.add(&BYTES, &[&format!("shop.table_{table}")], 1);
        }
        statsd.send(&registry).await.unwrap();
        let mut lines = 0;
        while lines < 200 {
            lines += received(&socket).await.lines().count();
        }
        assert_eq!(lines, 200);
    }
}
