//! S3, as far as a capture needs it.

use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::{Tag, Tagging};
use bytes::Bytes;
use re_dms_shared::s3_layout::EXPENDABLE;

use super::failure::{hint, words};
use crate::error::{Error, Result, Who};

/// One bucket.
#[derive(Clone, Debug)]
pub struct Objects {
    pub(super) client: Client,
    pub(super) bucket: String,
}

/// What became of an object that may be written only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOnce {
    /// It is there now.
    Written,
    /// Another one was there before.
    Exists,
}

/// An object as a listing tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written.
    pub modified_at: Option<SystemTime>,
}

impl Objects {
    /// `path_style` puts the bucket into the path, as local stand-ins want it.
    #[must_use]
    pub fn new(sdk: &SdkConfig, bucket: &str, path_style: bool) -> Self {
        let config = aws_sdk_s3::config::Builder::from(sdk).force_path_style(path_style).build();
        Self { client: Client::from_conf(config), bucket: bucket.to_owned() }
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Is the bucket there, and may we see it?
    ///
    /// # Errors
    /// If not, or if S3 can't be reached.
    pub async fn check(&self) -> Result<()> {
        self.client.head_bucket().bucket(&self.bucket).send().await.map(drop).map_err(|error| {
            let status = error.raw_response().map(|response| response.status().as_u16());
            match status {
                Some(404) => Error::fatal(
                    Who::Storage,
                    format!("the bucket {} does not exist", self.bucket),
                    "create it or correct s3.bucket (and aws.region)",
                ),
                Some(403) => Error::fatal(
                    Who::Storage,
                    format!("no access to the bucket {}", self.bucket),
                    "give the capture's role s3:ListBucket, s3:GetObject and s3:PutObject on it",
                ),
                _ => self.failure("looking for the bucket", &error),
            }
        })
    }

    /// Writes an object, over another one if need be.
    ///
    /// # Errors
    /// If S3 refuses or can't be reached.
    pub async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(body.into());
        put.send().await.map(drop).map_err(|error| self.failure(&format!("writing {key}"), &error))
    }

    /// Writes an object if there is none (`If-None-Match: *`).
    ///
    /// # Errors
    /// If S3 refuses for another reason, or can't be reached: the object may be there or not.
    pub async fn put_once(&self, key: &str, body: Bytes) -> Result<PutOnce> {
        let put = self.client.put_object().bucket(&self.bucket).key(key).if_none_match("*").body(body.into());
        match put.send().await {
            Ok(_) => Ok(PutOnce::Written),
            Err(error) if error.code() == Some("PreconditionFailed") => Ok(PutOnce::Exists),
            Err(error) => Err(self.failure(&format!("writing {key}"), &error)),
        }
    }

    /// An object's content; none if there is no such object.
    ///
    /// # Errors
    /// If S3 refuses or can't be reached.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        match self.client.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(object) => match object.body.collect().await {
                Ok(body) => Ok(Some(body.into_bytes())),
                Err(error) => Err(Error::passing(
                    Who::Storage,
                    format!("reading {key} broke off: {error}"),
                    "it is tried again",
                )),
            },
            Err(error) if error.code() == Some("NoSuchKey") => Ok(None),
            Err(error) => Err(self.failure(&format!("reading {key}"), &error)),
        }
    }

    /// Removes an object; it is no error if there is none.
    ///
    /// # Errors
    /// If S3 refuses or can't be reached.
    pub async fn delete(&self, key: &str) -> Result<()> {
        let delete = self.client.delete_object().bucket(&self.bucket).key(key);
        delete.send().await.map(drop).map_err(|error| self.failure(&format!("removing {key}"), &error))
    }

    /// Tags an object as one that nobody needs any more; it is no error if it has gone already.
    ///
    /// # Errors
    /// If S3 refuses or can't be reached.
    pub async fn tag_expendable(&self, key: &str) -> Result<()> {
        let (name, value) = EXPENDABLE;
        let tag = Tag::builder().key(name).value(value).build();
        let tagging = tag.and_then(|tag| Tagging::builder().tag_set(tag).build()).map_err(|error| {
            Error::fatal(Who::Storage, format!("tagging {key}: {error}"), "report this as a bug")
        })?;
        let put = self.client.put_object_tagging().bucket(&self.bucket).key(key).tagging(tagging);
        match put.send().await {
            Err(error) if error.code() != Some("NoSuchKey") => {
                Err(self.failure(&format!("tagging {key}"), &error))
            }
            _ => Ok(()),
        }
    }

    /// Is there such an object?
    ///
    /// # Errors
    /// If S3 refuses or can't be reached.
    pub async fn exists(&self, key: &str) -> Result<bool> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(_) => Ok(true),
            Err(error) if error.raw_response().is_some_and(|r| r.status().as_u16() == 404) => Ok(false),
            Err(error) => Err(self.failure(&format!("looking for {key}"), &error)),
        }
    }

    /// The first key below `prefix` that comes after `after`, in S3's order of bytes.
    ///
    /// # Errors
    /// If S3 refuses or can't be reached.
    pub async fn first_key_after(&self, prefix: &str, after: &str) -> Result<Option<String>> {
        let list =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).start_after(after).max_keys(1);
        let page = list.send().await.map_err(|error| self.failure(&format!("listing {prefix}"), &error))?;
        Ok(page.contents().first().and_then(|object| object.key()).map(str::to_owned))
    }

    /// The objects below `prefix` that come after `after`, in S3's order of bytes: at most a thousand, none at the end.
    ///
    /// # Errors
    /// If S3 refuses or can't be reached.
    pub async fn page_after(&self, prefix: &str, after: &str) -> Result<Vec<StoredObject>> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).start_after(after);
        let page = list.send().await.map_err(|error| self.failure(&format!("listing {prefix}"), &error))?;
        let stored = |object: &aws_sdk_s3::types::Object| {
            let bytes = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
            let modified_at = object.last_modified().and_then(|at| SystemTime::try_from(*at).ok());
            Some(StoredObject { key: object.key()?.to_owned(), bytes, modified_at })
        };
        Ok(page.contents().iter().filter_map(stored).collect())
    }

    /// An object's size; none if there is no such object.
    ///
    /// # Errors
    /// If S3 refuses or can't be reached.
    pub async fn size(&self, key: &str) -> Result<Option<u64>> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(head) => {
                Ok(Some(head.content_length().and_then(|size| u64::try_from(size).ok()).unwrap_or_default()))
            }
            Err(error) if error.raw_response().is_some_and(|r| r.status().as_u16() == 404) => Ok(None),
            Err(error) => Err(self.failure(&format!("looking for {key}"), &error)),
        }
    }

    pub(super) fn failure<E>(&self, doing: &str, error: &SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let words = words(error);
        let what = format!("{doing} in bucket {} failed: {words}", self.bucket);
        match error.raw_response().map(|response| response.status().as_u16()) {
            Some(403) => {
                Error::fatal(Who::Storage, what, "check the rights of the capture's role on the bucket")
            }
            _ => Error::passing(
                Who::Storage,
                what,
                hint(&words, "check aws.endpoint_url, the network and the credentials; it is tried again"),
            ),
        }
    }
}
