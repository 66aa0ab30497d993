//! Manifests from S3: each must be the one that its message means.

use futures_util::{StreamExt as _, stream};
use re_dms_shared::manifest::{CopiedTables, Manifest, ManifestError, sha256_hex};
use re_dms_shared::message::SegmentStaged;

use super::{Loader, Segment};
use crate::error::LoadError;
use crate::objects::Objects;
use re_dms_plan::BATCH_STATEMENTS;

/// Manifests that are read at a time.
const READ_AHEAD: usize = 3;

impl<A: Send + Sync, O: Objects> Loader<A, O> {
    /// The first message's segment, and those after it that can be read, as many as may go with it: not all of a delivery,
    /// since manifests of large ones take memory.
    pub(super) async fn segments(&self, messages: &[SegmentStaged]) -> Result<Vec<Segment>, LoadError> {
        let reads: Vec<_> = messages.iter().map(|message| self.segment(message)).collect();
        let mut reads = stream::iter(reads).buffered(READ_AHEAD);
        let mut segments: Vec<Segment> = Vec::new();
        while let Some(read) = reads.next().await {
            match read {
                Ok(segment) => segments.push(segment),
                Err(error) if segments.is_empty() => return Err(error),
                // It is told when its turn comes.
                Err(_) => break,
            }
            let steps: usize = segments.iter().map(|segment| segment.manifest.steps.len()).sum();
            if steps >= BATCH_STATEMENTS {
                break;
            }
        }
        Ok(segments)
    }

    /// The message's segment, whose manifest must be the one that it means.
    async fn segment(&self, message: &SegmentStaged) -> Result<Segment, LoadError> {
        let SegmentStaged { bucket, manifest_key: key, manifest_sha256, .. } = message;
        let manifest = self.manifest(bucket, key, manifest_sha256).await?;
        let Manifest { stream, epoch, seq, .. } = &manifest;
        if (stream, epoch, *seq) != (&message.stream, &message.epoch, message.seq) {
            let reason = format!("it is segment {seq} of {stream}, epoch {epoch}, and not the message's");
            return Err(LoadError::Manifest { key: key.clone(), reason });
        }
        Ok(Segment {
            manifest,
            manifest_sha256: manifest_sha256.clone(),
            bucket: bucket.clone(),
            manifest_key: key.clone(),
        })
    }

    /// A manifest with this checksum.
    pub(crate) async fn manifest(
        &self,
        bucket: &str,
        key: &str,
        sha256: &str,
    ) -> Result<Manifest, LoadError> {
        let json = self.objects.get(bucket, key).await?;
        let wrong = |reason: String| LoadError::Manifest { key: key.to_owned(), reason };
        if sha256_hex(&json) != sha256 {
            return Err(wrong("its checksum is not the message's".to_owned()));
        }
        let manifest = Manifest::from_json(&json).map_err(|error| match error {
            ManifestError::Newer { found } => LoadError::Newer {
                what: format!("manifest {key}"),
                found,
                reads: re_dms_shared::manifest::FORMAT,
            },
            // Only where it broke: serde's words may quote what stands there.
            ManifestError::Malformed(error) => {
                wrong(format!("malformed in line {}, column {}", error.line(), error.column()))
            }
        })?;
        let Manifest { seq, predecessor, .. } = &manifest;
        let expected = Some(manifest.follows()).filter(|before| *before > 0);
        let named = predecessor.as_ref().map(|segment| segment.seq);
        // The first segment after an initial copy was staged before the copy's last one was.
        let unnamed = named.is_none() && manifest.after_copy.is_some();
        if *seq == 0 || (named != expected && !unnamed) {
            return Err(wrong(format!("segment {seq} names a wrong predecessor")));
        }
        self.without_copied(bucket, manifest).await
    }

    /// Leaves out the steps that initial copies hold already.
    async fn without_copied(&self, bucket: &str, mut manifest: Manifest) -> Result<Manifest, LoadError> {
        let Some(key) = &manifest.after_copy else { return Ok(manifest) };
        let json = self.objects.get(bucket, key).await?;
        let copied: CopiedTables = serde_json::from_slice(&json).map_err(|error| LoadError::Manifest {
            key: key.clone(),
            reason: format!("malformed in line {}, column {}", error.line(), error.column()),
        })?;
        if copied.format > CopiedTables::FORMAT {
            let (found, reads) = (copied.format, CopiedTables::FORMAT);
            return Err(LoadError::Newer { what: key.clone(), found, reads });
        }
        let end = manifest.end_lsn;
        manifest.steps.retain(|step| !copied.holds(step.table.oid, end));
        Ok(manifest)
    }
}
