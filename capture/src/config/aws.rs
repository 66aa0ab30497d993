//! Bucket, queues, and how AWS is reached.

use std::time::Duration;

use super::reader::Reader;
use super::{Secret, units};

/// Where segments go.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// Prefix of all keys; may be empty.
    pub prefix: String,
    /// How often the status is put there; none for never.
    pub status_interval: Option<Duration>,
}

/// How capture and loader talk.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// URL of the FIFO queue that the loader is triggered by.
    pub segments_url: String,
    /// URL of the standard queue that acknowledgements come back by.
    pub acks_url: String,
    /// A staged segment without an acknowledgement is announced again after this.
    pub resend_after: Duration,
}

/// How AWS is reached, where the environment does not say it.
#[derive(Clone, Debug)]
pub struct AwsConfig {
    /// The region.
    pub region: Option<String>,
    /// Another endpoint for S3 and SQS: for local stand-ins.
    pub endpoint_url: Option<String>,
    /// Fixed credentials: for local stand-ins. On AWS let the role give them.
    pub access_key_id: Option<String>,
    /// See `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// Bucket in the path instead of the host name: for local stand-ins.
    pub s3_path_style: bool,
}

impl S3Config {
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let bucket = reader.required("s3.bucket", bucket_name);
        let prefix = reader.or_default("s3.prefix", |text| Ok(text.to_owned()), "re_dms".to_owned());
        let default = Some(Duration::from_secs(15));
        let status_interval = reader.or_default("s3.status_interval", units::duration_or_never, default);
        Some(Self { bucket: bucket?, prefix, status_interval })
    }
}

impl QueueConfig {
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let segments_url = reader.required("queues.segments_url", fifo_queue_url);
        let acks_url = reader.required("queues.acks_url", standard_queue_url);
        let resend_after =
            reader.or_default("queues.resend_after", units::duration, Duration::from_secs(300));
        Some(Self { segments_url: segments_url?, acks_url: acks_url?, resend_after })
    }
}

impl AwsConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let aws = Self {
            region: reader.optional("aws.region", |text| Ok(text.to_owned())),
            endpoint_url: reader.optional("aws.endpoint_url", http_url),
            access_key_id: reader.optional("aws.access_key_id", |text| Ok(text.to_owned())),
            secret_access_key: reader
                .optional("aws.secret_access_key", |text| Ok(Secret::new(text.to_owned()))),
            s3_path_style: reader.or_default("aws.s3_path_style", units::boolean, false),
        };
        if aws.access_key_id.is_some() != aws.secret_access_key.is_some() {
            reader.problem(
                "aws.access_key_id",
                "and aws.secret_access_key go together".into(),
                "set both, or neither to take the credentials that the environment or the role gives",
            );
        }
        aws
    }
}

fn bucket_name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if (3..=63).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("is no bucket name (3 to 63 lower-case letters, digits, dots and hyphens; no s3://)".into())
    }
}

fn http_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
        Ok(text.to_owned())
    } else {
        Err("must begin with https:// or http:// and name a host".into())
    }
}

fn fifo_queue_url(text: &str) -> Result<String, String> {
    let url = http_url(text)?;
    if url.ends_with(".fifo") {
        Ok(url)
    } else {
        Err("must be the URL of a FIFO queue: order matters, so its name ends in .fifo".into())
    }
}

fn standard_queue_url(text: &str) -> Result<String, String> {
    let url = http_url(text)?;
    if url.ends_with(".fifo") {
        Err("must be the URL of a standard queue, not of a FIFO queue".into())
    } else {
        Ok(url)
    }
}
