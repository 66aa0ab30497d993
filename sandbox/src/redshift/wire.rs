//! PostgreSQL's wire protocol, version 3, as Redshift's drivers and `psql` speak it: what they send is checked, translated and
//! run as a statement of the Data API is, in one session a connection. Without TLS.
//!
//! `frames` is the form of messages, `login` the way to a session, `session` the loop over it, `prepared` the extended
//! protocol's statements, `values` their binary forms.

mod frames;
mod login;
mod prepared;
mod session;
mod values;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_postgres::CancelToken;

use super::StandIn;

/// Where it listens and who may come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The one user.
    pub user: String,
    /// The user's password.
    pub password: String,
}

/// What CancelRequest needs: process id and secret of each connection, and its token.
pub(super) type Cancels = Mutex<HashMap<(i32, i32), CancelToken>>;

/// Takes connections for as long as the stand-in runs.
pub(super) async fn serve(stand_in: Arc<StandIn>, listener: TcpListener, config: WireConfig) {
    let config = Arc::new(config);
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let (stand_in, config) = (stand_in.clone(), config.clone());
                tokio::spawn(async move {
                    if let Err(error) = login::welcome(&stand_in, &config, socket).await {
                        tracing::info!(%error, "a connection ended");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: later there may be some.
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
    }
}
