//! Reading S3: the only place here that knows the AWS SDK.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;

/// A bucket's reader.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    client: Client,
}

impl Objects {
    /// Talks to a local S3; its credentials are the usual dummy ones.
    pub(crate) fn new(endpoint: &str, region: &str) -> Self {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .region(Region::new(region.to_owned()))
            .credentials_provider(Credentials::new("test", "test", None, None, "sandbox"))
            .force_path_style(true)
            .build();
        Self { client: Client::from_conf(config) }
    }

    /// Opens an object; None if it does not exist. The error is in Redshift's words.
    pub(super) async fn open(&self, bucket: &str, key: &str) -> Result<Option<ByteStream>, String> {
        match self.client.get_object().bucket(bucket).key(key).send().await {
            Ok(object) => Ok(Some(object.body)),
            Err(error) if error.code() == Some("NoSuchKey") => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    /// A small object as a whole.
    pub(super) async fn read(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>, String> {
        match self.open(bucket, key).await? {
            Some(body) => {
                let bytes = body.collect().await.map_err(|_| "S3 connection was lost".to_owned())?;
                Ok(Some(bytes.to_vec()))
            }
            None => Ok(None),
        }
    }

    /// Every key that begins with a prefix.
    pub(super) async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<String>, String> {
        let mut keys = Vec::new();
        let mut pages = self.client.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failure(&error))?;
            keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        Ok(keys)
    }
}

/// What Redshift says of an S3 failure.
fn failure(error: &impl ProvideErrorMetadata) -> String {
    format!(
        "S3ServiceException:{},Error {}",
        error.message().unwrap_or("Unable to connect to endpoint"),
        error.code().unwrap_or("Unknown")
    )
}
