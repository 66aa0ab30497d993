//! What is asked of the capture over HTTP: `/metrics` by Prometheus, `/healthz` and `/readyz` by whoever runs it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Meter, prometheus};
use crate::error::{Error, Result, Who};

/// Listens there; answers are given by [`answer`].
///
/// # Errors
/// If the address can't be had.
pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::fatal(
            Who::Machine,
            format!("metrics.prometheus_listen: {address} can't be listened on: {error}"),
            "choose a port that is free, and an address of this machine",
        )
    })
}

/// Answers for as long as the process runs.
pub(super) async fn answer(listener: TcpListener, meter: Arc<Meter>) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(ready))
        .with_state(meter);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "metrics can't be asked for any more");
    }
}

async fn metrics(State(meter): State<Arc<Meter>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], prometheus::text(meter.look(), &meter.stream))
}

/// 503 means that a new start helps.
async fn healthz(State(meter): State<Arc<Meter>>) -> (StatusCode, String) {
    match meter.stalled() {
        None => (StatusCode::OK, "alive\n".to_owned()),
        Some(stalled) => (StatusCode::SERVICE_UNAVAILABLE, format!("stalled: {stalled}\n")),
    }
}

async fn ready(State(meter): State<Arc<Meter>>) -> (StatusCode, String) {
    match meter.stalled() {
        Some(stalled) => (StatusCode::SERVICE_UNAVAILABLE, format!("stalled: {stalled}\n")),
        None if meter.is_streaming() => (StatusCode::OK, "streaming\n".to_owned()),
        None => (StatusCode::SERVICE_UNAVAILABLE, "not streaming\n".to_owned()),
    }
}
