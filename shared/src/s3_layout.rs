//! Where things lie on S3.
//!
//! ```text
//! {prefix}/{stream}/stream.json                                    the stream's current epoch
//! {prefix}/{stream}/replay.json                                    instead of it: a replay into other tables
//! {prefix}/{stream}/status.json                                    what the capture told of itself last
//! {prefix}/{stream}/checks/{id}/                                   what `re_dms check` tries out; nothing stays
//! {prefix}/{stream}/verify/{id}/                                   what is asked and answered for `re_dms verify`; of what was
//!                                                                  asked for nothing stays
//! {prefix}/{stream}/{epoch}/position.json                          how far an idle stream was confirmed
//! {prefix}/{stream}/{epoch}/retention.json                         what of it is expendable
//! {prefix}/{stream}/{epoch}/copy.json                              the tables of the initial copy
//! {prefix}/{stream}/{epoch}/copied.json                            the same once it is done, with their snapshots
//! {prefix}/{stream}/{epoch}/copy/{oid}-{table}-{n:05}-{attempt}.csv.gz
//!                                {oid}-{table}-{attempt}.copy.json
//!                                shapes-{attempt}.json
//! {prefix}/{stream}/{epoch}/checkpoints/{seq:012}-{attempt}/checkpoint.json
//!                                                           {oid}-{table}-{n:05}-{attempt}.csv.gz
//!                                                           {oid}-{table}-{attempt}.copy.json
//! {prefix}/{stream}/{epoch}/segments/{seq:012}/manifest.json
//!                                              {step:04}-{table}-{n:03}-{attempt}.csv.gz, or .csv.zst
//!                                              {step:04}-{table}.copy.json
//!                                              loaded.json
//! ```

use crate::manifest::Compression;

/// The tag, key and value, of what nobody needs any more: a rule of the bucket's may remove it.
pub const EXPENDABLE: (&str, &str) = ("re_dms", "expendable");

/// Keys of one stream. All keys are relative to the bucket, without a leading slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamLayout {
    root: String,
}

impl StreamLayout {
    /// `prefix` may be empty, and may begin or end with slashes.
    #[must_use]
    pub fn new(prefix: &str, stream: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let root = if prefix.is_empty() { stream.to_owned() } else { format!("{prefix}/{stream}") };
        Self { root }
    }

    /// The object that names the stream's current epoch.
    #[must_use]
    pub fn stream_json(&self) -> String {
        format!("{}/stream.json", self.root)
    }

    /// What the capture told of itself last.
    #[must_use]
    pub fn status_json(&self) -> String {
        format!("{}/status.json", self.root)
    }

