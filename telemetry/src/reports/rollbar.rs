//! Rollbar's items: <https://docs.rollbar.com/reference/create-item>.

use hyper::Uri;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::json;

use super::{About, Post, Report};

/// Rollbar itself.
pub const ROLLBAR: &str = "https://api.rollbar.com";

/// A project at Rollbar.
#[derive(Clone)]
pub struct Rollbar {
    items: Uri,
    token: HeaderValue,
}

impl std::fmt::Debug for Rollbar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rollbar { .. }")
    }
}

impl Rollbar {
    /// By a project's access token for `post_server_item`; `url` is [`ROLLBAR`] or another place that speaks its
    /// protocol. None if either can't be one.
    #[must_use]
    pub fn new(token: &str, url: &str) -> Option<Self> {
        let mut token = HeaderValue::from_str(token).ok().filter(|token| !token.is_empty())?;
        token.set_sensitive(true);
        let items: Uri = format!("{}/api/1/item/", url.trim_end_matches('/')).parse().ok()?;
        items.host().is_some().then_some(Self { items, token })
    }

    pub(super) fn post(&self, report: &Report, about: &About) -> Post {
        let mut custom = report.fields.0.clone();
        if let Some(stream) = &about.stream {
            custom.entry("stream").or_insert_with(|| stream.clone().into());
        }
        let text = match report.error() {
            "" => report.message().to_owned(),
            error => format!("{}: {error}", report.message()),
        };
        let table = report.fields.text("table").unwrap_or_default();
        let item = json!({ "data": {
            "environment": about.environment,
            "body": { "message": { "body": text } },
            "level": "error",
            "timestamp": report.at.as_second(),
            "code_version": about.release,
            "platform": "linux",
            "language": "rust",
            "context": report.target,
            "custom": custom,
            "fingerprint": format!("{} {} {table}", report.target, report.message()),
            "title": report.message(),
            "uuid": report.id,
            "notifier": { "name": "re_dms", "version": env!("CARGO_PKG_VERSION") },
        }});
        Post {
            uri: self.items.clone(),
            headers: vec![
                (HeaderName::from_static("x-rollbar-access-token"), self.token.clone()),
                (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            ],
            body: item.to_string(),
        }
    }
}
