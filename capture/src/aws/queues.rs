//! SQS, as far as a capture needs it.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, QueueAttributeName};
use re_dms_shared::message::{self, SegmentAck, SegmentStaged, TableRequest};
use serde::Serialize;

use super::failure::{hint, words};
use crate::config::QueueConfig;
use crate::error::{Error, Result, Who};

/// The queue to the loader and the one back.
#[derive(Clone, Debug)]
pub struct Queues {
    pub(super) client: Client,
    pub(super) segments_url: String,
    pub(super) acks_url: String,
}

/// An acknowledgement, to be deleted once it is taken into account.
#[derive(Clone, Debug)]
pub struct ReceivedAck {
    /// What it says; none if the body is no acknowledgement that this version knows.
    pub ack: Option<SegmentAck>,
    receipt_handle: String,
}

impl Queues {
    /// Both queues of a stream.
    #[must_use]
    pub fn new(sdk: &SdkConfig, config: &QueueConfig) -> Self {
        Self {
            client: Client::new(sdk),
            segments_url: config.segments_url.clone(),
            acks_url: config.acks_url.clone(),
        }
    }

    /// Are both queues there, and is the first one FIFO?
    ///
    /// # Errors
    /// If not, or if SQS can't be reached.
    pub async fn check(&self) -> Result<()> {
        for (key, url) in [("queues.segments_url", &self.segments_url), ("queues.acks_url", &self.acks_url)] {
            let get = self.client.get_queue_attributes().queue_url(url);
            let sent = get.attribute_names(QueueAttributeName::QueueArn).send().await;
            sent.map_err(|error| {
                if error.as_service_error().is_some() {
                    let what = format!("{key} can't be used: {}", words(&error));
                    Error::fatal(
                        Who::Queue,
                        what,
                        format!("create the queue, or correct {key} and the role's rights"),
                    )
                } else {
                    failure(key, &error)
                }
            })?;
        }
        Ok(())
    }

    /// Announces a staged segment to the loader, within the stream's group.
    ///
    /// # Errors
    /// If SQS refuses or can't be reached: the message may be sent or not.
    pub async fn announce(&self, segment: &SegmentStaged, deduplication_id: &str) -> Result<()> {
        self.send(&segment.stream, segment, deduplication_id).await
    }

    /// Asks the loader to do something with a table, after what was announced before.
    ///
    /// # Errors
    /// If SQS refuses or can't be reached: the message may be sent or not.
    pub async fn request(&self, request: &TableRequest) -> Result<()> {
        self.send(&request.stream, request, &uuid::Uuid::new_v4().to_string()).await
    }

    /// Sends any message to the loader, in this group.
    ///
    /// # Errors
    /// If SQS refuses or can't be reached: the message may be sent or not.
    pub async fn send(&self, group: &str, message: &impl Serialize, deduplication_id: &str) -> Result<()> {
        let body = serde_json::to_string(message).map_err(|error| {
            Error::fatal(Who::Queue, format!("a message can't be written: {error}"), "report this as a bug")
        })?;
        let send = self.client.send_message().queue_url(&self.segments_url).message_body(body);
        let send = send.message_group_id(group).message_deduplication_id(deduplication_id);
        send.send().await.map(drop).map_err(|error| failure("queues.segments_url", &error))
    }

    /// Waits up to `wait` (whole seconds, at most 20) for acknowledgements.
    ///
    /// # Errors
    /// If SQS refuses or can't be reached.
    pub async fn receive_acks(&self, wait: Duration) -> Result<Vec<ReceivedAck>> {
        let seconds = i32::try_from(wait.as_secs().min(20)).unwrap_or(20);
        let receive = self.client.receive_message().queue_url(&self.acks_url).max_number_of_messages(10);
        let received = receive.wait_time_seconds(seconds).send().await;
        let received = received.map_err(|error| failure("queues.acks_url", &error))?;
        let parse = |body: &str| {
            let ack = serde_json::from_str::<SegmentAck>(body).ok();
            ack.filter(|ack| ack.format <= message::FORMAT)
        };
        let messages = received.messages.unwrap_or_default().into_iter();
        Ok(messages
            .filter_map(|message| {
                Some(ReceivedAck {
                    ack: message.body().and_then(parse),
                    receipt_handle: message.receipt_handle?,
                })
            })
            .collect())
    }

    /// Deletes at most ten acknowledgements.
    ///
    /// # Errors
    /// If SQS refuses or can't be reached: they come again, which does no harm.
    pub async fn delete_acks(&self, acks: &[ReceivedAck]) -> Result<()> {
        if acks.is_empty() {
            return Ok(());
        }
        let mut delete = self.client.delete_message_batch().queue_url(&self.acks_url);
        for (number, ack) in acks.iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
            let entry = entry.receipt_handle(&ack.receipt_handle).build().map_err(|error| {
                Error::fatal(Who::Queue, format!("a request can't be made: {error}"), "report this as a bug")
            })?;
            delete = delete.entries(entry);
        }
        delete.send().await.map(drop).map_err(|error| failure("queues.acks_url", &error))
    }
}

/// A queue for the answers to one command, beside the stream's own.
#[derive(Clone, Debug)]
pub struct AckQueue {
    client: Client,
    /// Where it is.
    pub url: String,
}

impl AckQueue {
    /// Makes one, called like the stream's queue for acknowledgements with `-replay-` and eight random digits behind it, so that
    /// who may send there may send here.
    ///
    /// # Errors
    /// If SQS refuses or can't be reached.
    pub async fn create(sdk: &SdkConfig, acks_url: &str) -> Result<Self> {
        /// Long enough for whoever looks away, short enough that nothing old is left.
        const KEPT_SECONDS: &str = "3600";
        let client = Client::new(sdk);
        let name = acks_url.rsplit('/').next().unwrap_or("re_dms-acks");
        let random = uuid::Uuid::new_v4().simple().to_string();
        // SQS takes 80 characters.
        let name = format!("{}-replay-{}", &name[..name.floor_char_boundary(60)], &random[..8]);
        let create = client.create_queue().queue_name(name);
        let create = create.attributes(QueueAttributeName::MessageRetentionPeriod, KEPT_SECONDS);
        let made = create.send().await.map_err(|error| {
            let what = format!("no queue can be made for the loader's answers: {}", words(&error));
            Error::fatal(
                Who::Queue,
                what,
                "give your role sqs:CreateQueue and sqs:DeleteQueue on queues named like the ack queue",
            )
        })?;
        let url = made.queue_url.ok_or_else(|| {
            Error::fatal(Who::Queue, "SQS made a queue and does not say where", "report this as a bug")
        })?;
        Ok(Self { client, url })
    }

    /// Removes it. Should that fail it stays, empty within the hour.
    pub async fn remove(&self) {
        if let Err(error) = self.client.delete_queue().queue_url(&self.url).send().await {
            tracing::warn!(queue = %self.url, error = words(&error), "the queue stays");
        }
    }
}

pub(super) fn failure<E>(key: &str, error: &SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let words = words(error);
    Error::passing(
        Who::Queue,
        format!("{key} can't be used: {words}"),
        hint(&words, "check aws.endpoint_url, the network and the role's rights; it is tried again"),
    )
}