    /// All of the stream's objects lie below this, and no other stream's. Ends in a slash.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("{}/", self.root)
    }

    /// The folder of one check's files.
    #[must_use]
    pub fn check(&self, id: &str) -> String {
        format!("{}/checks/{id}", self.root)
    }

    /// The folder of one verification's files.
    #[must_use]
    pub fn verification(&self, id: &str) -> String {
        format!("{}/verify/{id}", self.root)
    }

    /// How far an idle stream was confirmed: see [`crate::epoch`] and the capture's start.
    #[must_use]
    pub fn position_json(&self, epoch: &str) -> String {
        format!("{}/{epoch}/position.json", self.root)
    }

    /// Which of the epoch's segments and checkpoints nobody needs any more.
    #[must_use]
    pub fn retention_json(&self, epoch: &str) -> String {
        format!("{}/{epoch}/retention.json", self.root)
    }

    /// The tables of the epoch's initial copy.
    #[must_use]
    pub fn copy_json(&self, epoch: &str) -> String {
        format!("{}/{epoch}/copy.json", self.root)
    }

    /// The tables of the epoch's initial copy once all of them are copied.
    #[must_use]
    pub fn copied_json(&self, epoch: &str) -> String {
        format!("{}/{epoch}/copied.json", self.root)
    }

    /// What a replay into tables of its own was asked for: such a stream has no `stream.json`.
    #[must_use]
    pub fn replay_json(&self) -> String {
        format!("{}/replay.json", self.root)
    }

    /// The files of the epoch's initial copy.
    #[must_use]
    pub fn copy(&self, epoch: &str) -> CopyLayout {
        CopyLayout { folder: format!("{}/{epoch}/copy", self.root) }
    }

    /// The folder of all of an epoch's checkpoints, ending in a slash.
    #[must_use]
    pub fn checkpoints(&self, epoch: &str) -> String {
        format!("{}/{epoch}/checkpoints/", self.root)
    }

    /// The keys of one checkpoint, as of a segment's end.
    #[must_use]
    pub fn checkpoint(&self, epoch: &str, seq: u64, attempt: &str) -> CheckpointLayout {
        CheckpointLayout { folder: format!("{}{seq:012}-{attempt}", self.checkpoints(epoch)) }
    }

    /// The folder of all of an epoch's segments, ending in a slash.
    #[must_use]
    pub fn segments(&self, epoch: &str) -> String {
        format!("{}/{epoch}/segments/", self.root)
    }

    /// The keys of one segment.
    #[must_use]
    pub fn segment(&self, epoch: &str, seq: u64) -> SegmentLayout {
        SegmentLayout { folder: format!("{}{seq:012}", self.segments(epoch)) }
    }
}

/// Keys of an initial copy's files. They are not in segments' folders: a segment gets its number when its files are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyLayout {
    folder: String,
}

impl CopyLayout {
    /// The folder, ending in a slash.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("{}/", self.folder)
    }

    /// One data file of a table.
    #[must_use]
    pub fn data(
        &self,
        (oid, table): (u32, &str),
        number: u32,
        attempt: &str,
        compression: Compression,
    ) -> String {
        let suffix = compression.suffix();
        format!("{}/{oid}-{}-{number:05}-{attempt}.csv{suffix}", self.folder, file_part(table))
    }

    /// Redshift's own COPY manifest of a table.
    #[must_use]
    pub fn copy_manifest(&self, (oid, table): (u32, &str), attempt: &str) -> String {
        format!("{}/{oid}-{}-{attempt}.copy.json", self.folder, file_part(table))
    }

    /// The tables' shapes as they are copied.
    #[must_use]
    pub fn shapes(&self, attempt: &str) -> String {
        format!("{}/shapes-{attempt}.json", self.folder)
    }
}

/// Keys of one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointLayout {
    folder: String,
}

impl CheckpointLayout {
    /// The one whose record this is.
    #[must_use]
    pub fn of_record(key: &str) -> Self {
        Self { folder: key.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned() }
    }

    /// What it is: written last.
    #[must_use]
    pub fn record(&self) -> String {
        format!("{}/checkpoint.json", self.folder)
    }

    /// The manifest that a warehouse is restored by.
    #[must_use]
    pub fn manifest(&self) -> String {
        format!("{}/manifest.json", self.folder)
    }

    /// The tables' files, called as an initial copy's.
    #[must_use]
    pub fn files(&self) -> CopyLayout {
        CopyLayout { folder: self.folder.clone() }
    }
}

/// Keys of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentLayout {
    folder: String,
}

impl SegmentLayout {
    /// The segment that `manifest_key` belongs to, if it is a manifest's key.
    #[must_use]
    pub fn of_manifest(manifest_key: &str) -> Option<Self> {
        let folder = manifest_key.strip_suffix("/manifest.json")?;
        Some(Self { folder: folder.to_owned() })
    }

    /// The manifest: written once, last.
    #[must_use]
    pub fn manifest(&self) -> String {
        format!("{}/manifest.json", self.folder)
    }

    /// The loader's receipt.
    #[must_use]
    pub fn receipt(&self) -> String {
        format!("{}/loaded.json", self.folder)
    }

