//! A folder instead of a bucket: what S3's client and a stand-in for its servers take is not what is measured.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use re_dms_capture::aws::PutOnce;
use re_dms_capture::error::{Error, Result, Who};
use re_dms_capture::stage::SegmentStore;

#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    async fn write(&self, key: &str, body: Bytes, options: &tokio::fs::OpenOptions) -> std::io::Result<()> {
        let path = self.0.join(key);
        tokio::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).await?;
        let mut file = options.open(path).await?;
        tokio::io::AsyncWriteExt::write_all(&mut file, &body).await?;
        tokio::io::AsyncWriteExt::flush(&mut file).await
    }
}

impl SegmentStore for Folder {
    fn bucket(&self) -> &'static str {
        "bench"
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        self.write(key, body, &options).await.map_err(|error| failure(key, &error))
    }

    async fn put_once(&self, key: &str, body: Bytes) -> Result<PutOnce> {
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create_new(true);
        match self.write(key, body, &options).await {
            Ok(()) => Ok(PutOnce::Written),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(PutOnce::Exists),
            Err(error) => Err(failure(key, &error)),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        match tokio::fs::read(self.0.join(key)).await {
            Ok(body) => Ok(Some(body.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failure(key, &error)),
        }
    }
}

fn failure(key: &str, error: &std::io::Error) -> Error {
    Error::fatal(Who::Storage, format!("{key}: {error}"), "see to the benchmark's folder (--dir)")
}
