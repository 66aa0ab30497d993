//! Traces in OpenTelemetry's form, by OTLP over HTTP, if somebody wants them. A trace is a segment: its id comes from the epoch and
//! the segment's number, so that capture and loader, and whoever does a part of it again, add to the same one without telling
//! each other.
//!
//! Spans are made of times that are known when they are over. Nobody waits for their sending; what can't be sent is lost.

mod otlp;

use std::time::{Duration, SystemTime};

use hyper::Uri;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::sync::{mpsc, oneshot};

use crate::http::Http;

/// Spans that may wait to be sent.
const MOST_WAITING: usize = 4096;

/// The most that are sent at once.
const MOST_TOGETHER: usize = 512;

/// Spans are sent together with those that come within this.
const GATHER: Duration = Duration::from_secs(1);

/// Where traces go.
#[derive(Clone)]
pub struct Collector {
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Collector {
    /// A receiver's base address, such as `http://localhost:4318`, and headers that it wants, as `name=value`; none if that can't be
    /// used.
    #[must_use]
    pub fn new<'a>(endpoint: &str, headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let uri: Uri = format!("{}/v1/traces", endpoint.trim_end_matches('/')).parse().ok()?;
        let usable = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        let mut all = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        for header in headers {
            let (name, value) = header.split_once('=')?;
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            all.push((name.trim().parse().ok()?, value));
        }
        usable.then_some(Self { uri, headers: all })
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Headers may hold secrets.
        f.debug_struct("Collector").field("uri", &self.uri).finish_non_exhaustive()
    }
}

/// What is said of every span.
#[derive(Clone, Debug)]
pub struct Service {
    /// The program.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// `production`, `staging` and the like.
    pub environment: String,
}

/// A segment's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    id: [u8; 16],
    root: SpanId,
}

/// A span's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

impl SpanId {
    /// Another one than all others.
    #[must_use]
    pub fn random() -> Self {
        let [id @ .., _, _, _, _, _, _, _, _] = uuid::Uuid::new_v4().into_bytes();
        Self(id)
    }
}

impl Trace {
    /// Of what this is a digest of, 32 bytes: the same for who asks for the same.
    #[must_use]
    pub fn of_digest(digest: &[u8; 32]) -> Self {
        let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *digest;
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, root @ .., _, _, _, _, _, _, _, _] = *digest;
        Self { id, root: SpanId(root) }
    }

    /// The span that all others belong to.
    #[must_use]
    pub fn root(&self, name: &'static str, start: SystemTime) -> Span {
        Span { id: self.root, parent: None, ..self.span(name, start) }
    }

    /// A span below the root, which ends now.
    #[must_use]
    pub fn span(&self, name: impl Into<String>, start: SystemTime) -> Span {
        Span {
            trace: self.id,
            id: SpanId::random(),
            parent: Some(self.root),
            name: name.into(),
            start,
            end: SystemTime::now(),
            attributes: Vec::new(),
            error: None,
        }
    }
}

/// Something that took time.
#[derive(Clone, Debug)]
pub struct Span {
    trace: [u8; 16],
    id: SpanId,
    parent: Option<SpanId>,
    name: String,
    start: SystemTime,
    end: SystemTime,
    attributes: Vec<(&'static str, Value)>,
    error: Option<String>,
}

impl Span {
    /// Below this one instead of the root.
    #[must_use]
    pub fn below(self, parent: SpanId) -> Self {
        Self { parent: Some(parent), ..self }
    }

    /// With this id instead of a random one, for those that are below it.
    #[must_use]
    pub fn identified(self, id: SpanId) -> Self {
        Self { id, ..self }
    }

    /// It ended then.
    #[must_use]
    pub fn until(self, end: SystemTime) -> Self {
        Self { end, ..self }
    }

    /// Says more of it. Never a row's value or a secret.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// It failed.
    #[must_use]
    pub fn failed(self, error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..self }
    }
}

/// What is said of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(number)
    }
}

enum Message {
    Span(Box<Span>),
    Flush(oneshot::Sender<()>),
}

/// Where spans are handed in. The default takes none.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<mpsc::Sender<Message>>);

impl Tracer {
    /// Whether spans go anywhere: else nobody need make them.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands in a span; where too many wait already, it is lost.
    pub fn send(&self, span: Span) {
        if let Some(out) = &self.0 {
            let _ = out.try_send(Message::Span(Box::new(span)));
        }
    }

    /// Until all spans that were handed in are sent or lost, but no longer than `most`.
    pub async fn flush(&self, most: Duration) {
        let Some(out) = &self.0 else { return };
        let (done, sent) = oneshot::channel();
        let flush = async {
            if out.send(Message::Flush(done)).await.is_ok() {
                let _ = sent.await;
            }
        };
        let _ = tokio::time::timeout(most, flush).await;
    }
}

/// Sends spans.
#[derive(Debug)]
pub struct Exporter {
    collector: Collector,
    service: Service,
    spans: mpsc::Receiver<Message>,
    http: Http,
}

/// Where spans are handed in, and who sends them.
///
/// # Errors
/// If the system has no certificates that could be trusted.
pub fn to(collector: Collector, service: Service) -> std::io::Result<(Tracer, Exporter)> {
    let (out, spans) = mpsc::channel(MOST_WAITING);
    let exporter = Exporter { collector, service, spans, http: Http::new()? };
    Ok((Tracer(Some(out)), exporter))
}

impl Exporter {
    /// Sends for as long as somebody may hand in spans. Says once that it can't, until it can again.
    pub async fn run(mut self) {
        let mut failed = false;
        while let Some(first) = self.spans.recv().await {
            let (mut spans, mut waiting) = (Vec::new(), Vec::new());
            let mut next = Some(first);
            let gathered = tokio::time::Instant::now() + GATHER;
            while let Some(message) = next.take() {
                match message {
                    Message::Span(span) => spans.push(*span),
                    Message::Flush(done) => waiting.push(done),
                }
                // Who waits for it does not wait for what may come.
                if waiting.is_empty() && spans.len() < MOST_TOGETHER {
                    next = tokio::time::timeout_at(gathered, self.spans.recv()).await.ok().flatten();
                }
            }
            if let Err(error) = self.send(&spans).await {
                if !std::mem::replace(&mut failed, true) {
                    tracing::warn!(error, spans = spans.len(), "traces can't be sent, and are lost");
                }
            } else {
                failed = false;
            }
            for done in waiting {
                let _ = done.send(());
            }
        }
    }

    async fn send(&self, spans: &[Span]) -> Result<(), String> {
        if spans.is_empty() {
            return Ok(());
        }
        let body = otlp::request(&self.service, spans).to_string();
        match self.http.post(&self.collector.uri, &self.collector.headers, body).await? {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answered {status} (hint: check the traces' address and headers)")),
        }
    }
}

#[cfg(test)]
mod tests;
