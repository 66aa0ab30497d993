//! Errors in the Data API's wire form: the class in `__type`, the text in a member whose case depends on the class.

use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ApiError {
    Validation(String),
    ResourceNotFound {
        message: String,
        id: String,
    },
    ActiveStatementsExceeded,
    ActiveSessionsExceeded,
    Throttling,
    UnknownOperation,
    /// The body is no JSON.
    Serialization(String),
    Internal(String),
    DatabaseConnection,
}

impl ApiError {
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::Validation(message.into())
    }

    pub(super) fn not_found(message: impl Into<String>, id: &str) -> Self {
        Self::ResourceNotFound { message: message.into(), id: id.to_owned() }
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Validation(_) => "ValidationException",
            Self::ResourceNotFound { .. } => "ResourceNotFoundException",
            Self::ActiveStatementsExceeded => "ActiveStatementsExceededException",
            Self::ActiveSessionsExceeded => "ActiveSessionsExceededException",
            Self::Throttling => "ThrottlingException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::Serialization(_) => "SerializationException",
            Self::Internal(_) => "InternalServerException",
            Self::DatabaseConnection => "DatabaseConnectionException",
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Validation(message) | Self::Serialization(message) | Self::Internal(message) => message,
            Self::ResourceNotFound { message, .. } => message,
            Self::ActiveStatementsExceeded => "Active statements exceeded the allowed quota (500).",
            Self::ActiveSessionsExceeded => "Active sessions exceeded the allowed quota (500).",
            Self::Throttling => "Rate exceeded",
            Self::UnknownOperation => "The operation is unknown",
            Self::DatabaseConnection => "Unable to connect to the database",
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Internal(_) | Self::DatabaseConnection => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let class = self.class();
        // Throttling comes from a layer in front of the service, which writes the member in lower case.
        let member = if self == Self::Throttling { "message" } else { "Message" };
        let mut body =
            json!({ "__type": format!("com.amazonaws.redshiftdataservice#{class}"), member: self.message() });
        if let (Self::ResourceNotFound { id, .. }, Some(body)) = (&self, body.as_object_mut()) {
            body.insert("ResourceId".to_owned(), json!(id));
        }
        let headers = [
            (header::CONTENT_TYPE, "application/x-amz-json-1.1"),
            (HeaderName::from_static("x-amzn-errortype"), class),
        ];
        (status, headers, body.to_string()).into_response()
    }
}
