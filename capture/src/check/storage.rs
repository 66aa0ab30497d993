//! The bucket: written, read, written once, listed, removed. Which key encrypts it shows by doing.

use bytes::Bytes;
use jiff::Timestamp;
use re_dms_shared::check::Finding;
use re_dms_shared::s3_layout::StreamLayout;

use super::{Stored, clock, failed};
use crate::aws::{Objects, PutOnce};
use crate::error::{Error, Result};
use crate::start::current_epoch;

const KMS: &str = "give the capture's role kms:GenerateDataKey and kms:Decrypt on the bucket's key";

pub(super) async fn check(objects: &Objects, layout: &StreamLayout, id: &str) -> Stored {
    let mut stored = Stored { findings: Vec::new(), usable: false, epoch: None };
    if let Err(error) = objects.check().await {
        stored.findings.push(failed("S3: bucket", &error));
        return stored;
    }
    stored.findings.push(Finding::ok("S3: bucket", objects.bucket()));
    let key = format!("{}/written", layout.check(id));
    match try_out(objects, &key).await {
        Ok(found) => {
            stored.usable = true;
            stored.findings.extend(found);
        }
        Err(error) => {
            let mut finding = failed("S3: objects", &error);
            if error.what.contains("KMS") || error.what.contains("kms") {
                finding.hint = Some(KMS.to_owned());
            }
            stored.findings.push(finding);
        }
    }
    if let Err(error) = objects.delete(&key).await {
        stored.findings.push(failed("S3: removing", &error));
    }
    match current_epoch(objects, layout).await {
        Ok(epoch) => {
            let what = match &epoch {
                Some(epoch) => format!("in the epoch {epoch}"),
                None => "new: nothing of it is there".to_owned(),
            };
            stored.findings.push(Finding::ok("S3: stream", what));
            stored.epoch = epoch;
        }
        Err(error) => stored.findings.push(failed("S3: stream", &error)),
    }
    stored
}

async fn try_out(objects: &Objects, key: &str) -> Result<Vec<Finding>> {
    const ONCE: &str = "S3: writing once";
    let body = Bytes::from_static(b"re_dms check");
    let first = objects.put_once(key, body.clone()).await?;
    let now = Timestamp::now();
    let read = objects.get(key).await?;
    if first != PutOnce::Written || read.as_ref() != Some(&body) {
        let what = format!("{key} does not hold what was written to it");
        return Err(Error::fatal(crate::error::Who::Storage, what, "is this endpoint S3?"));
    }
    let listed = objects.first_key_after(key.trim_end_matches("written"), "").await?;
    let described = objects.describe(key).await?;
    let encryption = described.encryption.as_deref().unwrap_or("none that S3 tells of").to_owned();
    let mut findings =
        vec![Finding::ok("S3: objects", format!("written and read; encryption: {encryption}"))];
    if listed.as_deref() != Some(key) {
        let what = "what was written is not listed";
        findings.push(Finding::error(
            "S3: listing",
            what,
            "give the capture's role s3:ListBucket on the bucket",
        ));
    }
    // Two captures must not both write a segment (invariant 4).
    findings.push(match objects.put_once(key, body).await? {
        PutOnce::Exists => Finding::ok(ONCE, "an object that is there is not overwritten (If-None-Match)"),
        PutOnce::Written => Finding::error(
            ONCE,
            "this S3 overwrites in spite of If-None-Match: two captures could write one segment",
            "use Amazon S3, or a store that honours conditional writes",
        ),
    });
    findings.extend(described.modified.map(|modified| clock("S3: clock", modified, now)));
    Ok(findings)
}
