//! COPY's manifest (`redshift.md`, 1.5): plain JSON that names whole objects.

use serde::Deserialize;

/// One file to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) bucket: String,
    pub(super) key: String,
    /// Whether the load fails when it is missing.
    pub(super) mandatory: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    entries: Vec<RawEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    url: String,
    #[serde(default)]
    mandatory: bool,
    #[serde(default, rename = "meta")]
    _meta: Option<Meta>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    #[serde(default, rename = "content_length")]
    _content_length: Option<u64>,
}

/// Reads a manifest; a file listed twice stays listed twice.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let manifest: Manifest = serde_json::from_slice(bytes)
        .map_err(|error| format!("Problem reading manifest file - invalid JSON at line {}", error.line()))?;
    if manifest.entries.is_empty() {
        return Err("Problem reading manifest file - it has no entries".to_owned());
    }
    manifest.entries.iter().map(entry).collect()
}

fn entry(raw: &RawEntry) -> Result<Entry, String> {
    let path = raw.url.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    match path {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() && !key.ends_with('/') => {
            Ok(Entry { bucket: bucket.to_owned(), key: key.to_owned(), mandatory: raw.mandatory })
        }
        _ => Err("Specified manifest needs full path. code: 8001".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use re_dms_shared::manifest::{DataFile, copy_manifest_json};

    use super::*;

    #[test]
    fn what_capture_writes_is_read() {
        let file = DataFile { key: "p/a.csv.gz".into(), rows: 1, bytes: 2, sha256: String::new() };
        let entries = parse(&copy_manifest_json("b", &[file.clone(), file])).unwrap();
        assert_eq!(entries.len(), 2, "listed twice, loaded twice");
        assert_eq!(entries[0], Entry { bucket: "b".into(), key: "p/a.csv.gz".into(), mandatory: true });
    }

    #[test]
    fn prefixes_and_other_texts_are_refused() {
        for text in [
            r#"{"entries":[{"url":"s3://b/p/"}]}"#,
            r#"{"entries":[{"url":"p/a.gz"}]}"#,
            r#"{"entries":[]}"#,
            r#"{"entries":[{"url":"s3://b/k","mandatory":"yes"}]}"#,
            r#"[{"url":"s3://b/k"}]"#,
            "\u{1f}\u{8b}",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
