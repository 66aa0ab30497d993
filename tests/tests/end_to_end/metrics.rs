//! Metrics, by every way that leads out, agree with what the stream did.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use re_dms_shared::status::CaptureStatus;
use re_dms_tests::workload::Workload;
use re_dms_tests::{Sandbox, Signal, signal, wait_for_end};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An answer to a GET: its status and its body.
pub(crate) async fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let mut connection = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    let status = head.split(' ').nth(1).context("an answer has a status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// A status that was written after this moment.
async fn status_after(sandbox: &Sandbox, moment: jiff::Timestamp) -> Result<CaptureStatus> {
    for _ in 0..200 {
        let status = std::fs::read(sandbox.capture_data_dir()?.join("status.json"))?;
        let status: CaptureStatus = serde_json::from_slice(&status)?;
        if status.updated_at > moment {
            return Ok(status);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the status is not written any more:\n{}", sandbox.capture_log())
}

/// The sum over all of a metric's series on a page of Prometheus's.
fn total(page: &str, name: &str) -> f64 {
    let series = page.lines().filter(|line| line.split('{').next() == Some(name));
    series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

fn lines_with_metrics(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line.get("_aws").is_some()).collect()
}

/// Adds up how many changes StatsD is told of, until it is told no more.
fn count_changes(socket: &UdpSocket, stop: &AtomicBool) -> f64 {
    let mut packet = vec![0; 65_536];
    let mut heard = 0.0;
    loop {
        match socket.recv(&mut packet) {
            Ok(length) => {
                let packet = String::from_utf8_lossy(&packet[..length]).into_owned();
                let changes =
                    packet.lines().filter_map(|line| line.split_once(".changes:")?.1.strip_suffix("|c"));
                heard += changes.filter_map(|value| value.parse::<f64>().ok()).sum::<f64>();
            }
            Err(_) if stop.load(Ordering::Relaxed) => return heard,
            Err(_) => {}
        }
    }
}

/// A counter's sum over all lines.
fn sum(lines: &[Value], name: &str) -> f64 {
    lines.iter().filter_map(|line| line[name].as_f64()).sum()
}

#[tokio::test]
async fn every_way_out_agrees_with_the_status() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let statsd = UdpSocket::bind("127.0.0.1:0")?;
    statsd.set_read_timeout(Some(Duration::from_millis(200)))?;
    let sandbox = Sandbox::up_with(&format!(
        "[metrics]\nprometheus_listen = \"127.0.0.1:{port}\"\nemf = true\nstatsd = \"{}\"\ninterval = \"1s\"\n",
        statsd.local_addr()?
    ))?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    // A thread of its own, which a failed test does not wait for.
    let statsd = std::thread::spawn(move || count_changes(&statsd, &stopped));
    let source = sandbox.source().await?;
    source
        .batch_execute("CREATE TABLE \"Odd\"\"name\" (id int PRIMARY KEY, f float8); INSERT INTO \"Odd\"\"name\" VALUES (1, 'NaN')")
        .await?;
    let mut workload = Workload::start(sandbox.source().await?, 5).await?;
    workload.transactions(60).await?;
    sandbox.wait_and_compare().context("the sides are equal")?;

    ensure!(get(port, "/healthz").await?.0 == 200 && get(port, "/readyz").await?.0 == 200);
    let (code, page) = get(port, "/metrics").await?;
    ensure!(code == 200);
    let status = status_after(&sandbox, jiff::Timestamp::now()).await?;
    let all = |name: &str, expected: f64| {
        let found = total(&page, name);
        ensure!(found == expected, "{name} is {found}, and the status says {expected}:\n{page}");
        Ok(())
    };
    all("re_dms_changes_total", status.changes as f64)?;
    all("re_dms_transactions_total", status.transactions as f64)?;
    all("re_dms_rows_total", status.rows_written as f64)?;
    all("re_dms_bytes_total", status.bytes_written as f64)?;
    all("re_dms_segments_loaded", status.segments_loaded as f64)?;
    all("re_dms_segments_staged", status.segments_staged as f64)?;
    let loads = total(&page, "re_dms_load_seconds_count");
    ensure!(
        loads > 0.0 && loads <= status.segments_loaded as f64,
        "one for each segment, unless an ack came late: {loads}"
    );
    all("re_dms_altered_values_total", 1.0)?;
    all("re_dms_segments_in_flight", 0.0)?;
    all("re_dms_seconds_since_ack", 0.0)?;
    all("re_dms_streaming", 1.0)?;
    all("re_dms_invariant_violations_total", 0.0)?;
    ensure!(status.changes > 60 && status.segments_loaded > 0, "there was something to count: {status:?}");
    ensure!(
        page.contains(r#"re_dms_altered_values_total{stream="#) && page.contains(r#"Odd\"name""#),
        "{page}"
    );
    let loaded = total(&page, "re_dms_loaded_lsn");
    ensure!(loaded >= status.staged.0.0 as f64 && loaded <= total(&page, "re_dms_received_lsn"));

    // What is sent goes out with the end at the latest.
    let pid = sandbox.pid("capture")?;
    signal(pid, Signal::TERM)?;
    wait_for_end(pid)?;
    let lines = lines_with_metrics(&std::fs::read_to_string(sandbox.text("capture_log")?)?);
    for (name, expected) in
        [("changes", status.changes), ("rows", status.rows_written), ("bytes", status.bytes_written)]
    {
        let found = sum(&lines, name);
        ensure!(found == expected as f64, "{name} in EMF is {found}, not {expected}");
    }
    let last = lines.last().context("there are metrics on stdout")?;
    ensure!(last["segments_loaded"].as_f64() == Some(status.segments_loaded as f64), "{last}");
    // The loader's are on its own log.
    let log = std::path::Path::new(sandbox.text("capture_log")?).with_file_name("aws.log");
    let loader = lines_with_metrics(&std::fs::read_to_string(log)?);
    let loader: Vec<Value> = loader.into_iter().filter(|line| line["stream"] == "main").collect();
    for (name, expected) in
        [("loader_rows", status.rows_written), ("loader_segments", status.segments_loaded)]
    {
        let found = sum(&loader, name);
        ensure!(found == expected as f64, "{name} is {found}, not {expected}: {loader:?}");
    }
    stop.store(true, Ordering::Relaxed);
    let heard = statsd.join().map_err(|_| anyhow::anyhow!("the receiver broke off"))?;
    ensure!(heard == status.changes as f64, "StatsD heard of {heard} changes, not {}", status.changes);
    Ok(())
}

/// Takes HTTP posts and keeps them; each connection is one post.
pub(crate) async fn take_posts(
    listener: tokio::net::TcpListener,
    posts: Arc<Mutex<Vec<String>>>,
) -> Result<()> {
    loop {
        let (mut connection, _) = listener.accept().await?;
        let mut post = Vec::new();
        let mut more = [0; 8192];
        loop {
            let length = connection.read(&mut more).await?;
            post.extend_from_slice(&more[..length]);
            let text = String::from_utf8_lossy(&post);
            let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                let header = head
                    .lines()
                    .find_map(|line| line.to_lowercase().strip_prefix("content-length:").map(str::to_owned));
                header.is_some_and(|length| length.trim().parse() == Ok(body.len()))
            });
            if whole || length == 0 {
                break;
            }
        }
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
        posts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(String::from_utf8_lossy(&post).into_owned());
    }
}

// Posts are taken while the test waits for processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_have_their_fields_and_what_ends_the_stream_is_reported() -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let posts = Arc::new(Mutex::new(Vec::new()));
    let taking = tokio::spawn(take_posts(listener, Arc::clone(&posts)));
    let sandbox = Sandbox::up_with(&format!(
        "[log]\nformat = \"json\"\n[errors]\nsentry_dsn = \"http://sentrykey@{address}/7\"\nrollbar_token = \"rollbartoken\"\n\
         rollbar_url = \"http://{address}\"\nenvironment = \"sandbox\"\n"
    ))?;
    let source = sandbox.source().await?;
    source
        .batch_execute("CREATE TABLE notes (id int PRIMARY KEY, f float8, note text); INSERT INTO notes VALUES (1, 'NaN', 'planted7351')")
        .await?;
    sandbox.wait_and_compare()?;
    // Somebody takes the slot away: a hard stop.
    let pid = sandbox.pid("capture")?;
    let drop_slot = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active; \
                     SELECT pg_sleep(0.05); SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots";
    let dropped = async {
        for _ in 0..200 {
            if source.batch_execute(drop_slot).await.is_ok() {
                return Ok(());
            }
        }
        anyhow::bail!("the slot can't be dropped")
    };
    dropped.await?;
    wait_for_end(pid)?;

    let log = std::fs::read_to_string(sandbox.text("capture_log")?)?;
    ensure!(
        !log.contains("planted7351") && !log.contains("sentrykey") && !log.contains("rollbartoken"),
        "{log}"
    );
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = |message: &str| {
        let line = lines.iter().find(|line| line["message"] == message);
        line.with_context(|| format!("no line says {message:?}:\n{log}"))
    };
    let streams = lines.iter().filter(|line| line["stream"].is_string()).count();
    ensure!(streams == lines.len() && streams > 3, "every line names the stream:\n{log}");
    let staged = line("staged")?;
    ensure!(
        staged["segment"].is_u64() && staged["lsn"].is_string() && staged["timestamp"].is_string(),
        "{staged}"
    );
    let loaded = line("loaded")?;
    ensure!(loaded["segment"].is_u64() && loaded["lsn"].is_string() && loaded["level"] == "INFO", "{loaded}");
    let altered = line("values that Redshift can't hold met a policy")?;
    ensure!(altered["table"] == "public.notes" && altered["segment"].is_u64(), "{altered}");
    let lost = line("the replication connection ended")?;
    ensure!(lost["lsn"].is_string() && lost["retry_in_ms"].is_u64() && lost["level"] == "WARN", "{lost}");
    let ended = line("the stream ended")?;
    ensure!(ended["level"] == "ERROR" && ended["who"] == "stream", "{ended}");

    taking.abort();
    let posts = posts.lock().unwrap_or_else(PoisonError::into_inner);
    let to = |path: &str| {
        posts.iter().filter(|post| post.starts_with(&format!("POST {path} "))).collect::<Vec<_>>()
    };
    let (sentry, rollbar) = (to("/api/7/envelope/"), to("/api/1/item/"));
    ensure!(sentry.len() == 1 && rollbar.len() == 1, "one error, one report each: {posts:?}");
    for post in [sentry[0], rollbar[0]] {
        ensure!(post.contains("is gone, and with it the changes that it held back"), "{post}");
        ensure!(post.contains("\"environment\":\"sandbox\"") && !post.contains("planted7351"), "{post}");
    }
    Ok(())
}
