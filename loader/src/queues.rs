//! SQS, as little of it as the loader needs: acknowledgements out, and messages back into their queue.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry;
use tokio::sync::Mutex;

use crate::error::{LoadError, with_causes};

/// Queues by URL, and the one that messages came from by ARN.
pub trait Queues: Send + Sync {
    /// Sends a message to a standard queue.
    fn send(&self, queue_url: &str, body: String) -> impl Future<Output = Result<(), LoadError>> + Send;

    /// Makes messages that were received, by their receipt handles, deliverable again after `delay` instead of after the
    /// queue's own time, which is as long as the longest invocation.
    fn redeliver_after(
        &self,
        queue_arn: &str,
        receipt_handles: Vec<String>,
        delay: Duration,
    ) -> impl Future<Output = Result<(), LoadError>> + Send;
}

/// Queues in SQS.
#[derive(Debug)]
pub struct Sqs {
    client: Client,
    urls_by_arn: Mutex<HashMap<String, String>>,
}

impl Sqs {
    /// Through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, urls_by_arn: Mutex::default() }
    }

    async fn url(&self, queue_arn: &str) -> Result<String, LoadError> {
        let mut urls = self.urls_by_arn.lock().await;
        if let Some(url) = urls.get(queue_arn) {
            return Ok(url.clone());
        }
        let action = "looking up the segment queue";
        let failed = |reason| LoadError::Queue { action, reason };
        // arn:aws:sqs:region:account:name
        let mut parts = queue_arn.rsplitn(3, ':');
        let (Some(name), Some(account)) = (parts.next(), parts.next()) else {
            return Err(failed(format!("{queue_arn:?} is not a queue's ARN")));
        };
        let request = self.client.get_queue_url().queue_name(name).queue_owner_aws_account_id(account);
        let answer = request.send().await.map_err(|error| failed(with_causes(&error)))?;
        let url = answer.queue_url.ok_or_else(|| failed("the answer has no URL".to_owned()))?;
        urls.insert(queue_arn.to_owned(), url.clone());
        Ok(url)
    }
}

impl Queues for Sqs {
    async fn send(&self, queue_url: &str, body: String) -> Result<(), LoadError> {
        let sent = self.client.send_message().queue_url(queue_url).message_body(body).send().await;
        sent.map(drop).map_err(|error| LoadError::Queue {
            action: "sending an acknowledgement",
            reason: with_causes(&error),
        })
    }

    async fn redeliver_after(
        &self,
        queue_arn: &str,
        receipt_handles: Vec<String>,
        delay: Duration,
    ) -> Result<(), LoadError> {
        let failed = |reason| LoadError::Queue { action: "returning messages to the segment queue", reason };
        let seconds = i32::try_from(delay.as_secs()).unwrap_or(i32::MAX);
        let entry = |(position, handle): (usize, String)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(position.to_string())
                .receipt_handle(handle)
                .visibility_timeout(seconds)
                .build()
                .map_err(|error| failed(error.to_string()))
        };
        let entries = receipt_handles.into_iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        let url = self.url(queue_arn).await?;
        let request = self.client.change_message_visibility_batch().queue_url(url).set_entries(Some(entries));
        let answer = request.send().await.map_err(|error| failed(with_causes(&error)))?;
        match answer.failed.first() {
            None => Ok(()),
            Some(entry) => Err(failed(entry.code.clone())),
        }
    }
}
