//! What `re_dms check` wants to know of a bucket's objects and of queues, and nobody else.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName as Name;
use jiff::Timestamp;

use super::queues::failure;
use super::{Objects, Queues};
use crate::error::Result;

/// An object's properties.
#[derive(Clone, Debug)]
pub struct DescribedObject {
    /// When it was written, by S3's clock, in whole seconds.
    pub modified: Option<Timestamp>,
    /// How S3 encrypts it, such as `AES256` or `aws:kms`.
    pub encryption: Option<String>,
}

/// A queue's settings.
#[derive(Clone, Debug, Default)]
pub struct DescribedQueue {
    /// First in, first out.
    pub fifo: bool,
    /// How long a message that is worked at is out of sight.
    pub visibility: Duration,
    /// How long messages stay.
    pub retention: Duration,
    /// Messages that are there, about.
    pub messages: u64,
    /// The name of the dead-letter queue, and after how many deliveries a message goes there.
    pub dead_letters: Option<(String, u64)>,
}

impl Objects {
    /// Of one object.
    ///
    /// # Errors
    /// If it is not there, or S3 refuses.
    pub async fn describe(&self, key: &str) -> Result<DescribedObject> {
        let head = self.client.head_object().bucket(&self.bucket).key(key).send().await;
        let head = head.map_err(|error| self.failure(&format!("looking at {key}"), &error))?;
        let modified = head.last_modified().and_then(|time| Timestamp::from_second(time.secs()).ok());
        let encryption = head.server_side_encryption().map(|kind| kind.as_str().to_owned());
        Ok(DescribedObject { modified, encryption })
    }
}

impl Queues {
    /// The queue to the loader.
    ///
    /// # Errors
    /// If SQS refuses or can't be reached.
    pub async fn describe_segments(&self) -> Result<DescribedQueue> {
        self.describe("queues.segments_url", &self.segments_url).await
    }

    /// The queue back. Looks for a message, too, and leaves it where it is.
    ///
    /// # Errors
    /// As [`Self::describe_segments`].
    pub async fn describe_acks(&self) -> Result<DescribedQueue> {
        let receive = self.client.receive_message().queue_url(&self.acks_url).visibility_timeout(0);
        receive.send().await.map_err(|error| failure("queues.acks_url", &error))?;
        self.describe("queues.acks_url", &self.acks_url).await
    }

    /// A queue of the same account by its name.
    ///
    /// # Errors
    /// As [`Self::describe_segments`].
    pub async fn describe_by_name(&self, name: &str) -> Result<DescribedQueue> {
        let found = self.client.get_queue_url().queue_name(name).send().await;
        let found = found.map_err(|error| failure(name, &error))?;
        self.describe(name, found.queue_url().unwrap_or_default()).await
    }

    async fn describe(&self, key: &str, url: &str) -> Result<DescribedQueue> {
        let get = self.client.get_queue_attributes().queue_url(url).attribute_names(Name::All);
        let told = get.send().await.map_err(|error| failure(key, &error))?;
        let attributes = told.attributes.unwrap_or_default();
        let number =
            |name| attributes.get(&name).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let redrive = attributes.get(&Name::RedrivePolicy);
        let redrive = redrive.and_then(|json| serde_json::from_str::<serde_json::Value>(json).ok());
        let dead_letters = redrive.as_ref().and_then(|policy| {
            let name = policy["deadLetterTargetArn"].as_str()?.rsplit(':').next()?;
            // Some write the number as a text.
            let most = &policy["maxReceiveCount"];
            let most = most.as_u64().or_else(|| most.as_str()?.parse().ok()).unwrap_or_default();
            Some((name.to_owned(), most))
        });
        Ok(DescribedQueue {
            fifo: attributes.get(&Name::FifoQueue).is_some_and(|text| text == "true"),
            visibility: Duration::from_secs(number(Name::VisibilityTimeout)),
            retention: Duration::from_secs(number(Name::MessageRetentionPeriod)),
            messages: number(Name::ApproximateNumberOfMessages)
                + number(Name::ApproximateNumberOfMessagesNotVisible),
            dead_letters,
        })
    }
}
