//! Removing many objects, for `re_dms destroy`.

use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use super::Objects;
use crate::error::{Error, Result, Who};

/// What a folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderSize {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Objects {
    /// What lies below `prefix`.
    ///
    /// # Errors
    /// If S3 refuses or can't be reached.
    pub async fn folder_size(&self, prefix: &str) -> Result<FolderSize> {
        let (mut size, mut after) = (FolderSize::default(), String::new());
        loop {
            let page = self.page_after(prefix, &after).await?;
            let Some(last) = page.last() else { return Ok(size) };
            after.clone_from(&last.key);
            size.objects += page.len() as u64;
            size.bytes += page.iter().map(|object| object.bytes).sum::<u64>();
        }
    }

    /// Removes what lies below `prefix`, but for the object `kept`; says how many objects it was.
    ///
    /// # Errors
    /// If S3 refuses or can't be reached: some are gone then.
    pub async fn delete_folder(&self, prefix: &str, kept: &str) -> Result<u64> {
        let (mut count, mut after) = (0, String::new());
        loop {
            let page = self.page_after(prefix, &after).await?;
            let Some(last) = page.last() else { return Ok(count) };
            after.clone_from(&last.key);
            let keys: Vec<_> = page.into_iter().map(|object| object.key).filter(|key| key != kept).collect();
            count += keys.len() as u64;
            self.delete_all(prefix, keys).await?;
        }
    }

    /// At most a thousand at once, as they are listed.
    async fn delete_all(&self, prefix: &str, keys: Vec<String>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let impossible = |error: aws_sdk_s3::error::BuildError| {
            let what = format!("a request can't be made: {error}");
            Error::fatal(Who::Storage, what, "report this as a bug")
        };
        let mut delete = Delete::builder().quiet(true);
        for key in keys {
            delete = delete.objects(ObjectIdentifier::builder().key(key).build().map_err(impossible)?);
        }
        let delete = delete.build().map_err(impossible)?;
        let sent = self.client.delete_objects().bucket(&self.bucket).delete(delete).send().await;
        let done = sent.map_err(|error| self.failure(&format!("removing what is in {prefix}"), &error))?;
        let Some(refused) = done.errors().first() else { return Ok(()) };
        let (key, why) = (refused.key().unwrap_or_default(), refused.code().unwrap_or("no reason"));
        Err(Error::fatal(
            Who::Storage,
            format!("{key} and {} more can't be removed: {why}", done.errors().len() - 1),
            "give your role s3:DeleteObject on the bucket; an object lock has to end first",
        ))
    }
}
