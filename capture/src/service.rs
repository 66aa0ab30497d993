//! What a supervisor such as systemd is told: that the stream runs (`Type=notify`), how it is, that it is ending, and every
//! now and then that it lives. Without `NOTIFY_SOCKET` in the environment nothing is told to anybody.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::sync::watch;

use crate::progress::Snapshot;

/// How often the state is told, where the watchdog does not want to hear more often.
const INTERVAL: Duration = Duration::from_secs(10);

/// The supervisor, if there is one.
#[derive(Debug)]
pub struct Service {
    socket: Option<UnixDatagram>,
    pause: Duration,
}

impl Service {
    /// As the environment says.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from(|variable| std::env::var_os(variable))
    }

    fn from(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let socket = variable("NOTIFY_SOCKET").and_then(|name| {
            connect(name.as_bytes())
                .inspect_err(|error| tracing::warn!(%error, "the supervisor's socket can't be used"))
                .ok()
        });
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        // Meant for another process of the unit, it is not ours to answer.
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let patience = number("WATCHDOG_USEC").filter(|&micros| is_ours && micros > 0);
        // Two messages may be late or lost.
        let pause = patience.map_or(INTERVAL, |micros| Duration::from_micros(micros / 3).min(INTERVAL));
        Self { socket, pause }
    }

    /// Tells that the process lives, for as long as it does: as a task of the stream's own runtime. Where that hangs, or the
    /// stream `is_stalled`, the supervisor hears nothing more.
    pub async fn live(self, is_stalled: impl Fn() -> bool) {
        while self.socket.is_some() {
            if !is_stalled() {
                self.send("WATCHDOG=1");
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Tells that the stream runs, and from then on how it is.
    pub async fn tell(self, progress: watch::Receiver<Snapshot>) {
        self.send("READY=1");
        while self.socket.is_some() {
            let status = status(&progress.borrow());
            self.send(&format!("STATUS={status}"));
            tokio::time::sleep(INTERVAL.min(self.pause)).await;
        }
    }

    /// Tells that the end has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=ending: the batch is staged first");
    }

    /// A supervisor that does not listen is none of the stream's business.
    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::debug!(%error, "the supervisor was not told");
        }
    }
}

/// A path, or a name in the abstract namespace after an `@`.
fn connect(name: &[u8]) -> std::io::Result<UnixDatagram> {
    let address = match name.strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // One that is full is not waited for.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// For people, on one line; no values, no secrets.
fn status(now: &Snapshot) -> String {
    let state = match now {
        Snapshot { stalled: Some(_), .. } => "STALLED",
        Snapshot { disk_full: true, .. } => "the disk is full",
        Snapshot { waits: Some(_), .. } => "held up",
        Snapshot { streaming: true, .. } => "streaming",
        _ => "connecting",
    };
    let in_flight = now.segments_staged.saturating_sub(now.segments_loaded);
    format!("{state}; {:.0} s behind, {in_flight} segments in flight", now.lag_seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(pairs: &[(&str, &str)]) -> Service {
        Service::from(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into()))
    }

    fn next(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 500];
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn readiness_comes_first_then_the_state_and_life_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let settings = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "30000")];
        let heard = async |socket: UnixDatagram| {
            tokio::task::spawn_blocking(move || ([next(&socket), next(&socket), next(&socket)], socket))
                .await
                .unwrap()
        };

        let (_progress, state) =
            watch::channel(Snapshot { segments_staged: 3, segments_loaded: 1, ..Snapshot::default() });
        let telling = tokio::spawn(service(&settings).tell(state));
        let (states, socket) = heard(socket).await;
        telling.abort();
        let state = "STATUS=connecting; 0 s behind, 2 segments in flight";
        assert_eq!(states, ["READY=1", state, state]);

        let living = tokio::spawn(service(&settings).live(|| false));
        let (signs, socket) = heard(socket).await;
        living.abort();
        // What was told before may still have been under way.
        assert!(signs.ends_with(&["WATCHDOG=1".to_owned(), "WATCHDOG=1".to_owned()]), "{signs:?}");

        // Who is stalled is silent until it goes on.
        let stalled = std::cell::Cell::new(4);
        let is_stalled = || stalled.replace(stalled.get() - 1) > 1;
        let once = service(&settings).live(is_stalled);
        let _ = tokio::time::timeout(Duration::from_millis(35), once).await;
        assert!(stalled.get() < 3, "it was asked more than once");
        socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 500];
        let mut left = 0;
        while socket.recv(&mut bytes).is_ok() {
            left += 1;
        }
        assert!(left <= 2, "{left} signs of life");
    }

    #[test]
    fn names_in_the_abstract_namespace_are_known() {
        let name = format!("re_dms-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        service(&[("NOTIFY_SOCKET", &format!("@{name}"))]).stopping();
        assert!(next(&socket).starts_with("STOPPING=1\n"));
    }

    #[tokio::test]
    async fn without_a_supervisor_nothing_happens() {
        let (_progress, state) = watch::channel(Snapshot::default());
        service(&[]).tell(state.clone()).await;
        service(&[]).live(|| false).await;
        service(&[("NOTIFY_SOCKET", "/nowhere/notify")]).tell(state).await;
    }

    #[test]
    fn the_watchdog_is_told_three_times_as_often_as_it_wants() {
        assert_eq!(service(&[("WATCHDOG_USEC", "9000000")]).pause, Duration::from_secs(3));
        assert_eq!(service(&[("WATCHDOG_USEC", "9000000"), ("WATCHDOG_PID", "1")]).pause, INTERVAL);
        assert_eq!(service(&[("WATCHDOG_USEC", "600000000")]).pause, INTERVAL);
    }
}
