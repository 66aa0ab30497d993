//! Sentry's envelopes: <https://develop.sentry.dev/sdk/data-model/envelopes/>.

use hyper::Uri;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::{About, Post, Report};

/// A project at Sentry, or at whoever speaks its protocol.
#[derive(Clone)]
pub struct Sentry {
    envelopes: Uri,
    authorization: HeaderValue,
}

impl std::fmt::Debug for Sentry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sentry { .. }")
    }
}

impl Sentry {
    /// From a DSN, which is `https://KEY@HOST/PROJECT`. None if the text is none.
    #[must_use]
    pub fn from_dsn(dsn: &str) -> Option<Self> {
        let (scheme, rest) =
            dsn.split_once("://").filter(|(scheme, _)| matches!(*scheme, "https" | "http"))?;
        let (key, rest) = rest.split_once('@')?;
        // Old ones have a secret behind the key, which is not used any more.
        let key = key.split(':').next().filter(|key| !key.is_empty())?;
        let (place, project) = rest.rsplit_once('/').filter(|(_, project)| !project.is_empty())?;
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        let path = if path.is_empty() { String::new() } else { format!("{path}/") };
        let envelopes = format!("{scheme}://{host}/{path}api/{project}/envelope/").parse().ok()?;
        let client = concat!("re_dms/", env!("CARGO_PKG_VERSION"));
        let text = format!("Sentry sentry_version=7, sentry_client={client}, sentry_key={key}");
        let mut authorization = HeaderValue::from_str(&text).ok()?;
        authorization.set_sensitive(true);
        Some(Self { envelopes, authorization })
    }

    pub(super) fn post(&self, report: &Report, about: &About) -> Post {
        let event = event(report, about).to_string();
        let header = json!({ "event_id": report.id, "sent_at": report.at.to_string() });
        let item = json!({ "type": "event", "content_type": "application/json", "length": event.len() });
        Post {
            uri: self.envelopes.clone(),
            headers: vec![
                (HeaderName::from_static("x-sentry-auth"), self.authorization.clone()),
                (CONTENT_TYPE, HeaderValue::from_static("application/x-sentry-envelope")),
            ],
            body: format!("{header}\n{item}\n{event}\n"),
        }
    }
}

fn event(report: &Report, about: &About) -> Value {
    let mut tags = Map::new();
    let known = ["stream", "segment", "table", "who", "epoch", "lsn", "invariant"];
    for name in known {
        let value = report.tag(name).or_else(|| about.stream.clone().filter(|_| name == "stream"));
        if let Some(value) = value {
            tags.insert(name.to_owned(), value.into());
        }
    }
    let mut extra = report.fields.0.clone();
    extra.retain(|name, _| !known.contains(&name.as_str()) && name != "message" && name != "error");
    json!({
        "event_id": report.id,
        "timestamp": report.at.to_string(),
        "platform": "native",
        "level": "error",
        "logger": report.target,
        "release": about.release,
        "environment": about.environment,
        "tags": tags,
        "extra": extra,
        "exception": { "values": [{ "type": report.message(), "value": report.error(), "module": report.target }] },
        "fingerprint": [report.target, report.message(), report.fields.text("table").unwrap_or_default()],
    })
}
