//! Thin wrappers around S3 and SQS: the AWS SDK's types end here.

mod delete;
mod describe;
mod failure;
mod objects;
mod queues;

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;

use crate::config::AwsConfig;

pub use delete::FolderSize;
pub use describe::{DescribedObject, DescribedQueue};
pub(crate) use failure::words;
pub use objects::{Objects, PutOnce, StoredObject};
pub use queues::{AckQueue, Queues, ReceivedAck};

/// A request that is not answered after this is given up and tried again: a connection that a firewall forgot would
/// else be waited for as long as the kernel does. Longer than a long poll, and than a large file takes on a slow line.
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);

/// The SDK's settings: the environment's, with what the config file says over them.
pub async fn sdk_config(config: &AwsConfig) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().read_timeout(ANSWER_PATIENCE).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts);
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
