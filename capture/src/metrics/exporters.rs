//! Whom metrics go to, by configuration. What goes wrong here is told once and changes nothing else.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use re_dms_shared::metrics::Emf;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::statsd::StatsD;
use super::{Meter, server};
use crate::config::MetricsConfig;
use crate::error::Result;

/// The last metrics may take so long.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Sends metrics for as long as the process runs.
#[derive(Debug)]
pub struct Exporters {
    stop: watch::Sender<bool>,
    senders: JoinSet<()>,
    /// Nobody waits for it.
    _server: JoinSet<()>,
}

impl Exporters {
    /// Begins.
    ///
    /// # Errors
    /// If nobody could ask for them at the address that is configured.
    pub async fn start(config: &MetricsConfig, meter: &Arc<Meter>) -> Result<Self> {
        let mut server = JoinSet::new();
        if let Some(address) = config.prometheus_listen {
            let listener = server::listen(address).await?;
            server.spawn(server::answer(listener, Arc::clone(meter)));
            tracing::info!(%address, "metrics can be asked for");
        }
        let (stop, stopping) = watch::channel(false);
        let mut senders = JoinSet::new();
        let ticks = |meter| Ticks { interval: config.interval, stop: stopping.clone(), meter };
        if config.emf {
            let (ticks, emf) = (ticks(Arc::clone(meter)), Emf::new(&config.namespace, &meter.stream));
            senders.spawn(to_stdout(ticks, emf));
        }
        if let Some(address) = &config.statsd {
            let (ticks, statsd) = (ticks(Arc::clone(meter)), StatsD::new(address, &meter.stream));
            senders.spawn(to_statsd(ticks, statsd));
        }
        Ok(Self { stop, senders, _server: server })
    }

    /// Sends what is left.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let all_sent = async { while self.senders.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_PATIENCE, all_sent).await;
    }
}

/// When to send.
struct Ticks {
    interval: Duration,
    stop: watch::Receiver<bool>,
    meter: Arc<Meter>,
}

impl Ticks {
    /// Waits for the next time. False if it was the last.
    async fn next(&mut self) -> bool {
        tokio::time::timeout(self.interval, self.stop.wait_for(|&stop| stop)).await.is_err()
    }
}

async fn to_stdout(mut ticks: Ticks, mut emf: Emf) {
    loop {
        let more = ticks.next().await;
        if let Some(line) = emf.line(ticks.meter.look(), Timestamp::now()) {
            // In one write, so that nothing comes between. Who reads it may be slow, or gone: that is nobody's trouble.
            let write = move || std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
            let _ = tokio::task::spawn_blocking(write).await;
        }
        if !more {
            return;
        }
    }
}

async fn to_statsd(mut ticks: Ticks, mut statsd: StatsD) {
    let mut failed = false;
    loop {
        let more = ticks.next().await;
        let sent = statsd.send(ticks.meter.look()).await;
        tell(&mut failed, sent);
        if !more {
            return;
        }
    }
}

/// Once for each time that it begins to fail.
fn tell(failed: &mut bool, sent: std::result::Result<(), impl Display>) {
    match sent {
        Err(error) if !*failed => {
            tracing::warn!(%error, "metrics can't be sent to StatsD (hint: check metrics.statsd)");
            *failed = true;
        }
        Err(_) => {}
        Ok(()) => *failed = false,
    }
}
