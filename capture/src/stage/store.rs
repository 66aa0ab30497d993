//! Where segments are kept.

use bytes::Bytes;

use crate::aws::{Objects, PutOnce};
use crate::error::Result;

/// What the stager needs of a bucket. The capture's is on S3; a benchmark that leaves the network out takes a folder.
pub trait SegmentStore: Send + Sync {
    /// The bucket's name, as COPY manifests and announcements spell it.
    fn bucket(&self) -> &str;

    /// Writes an object, over another one if need be.
    fn put(&self, key: &str, body: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Writes an object if there is none.
    fn put_once(&self, key: &str, body: Bytes) -> impl Future<Output = Result<PutOnce>> + Send;

    /// An object's content; none if there is no such object.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>>> + Send;
}

impl SegmentStore for Objects {
    fn bucket(&self) -> &str {
        Objects::bucket(self)
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        Objects::put(self, key, body).await
    }

    async fn put_once(&self, key: &str, body: Bytes) -> Result<PutOnce> {
        Objects::put_once(self, key, body).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        Objects::get(self, key).await
    }
}
