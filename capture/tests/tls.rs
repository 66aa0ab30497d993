//! TLS to a real server: each `sslmode`, on the replication connection and on those that speak SQL.

// The lints' own exemption for tests does not reach functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use re_dms_capture::config::{Config, SourceConfig};
use re_dms_capture::credentials;
use re_dms_capture::error::Error;
use re_dms_capture::pgoutput::{Message, decode};
use re_dms_capture::replication::{Event, ReplicationClient, ReplicationError, StartOptions};
use re_dms_capture::source::Source;
use re_dms_capture::tls::TlsError;
use re_dms_shared::Lsn;

#[path = "tls/certificates.rs"]
mod certificates;
#[allow(dead_code)] // not every test that shares it needs all of it
#[path = "replication/server.rs"]
mod server;
use certificates::Authority;
use server::Server;

/// A source's configuration.
fn source(url: &str, more: &str) -> SourceConfig {
    let text = format!(
        "stream = 'main'\ndata_dir = '/nowhere'\ns3.bucket = 'bucket'\nqueues.segments_url = 'http://h/s.fifo'\n\
         queues.acks_url = 'http://h/a'\n[source]\nurl = '{url}'\n{more}"
    );
    Config::parse(&text, Vec::new()).unwrap().source
}

fn with_ca(url: &str, ca_file: &Path) -> SourceConfig {
    source(url, &format!("tls_ca_file = '{}'", ca_file.display()))
}

/// Whether both kinds of connection are encrypted; they must agree, in their failures too.
async fn encrypted(config: &SourceConfig) -> Result<bool, (ReplicationError, Error)> {
    let params = credentials::connect_params(config).await.unwrap();
    let replication = ReplicationClient::connect(&params).await;
    let sql = Source::connect(config).await;
    let (mut replication, sql) = match (replication, sql) {
        (Ok(replication), Ok(sql)) => (replication, sql),
        (Err(replication), Err(sql)) => return Err((replication, sql)),
        (replication, sql) => panic!("{:?} and {:?}", replication.map(drop), sql.map(drop)),
    };
    let rows =
        replication.simple_query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await.unwrap();
    let encrypted = rows[0][0].as_deref() == Some("t");
    assert_eq!(sql.is_encrypted().await.unwrap(), encrypted);
    Ok(encrypted)
}

/// The error of a certificate that is not accepted.
async fn refused(config: &SourceConfig) -> String {
    let (error, of_sql) = encrypted(config).await.expect_err("a refusal");
    let ReplicationError::Tls(TlsError::Certificate { reason, .. }) = &error else { panic!("{error}") };
    assert!(!error.is_transient() && !of_sql.retry, "{error}");
    assert!(of_sql.what.contains(reason), "{of_sql}");
    reason.clone()
}

#[tokio::test]
async fn each_mode_asks_for_what_it_says() {
    let server = Server::start(&["log_connections = on"]).await;
    let url = |host: &str, mode: &str| format!("postgres://postgres@{host}:{}/postgres{mode}", server.port());

    // Without TLS on the server, whoever insists is told, and nobody goes on in the open.
    for mode in ["?sslmode=require", "?sslmode=verify-full"] {
        let (error, of_sql) = encrypted(&source(&url("localhost", mode), "")).await.expect_err("a refusal");
        assert!(matches!(error, ReplicationError::Tls(TlsError::Refused { .. })), "{error}");
        assert!(!error.is_transient() && !of_sql.retry && of_sql.hint.contains("ssl = on"), "{of_sql}");
    }
    assert!(!encrypted(&source(&url("localhost", "?sslmode=prefer"), "")).await.unwrap());

    let ours = Authority::new("ours");
    let other = Authority::new("other");
    ours.give_certificate(&server, "localhost").await;

    for (mode, expected) in [("", false), ("?sslmode=disable", false), ("?sslmode=prefer", true)] {
        let config = source(&url("localhost", mode), "");
        assert_eq!(encrypted(&config).await.unwrap(), expected, "{mode}");
    }
    // Whoever the server is.
    assert!(encrypted(&source(&url("127.0.0.1", "?sslmode=require"), "")).await.unwrap());
    // With a CA file it has to be one of that CA's, whatever its name.
    assert!(encrypted(&with_ca(&url("127.0.0.1", "?sslmode=require"), ours.file())).await.unwrap());
    assert!(encrypted(&with_ca(&url("127.0.0.1", "?sslmode=verify-ca"), ours.file())).await.unwrap());
    for mode in ["?sslmode=require", "?sslmode=verify-ca", "?sslmode=verify-full"] {
        let reason = refused(&with_ca(&url("localhost", mode), other.file())).await;
        assert!(reason.contains("UnknownIssuer"), "{mode}: {reason}");
    }
    // And the name counts as well.
    assert!(encrypted(&with_ca(&url("localhost", "?sslmode=verify-full"), ours.file())).await.unwrap());
    let reason = refused(&with_ca(&url("127.0.0.1", "?sslmode=verify-full"), ours.file())).await;
    assert!(reason.contains("name"), "{reason}");
    // The system's roots don't know this CA.
    let (error, _) =
        encrypted(&source(&url("localhost", "?sslmode=verify-full"), "")).await.expect_err("a refusal");
    assert!(
        matches!(error, ReplicationError::Tls(TlsError::Certificate { .. } | TlsError::NoRoots)),
        "{error}"
    );
    for broken in [Path::new("/nowhere/ca.pem"), Path::new("/etc/passwd")] {
        let (error, of_sql) = encrypted(&with_ca(&url("localhost", "?sslmode=verify-full"), broken))
            .await
            .expect_err("no file");
        assert!(matches!(error, ReplicationError::Tls(TlsError::CaFile { .. })), "{error}");
        assert!(of_sql.what.contains("source.tls_ca_file"), "{of_sql}");
    }
    // A socket in the file system needs none, whatever is asked for.
    let socket = source(&format!("{} sslmode=verify-full", server.socket_url()), "");
    assert!(!encrypted(&socket).await.unwrap());
}