    /// The tables' shapes as of the segment's end.
    #[must_use]
    pub fn shapes(&self, attempt: &str) -> String {
        format!("{}/shapes-{attempt}.json", self.folder)
    }

    /// Redshift's own COPY manifest for one step.
    #[must_use]
    pub fn copy_manifest(&self, step: u32, table: &str, attempt: &str) -> String {
        format!("{}/{step:04}-{}-{attempt}.copy.json", self.folder, file_part(table))
    }

    /// One data file of one step. `attempt` tells files of a run that died from those of its successor.
    #[must_use]
    pub fn data(
        &self,
        step: u32,
        table: &str,
        number: u32,
        attempt: &str,
        compression: Compression,
    ) -> String {
        let suffix = compression.suffix();
        format!("{}/{step:04}-{}-{number:03}-{attempt}.csv{suffix}", self.folder, file_part(table))
    }
}

/// A table's name as part of a key: what S3 and people's tools take without escaping, at most 64 characters.
fn file_part(table: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '_' };
    table.chars().take(64).map(plain).collect()
}

/// The sequence number in a manifest's key, `…/segments/{seq:012}/manifest.json`.
#[must_use]
pub fn seq_of_manifest_key(key: &str) -> Option<u64> {
    let folder = key.strip_suffix("/manifest.json")?;
    let (_, digits) = folder.rsplit_once('/')?;
    let all_digits = digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_the_documented_layout() {
        let layout = StreamLayout::new("/warehouse/", "main");
        assert_eq!(layout.stream_json(), "warehouse/main/stream.json");
        let segment = layout.segment("E", 42);
        assert_eq!(segment.manifest(), "warehouse/main/E/segments/000000000042/manifest.json");
        assert_eq!(segment.receipt(), "warehouse/main/E/segments/000000000042/loaded.json");
        assert_eq!(
            segment.data(3, "public.Straße x", 1, "a1b2", Compression::Gzip),
            "warehouse/main/E/segments/000000000042/0003-public.Stra_e_x-001-a1b2.csv.gz"
        );
        assert!(segment.data(3, "t", 1, "a1b2", Compression::Zstd).ends_with("/0003-t-001-a1b2.csv.zst"));
        assert_eq!(
            segment.copy_manifest(3, "public.t", "a1b2"),
            "warehouse/main/E/segments/000000000042/0003-public.t-a1b2.copy.json"
        );
        assert_eq!(SegmentLayout::of_manifest(&segment.manifest()), Some(segment));
        assert_eq!(StreamLayout::new("", "main").stream_json(), "main/stream.json");
        let copy = layout.copy("E");
        assert_eq!(
            copy.data((7, "public.t"), 1, "a1b2", Compression::Gzip),
            "warehouse/main/E/copy/7-public.t-00001-a1b2.csv.gz"
        );
        assert_eq!(copy.copy_manifest((7, "a b"), "a1b2"), "warehouse/main/E/copy/7-a_b-a1b2.copy.json");
        let checkpoint = layout.checkpoint("E", 42, "a1b2");
        assert_eq!(checkpoint.record(), "warehouse/main/E/checkpoints/000000000042-a1b2/checkpoint.json");
        assert_eq!(
            checkpoint.files().data((7, "public.t"), 1, "a1b2", Compression::Gzip),
            "warehouse/main/E/checkpoints/000000000042-a1b2/7-public.t-00001-a1b2.csv.gz"
        );
        assert_eq!(layout.copied_json("E"), "warehouse/main/E/copied.json");
    }

    #[test]
    fn seq_is_read_back_from_a_manifest_key() {
        let key = StreamLayout::new("p", "s").segment("E", 7).manifest();
        assert_eq!(seq_of_manifest_key(&key), Some(7));
        assert_eq!(seq_of_manifest_key("p/s/E/segments/000000000007/loaded.json"), None);
        assert_eq!(seq_of_manifest_key("p/s/E/segments/7/manifest.json"), None);
    }
}
