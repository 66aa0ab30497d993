//! HTTP: which operation is asked for, and the faults around it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Json, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::ApiError;
use super::results::Form;
use super::{catalog, describe, listing, results, submit};
use crate::redshift::faults::{FaultSettings, Loss};
use crate::redshift::{Settings, StandIn, lock};

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Requests with 40 statements of 100 KB must pass.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// The routes of a stand-in.
pub(in crate::redshift) fn router(stand_in: Arc<StandIn>) -> Router {
    Router::new()
        .route("/", post(operation))
        .route("/health", get(|| async { "ok" }))
        .route("/_standin/faults", get(faults).post(set_faults).patch(change_faults))
        .route("/_standin/settings", get(settings).post(set_settings).patch(change_settings))
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(stand_in)
}

async fn faults(State(stand_in): State<Arc<StandIn>>) -> Json<FaultSettings> {
    Json(stand_in.faults.current())
}

async fn set_faults(
    State(stand_in): State<Arc<StandIn>>,
    Json(settings): Json<FaultSettings>,
) -> Json<FaultSettings> {
    tracing::info!(?settings, "faults were set");
    stand_in.faults.replace(settings.clone());
    Json(settings)
}

/// Some of the faults; the others stay as they are.
async fn change_faults(
    State(stand_in): State<Arc<StandIn>>,
    Json(changes): Json<Value>,
) -> Result<Json<FaultSettings>, (StatusCode, String)> {
    let settings = merged(&stand_in.faults.current(), changes)?;
    Ok(set_faults(State(stand_in), Json(settings)).await)
}

async fn settings(State(stand_in): State<Arc<StandIn>>) -> Json<Settings> {
    Json(stand_in.settings())
}

async fn set_settings(
    State(stand_in): State<Arc<StandIn>>,
    Json(settings): Json<Settings>,
) -> Json<Settings> {
    tracing::info!(?settings, "settings were changed");
    *lock(&stand_in.settings) = settings;
    Json(settings)
}

async fn change_settings(
    State(stand_in): State<Arc<StandIn>>,
    Json(changes): Json<Value>,
) -> Result<Json<Settings>, (StatusCode, String)> {
    let settings = merged(&stand_in.settings(), changes)?;
    Ok(set_settings(State(stand_in), Json(settings)).await)
}

/// What is set, with some members changed.
fn merged<T: Serialize + DeserializeOwned>(current: &T, changes: Value) -> Result<T, (StatusCode, String)> {
    let refused = |error: serde_json::Error| (StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
    let mut value = serde_json::to_value(current).map_err(refused)?;
    merge(&mut value, changes);
    serde_json::from_value(value).map_err(refused)
}

fn merge(value: &mut Value, changes: Value) {
    match (value, changes) {
        (Value::Object(members), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(members.entry(name).or_insert(Value::Null), change);
            }
        }
        (value, change) => *value = change,
    }
}

async fn operation(State(stand_in): State<Arc<StandIn>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get(TARGET).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.strip_prefix("RedshiftData.").unwrap_or_default();
    match answer(&stand_in, operation, &body).await {
        Ok(Answer::Value(value)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/x-amz-json-1.1".to_owned()),
                (REQUEST_ID, uuid::Uuid::new_v4().to_string()),
            ];
            (headers, value.to_string()).into_response()
        }
        Ok(Answer::BrokenConnection) => broken(),
        Err(error) => {
            tracing::info!(operation, ?error, "a request was refused");
            error.into_response()
        }
    }
}

enum Answer {
    Value(Value),
    BrokenConnection,
}

async fn answer(stand_in: &Arc<StandIn>, operation: &str, body: &[u8]) -> Result<Answer, ApiError> {
    if stand_in.faults.throttle() {
        return Err(ApiError::Throttling);
    }
    let body: Value = serde_json::from_slice(body)
        .map_err(|_| ApiError::Serialization("the body is not JSON".to_owned()))?;
    let value = match operation {
        "ExecuteStatement" => return submit_or_lose(stand_in, body, false).await,
        "BatchExecuteStatement" => return submit_or_lose(stand_in, body, true).await,
        "DescribeStatement" => describe::describe(stand_in, body).await?,
        "GetStatementResult" => results::get(stand_in, body, Form::Json).await?,
        "GetStatementResultV2" => results::get(stand_in, body, Form::Csv).await?,
        "CancelStatement" => describe::cancel(stand_in, body)?,
        "ListStatements" => listing::statements(stand_in, body)?,
        "ListSessions" => listing::sessions(stand_in, body)?,
        "ListDatabases" => catalog::databases(stand_in, body)?,
        "ListSchemas" => catalog::schemas(stand_in, body).await?,
        "ListTables" => catalog::tables(stand_in, body).await?,
        "DescribeTable" => catalog::describe(stand_in, body).await?,
        _ => return Err(ApiError::UnknownOperation),
    };
    Ok(Answer::Value(value))
}

async fn submit_or_lose(stand_in: &Arc<StandIn>, body: Value, batch: bool) -> Result<Answer, ApiError> {
    let value = submit::submit(stand_in, body, batch).await?;
    let Some(loss) = stand_in.faults.lose_answer() else { return Ok(Answer::Value(value)) };
    let id = value.get("Id").and_then(Value::as_str).unwrap_or_default();
    let statement = lock(&stand_in.statements).find(id);
    if let Some(statement) = statement {
        statement.wait(std::time::Duration::from_secs(24 * 3600)).await;
    }
    tracing::info!(id, ?loss, "an answer is lost on demand");
    match loss {
        Loss::Connection => Ok(Answer::BrokenConnection),
        Loss::InternalError => Err(ApiError::Internal("Internal server error".to_owned())),
    }
}

/// An answer that breaks off: the client sees a connection that was closed in the middle of it.
fn broken() -> Response {
    let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let pieces = [Ok(Bytes::from_static(b"{")), Err(error)];
    Body::from_stream(futures_util::stream::iter(pieces)).into_response()
}
