//! "Does it answer?" for the parts that speak HTTP.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Does `GET path` on this port of 127.0.0.1 end with status 200 within two seconds?
pub(crate) async fn answers(port: u16, path: &str) -> bool {
    tokio::time::timeout(Duration::from_secs(2), is_ok(port, path))
        .await
        .is_ok_and(|answer| answer.unwrap_or(false))
}

async fn is_ok(port: u16, path: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    Ok(head.starts_with(b"HTTP/1.") && head.ends_with(b" 200"))
}
