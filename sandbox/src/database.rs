//! Connections to the sandbox's own PostgreSQL servers.

use tokio_postgres::{Client, NoTls};

use crate::error::{Error, Part, Result};

/// Connects to a part's database.
///
/// # Errors
/// It does not answer.
pub(crate) async fn connect(part: Part, url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(|_| Error::Missing {
        what: format!("{part}: PostgreSQL does not answer"),
        hint: "start what does not run with: sandbox up --dir DIR".into(),
    })?;
    tokio::spawn(connection);
    Ok(client)
}