#[tokio::test]
async fn a_login_is_tied_to_the_connection_by_every_kind_of_certificate() {
    let server = Server::start(&[]).await;
    server
        .sql()
        .await
        .batch_execute(
            "SET password_encryption = 'scram-sha-256'; CREATE ROLE with_scram LOGIN REPLICATION PASSWORD 'richtig'",
        )
        .await
        .unwrap();
    let url = |mode: &str| {
        format!(
            "postgres://with_scram:richtig@localhost:{}/postgres?channel_binding=require{mode}",
            server.port()
        )
    };
    let (error, _) = encrypted(&source(&url("&sslmode=disable"), "")).await.expect_err("nothing to bind to");
    assert!(matches!(error, ReplicationError::ChannelBinding), "{error}");
    let postgres =
        format!("postgres://postgres@localhost:{}/postgres?channel_binding=require", server.port());
    let (error, _) = encrypted(&source(&postgres, "")).await.expect_err("no login at all");
    assert!(matches!(error, ReplicationError::ChannelBinding), "{error}");
    for authority in [Authority::new("rsa"), Authority::of_kind("p384", "ec", "secp384r1", "-sha384")] {
        authority.give_certificate(&server, "localhost").await;
        for mode in ["&sslmode=require", "&sslmode=verify-full"] {
            assert!(encrypted(&with_ca(&url(mode), authority.file())).await.unwrap(), "{mode}");
        }
    }
    // Without it nothing changes but the proof.
    let without = url("&sslmode=require").replace("channel_binding=require", "channel_binding=disable");
    assert!(encrypted(&source(&without, "")).await.unwrap());
}

#[tokio::test]
async fn changes_come_over_tls_whole_and_the_server_hears_from_us_meanwhile() {
    let server = Server::start(&["wal_sender_timeout = 2s"]).await;
    let authority = Authority::new("ours");
    authority.give_certificate(&server, "localhost").await;
    let sql = server.sql().await;
    sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE PUBLICATION p FOR ALL TABLES")
        .await
        .unwrap();
    let url = format!("postgres://postgres@localhost:{}/postgres?sslmode=verify-full", server.port());
    let params = credentials::connect_params(&with_ca(&url, authority.file())).await.unwrap();
    let mut client = ReplicationClient::connect(&params).await.unwrap();
    let start = client.create_logical_slot("over_tls", false).await.unwrap();
    sql.batch_execute("INSERT INTO t SELECT i, repeat('x', i % 3000) FROM generate_series(1, 20000) i")
        .await
        .unwrap();

    let options = StartOptions::for_server(client.server_version(), vec!["p".into()], false);
    let (mut reader, mut writer) = client.start("over_tls", Lsn(0), &options).await.unwrap().into_split();
    // Who does not read for longer than the server's patience stays connected by what he sends.
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        writer.send_status(start, Lsn(0), Lsn(0), false).await.unwrap();
    }
    let (mut rows, mut committed) = (0, false);
    while !committed {
        for event in tokio::time::timeout(Duration::from_secs(60), reader.next()).await.unwrap().unwrap() {
            let Event::Frame { payload, .. } = event else { continue };
            match decode(&payload, false).unwrap() {
                Message::Change(_) => rows += 1,
                Message::Commit(_) => committed = true,
                _ => {}
            }
        }
    }
    assert_eq!(rows, 20_000);
}
