//! Errors on their way to Sentry and Rollbar. What is logged as an error is reported, with the fields that the log line
//! has: a failure is logged once, where it is dealt with, and never holds a row's value or a secret.
//!
//! Reports are sent beside the program's work: none is waited for, the same one goes only once in a while, and what can't
//! be sent is lost and counted.

pub mod rollbar;
pub mod sentry;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyper::header::{HeaderName, HeaderValue};
use hyper::{StatusCode, Uri};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::fields::Fields;
use crate::http::Http;
pub use rollbar::Rollbar;
pub use sentry::Sentry;

/// Reports that may wait to be sent.
const MOST_WAITING: usize = 64;

/// The same report is not sent again before this.
const NOT_AGAIN: Duration = Duration::from_secs(600);

/// An error, as it was logged.
#[derive(Clone, Debug)]
pub struct Report {
    /// When.
    pub at: Timestamp,
    /// 32 hex digits.
    pub id: String,
    /// The module that logged it.
    pub target: String,
    /// The line's fields, its text among them.
    pub fields: Fields,
}

impl Report {
    /// The line's text.
    #[must_use]
    pub fn message(&self) -> &str {
        self.fields.text("message").unwrap_or_default()
    }

    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> &str {
        self.fields.text("error").unwrap_or_default()
    }

    /// What makes two reports the same: all but numbers.
    fn sameness(&self) -> String {
        let table = self.fields.text("table").unwrap_or_default();
        let text = format!("{} {} {table} {}", self.target, self.message(), self.error());
        text.chars().filter(|c| !c.is_ascii_digit()).collect()
    }

    /// A field's value as text.
    fn tag(&self, name: &str) -> Option<String> {
        let value = self.fields.0.get(name)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }
}

/// What is said of every report.
#[derive(Clone, Debug)]
pub struct About {
    /// `production`, `staging` and the like.
    pub environment: String,
    /// Program and version, such as `re_dms@0.1.0`.
    pub release: String,
    /// The stream that the process runs, if it is one.
    pub stream: Option<String>,
}

/// A request that brings a report to a service.
#[derive(Debug)]
pub struct Post {
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: String,
}

/// Whom reports go to.
#[derive(Clone, Debug)]
pub enum Service {
    /// See [`Sentry`].
    Sentry(Sentry),
    /// See [`Rollbar`].
    Rollbar(Rollbar),
}

impl Service {
    fn name(&self) -> &'static str {
        match self {
            Service::Sentry(_) => "Sentry",
            Service::Rollbar(_) => "Rollbar",
        }
    }

    fn post(&self, report: &Report, about: &About) -> Post {
        match self {
            Service::Sentry(sentry) => sentry.post(report, about),
            Service::Rollbar(rollbar) => rollbar.post(report, about),
        }
    }
}

enum Message {
    Report(Box<Report>),
    Flush(oneshot::Sender<()>),
}

/// Makes reports of what is logged as an error.
#[derive(Debug)]
pub struct ReportErrors {
    out: mpsc::Sender<Message>,
}

/// Sends reports.
#[derive(Debug)]
pub struct Reporter {
    about: About,
    services: Vec<Service>,
    reports: mpsc::Receiver<Message>,
    http: Http,
}

/// Waits for what was reported so far.
#[derive(Clone, Debug)]
pub struct Flush(mpsc::Sender<Message>);

/// Whoever logs, whoever sends, and whoever waits for it.
///
/// # Errors
/// If the system has no certificates that could be trusted.
pub fn to(services: Vec<Service>, about: About) -> std::io::Result<(ReportErrors, Reporter, Flush)> {
    let (out, reports) = mpsc::channel(MOST_WAITING);
    let reporter = Reporter { about, services, reports, http: Http::new()? };
    Ok((ReportErrors { out: out.clone() }, reporter, Flush(out)))
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ReportErrors {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let target = event.metadata().target();
        // What libraries log is not known to be free of values.
        let ours = target.starts_with("re_dms") || target.starts_with("bootstrap");
        if *event.metadata().level() != Level::ERROR || !ours {
            return;
        }
        let report = Report {
            at: Timestamp::now(),
            id: uuid::Uuid::new_v4().simple().to_string(),
            target: target.to_owned(),
            fields: Fields::of(event, context.event_scope(event)),
        };
        // Full: so much goes wrong that one more says nothing new.
        let _ = self.out.try_send(Message::Report(Box::new(report)));
    }
}

impl Flush {
    /// Until all that was reported so far is sent or lost, but no longer than `most`.
    pub async fn wait(&self, most: Duration) {
        let (done, sent) = oneshot::channel();
        let flush = async {
            if self.0.send(Message::Flush(done)).await.is_ok() {
                let _ = sent.await;
            }
        };
        let _ = tokio::time::timeout(most, flush).await;
    }
}

impl Reporter {
    /// Sends for as long as somebody may report. `lost` hears of each report that did not get to a service.
    pub async fn run(mut self, lost: impl Fn()) {
        let mut sent: BTreeMap<String, Instant> = BTreeMap::new();
        while let Some(message) = self.reports.recv().await {
            let report = match message {
                Message::Report(report) => report,
                Message::Flush(done) => {
                    let _ = done.send(());
                    continue;
                }
            };
            sent.retain(|_, when| when.elapsed() < NOT_AGAIN);
            if sent.insert(report.sameness(), Instant::now()).is_some() {
                continue;
            }
            for service in &self.services {
                if let Err(error) = self.send(service, &report).await {
                    lost();
                    // No error: it would be reported.
                    tracing::warn!(service = service.name(), error, "an error could not be reported");
                }
            }
        }
    }

    async fn send(&self, service: &Service, report: &Report) -> Result<(), String> {
        let Post { uri, headers, body } = service.post(report, &self.about);
        match self.http.post(&uri, &headers, body).await? {
            status if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS => Err("it takes no more for now".to_owned()),
            status => Err(format!("it answered {status} (hint: check the [errors] settings)")),
        }
    }
}

#[cfg(test)]
mod tests;
