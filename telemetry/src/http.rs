//! Posting a body over HTTP or HTTPS.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// An answer comes within this, or does not come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that trusts whom the system trusts.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    /// Fails if the system has no certificates to trust.
    pub(crate) fn new() -> std::io::Result<Self> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Says how it was answered. Errors name neither the address nor what was sent: both may hold secrets.
    pub(crate) async fn post(
        &self,
        uri: &Uri,
        headers: &[(HeaderName, HeaderValue)],
        body: String,
    ) -> Result<StatusCode, String> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = uri.clone();
        request.headers_mut().extend(headers.iter().cloned());
        let answered = tokio::time::timeout(PATIENCE, self.client.request(request)).await;
        match answered {
            Ok(Ok(answer)) => Ok(answer.status()),
            Ok(Err(error)) if error.is_connect() => Err("it can't be connected to".to_owned()),
            Ok(Err(_)) => Err("the connection broke off".to_owned()),
            Err(_elapsed) => Err(format!("there was no answer in {} s", PATIENCE.as_secs())),
        }
    }
}
