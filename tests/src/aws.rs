//! The sandbox's AWS side, for tests that look into it or meddle with it.

use anyhow::{Context, Result};
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_sqs::types::QueueAttributeName;

use crate::Sandbox;

/// Clients of the sandbox's local AWS.
pub struct Aws {
    /// S3.
    pub s3: aws_sdk_s3::Client,
    /// SQS.
    pub sqs: aws_sdk_sqs::Client,
    /// Secrets Manager.
    pub secrets: aws_sdk_secretsmanager::Client,
    /// Lambda.
    pub lambda: aws_sdk_lambda::Client,
    /// The loader's function.
    pub function: String,
    /// The bucket of the segments.
    pub bucket: String,
    /// The FIFO queue to the loader.
    pub queue_url: String,
    /// The queue back to the capture.
    pub ack_queue_url: String,
}

impl Aws {
    /// Of a running sandbox.
    pub async fn of(sandbox: &Sandbox) -> Result<Self> {
        let sdk = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(sandbox.text("aws_endpoint")?)
            .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
            .load()
            .await;
        let s3 = aws_sdk_s3::config::Builder::from(&sdk).force_path_style(true).build();
        Ok(Self {
            s3: aws_sdk_s3::Client::from_conf(s3),
            sqs: aws_sdk_sqs::Client::new(&sdk),
            secrets: aws_sdk_secretsmanager::Client::new(&sdk),
            lambda: aws_sdk_lambda::Client::new(&sdk),
            function: sandbox.text("function_name")?.to_owned(),
            bucket: sandbox.text("bucket")?.to_owned(),
            queue_url: sandbox.text("queue_url")?.to_owned(),
            ack_queue_url: sandbox.text("ack_queue_url")?.to_owned(),
        })
    }

    /// Stops or starts the delivery of messages to the loader.
    pub async fn deliver(&self, enabled: bool) -> Result<()> {
        let mappings = self.lambda.list_event_source_mappings().function_name(&self.function).send().await?;
        let mapping = mappings.event_source_mappings().first().context("the loader has no event source")?;
        let uuid = mapping.uuid().context("the event source has no id")?;
        self.lambda.update_event_source_mapping().uuid(uuid).enabled(enabled).send().await?;
        Ok(())
    }

    /// Messages in the queue to the loader, about.
    pub async fn announced(&self) -> Result<u64> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let get = self.sqs.get_queue_attributes().queue_url(&self.queue_url);
        let told = get.set_attribute_names(Some(names.to_vec())).send().await?;
        let counts = told.attributes.unwrap_or_default();
        names.iter().map(|name| Ok(counts.get(name).context("no count")?.parse::<u64>()?)).sum()
    }

    /// All keys in the bucket that end so.
    pub async fn keys(&self, suffix: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut pages = self.s3.list_objects_v2().bucket(&self.bucket).into_paginator().send();
        while let Some(page) = pages.next().await {
            keys.extend(page?.contents().iter().filter_map(|object| object.key()).map(str::to_owned));
        }
        keys.retain(|key| key.ends_with(suffix));
        Ok(keys)
    }

    /// An object's bytes.
    pub async fn object(&self, key: &str) -> Result<Vec<u8>> {
        let object = self.s3.get_object().bucket(&self.bucket).key(key).send().await?;
        Ok(object.body.collect().await?.into_bytes().to_vec())
    }
}
