//! S3, as little of it as the loader needs.

use std::future::Future;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;

use crate::error::{LoadError, Retry, with_causes};

/// Objects in buckets.
pub trait Objects: Send + Sync {
    /// The whole object.
    fn get(&self, bucket: &str, key: &str) -> impl Future<Output = Result<Vec<u8>, LoadError>> + Send;

    /// Writes an object unless there is one.
    fn put_if_absent(
        &self,
        bucket: &str,
        key: &str,
        content: Vec<u8>,
    ) -> impl Future<Output = Result<(), LoadError>> + Send;
}

/// Objects on S3.
#[derive(Clone, Debug)]
pub struct S3(Client);

impl S3 {
    /// Through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

impl Objects for S3 {
    async fn get(&self, bucket: &str, key: &str) -> Result<Vec<u8>, LoadError> {
        let answer = self.0.get_object().bucket(bucket).key(key).send().await;
        let answer = answer.map_err(|error| storage("reading", bucket, key, &error))?;
        let body = answer.body.collect().await.map_err(|error| LoadError::Storage {
            action: "reading",
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            reason: with_causes(&error),
            retry: Retry::Soon,
        })?;
        Ok(body.to_vec())
    }

    async fn put_if_absent(&self, bucket: &str, key: &str, content: Vec<u8>) -> Result<(), LoadError> {
        let request = self.0.put_object().bucket(bucket).key(key).if_none_match("*");
        let answer = request.content_type("application/json").body(ByteStream::from(content)).send().await;
        match answer {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("PreconditionFailed") => Ok(()),
            Err(error) => Err(storage("writing", bucket, key, &error)),
        }
    }
}

fn storage<E, R>(action: &'static str, bucket: &str, key: &str, error: &SdkError<E, R>) -> LoadError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let (retry, reason) = match error.code() {
        Some(code) => {
            let lasting = ["NoSuchKey", "NoSuchBucket", "AccessDenied", "PermanentRedirect"].contains(&code);
            let words = error.message().unwrap_or_default();
            (if lasting { Retry::Never } else { Retry::Soon }, format!("{code}: {words}"))
        }
        None => (Retry::Soon, with_causes(error)),
    };
    LoadError::Storage { action, bucket: bucket.to_owned(), key: key.to_owned(), reason, retry }
}
