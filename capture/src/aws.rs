//! Thin wrappers around S3 and SQS: the AWS SDK's types end here.

mod objects;
mod queues;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;

use crate::config::AwsConfig;

pub use objects::{Objects, PutOnce};
pub use queues::{Queues, ReceivedAck};

/// The SDK's settings: the environment's, with what the config file says over them.
pub async fn sdk_config(config: &AwsConfig) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &config.endpoint_url {
        loader = loader.endpoint_url(endpoint);
    }
    if let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
        loader =
            loader.credentials_provider(Credentials::new(id, secret.reveal(), None, None, "re_dms config"));
    }
    loader.load().await
}
