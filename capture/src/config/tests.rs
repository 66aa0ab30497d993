use std::collections::BTreeSet;

use std::time::Duration;

use super::*;
use crate::rows::Codec;

const MINIMAL: &str = r#"
stream = "main"
data_dir = "/var/lib/re_dms/main"
[source]
url = "postgres://re_dms:hunter2@db.example:5432/app"
[s3]
bucket = "segments"
[queues]
segments_url = "https://sqs.eu-west-1.amazonaws.com/1/segments.fifo"
acks_url = "https://sqs.eu-west-1.amazonaws.com/1/acks"
"#;

fn parse(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(text, environment.collect())
}

#[test]
fn what_is_not_said_has_a_default() {
    let config = parse(MINIMAL, &[]).unwrap();
    assert_eq!(config.slot.name, "re_dms_main");
    assert_eq!(config.source.publication, "re_dms_main");
    assert_eq!(config.slot.advance_on, AdvanceOn::Loaded);
    assert_eq!(config.batch.interval, Duration::from_secs(5));
    assert_eq!(config.batch.max_memory, ByteSize::mebibytes(256));
    assert!(config.source.tables.picks_all());
}

#[test]
fn the_environment_overrides_every_kind_of_key() {
    let config = parse(
        MINIMAL,
        &[
            ("RE_DMS_STREAM", "other"),
            ("RE_DMS_BATCH__INTERVAL", "250ms"),
            ("RE_DMS_BATCH__MAX_BYTES", "8MiB"),
            ("RE_DMS_SOURCE__INCLUDE", "a.*, b.c"),
            ("RE_DMS_AWS__S3_PATH_STYLE", "true"),
            ("RE_DMS_LOG", "not ours"),
        ],
    )
    .unwrap();
    assert_eq!(config.stream, "other");
    assert_eq!(config.slot.name, "re_dms_other");
    assert_eq!(config.batch.interval, Duration::from_millis(250));
    assert_eq!(config.batch.max_bytes, ByteSize::mebibytes(8));
    assert!(config.source.tables.picks("b", "c") && !config.source.tables.picks("b", "d"));
    assert!(config.aws.s3_path_style);
}

#[test]
fn all_mistakes_are_reported_at_once_with_hints_and_without_values() {
    let text = r#"
stream = "Main!"
[source]
url = "mysql://u:hunter2@h/db"
[batch]
intervall = "5s"
max_bytes = "many"
[s3]
bucket = "s3://segments"
[queues]
segments_url = "https://sqs.example/1/segments"
acks_url = "https://sqs.example/1/acks"
"#;
    let error =
        parse(text, &[("RE_DMS_SLOT__ADVANCE_ON", "whenever"), ("RE_DMS_BATCH__SIZE", "1")]).unwrap_err();
    insta::assert_snapshot!(error.to_string());
    assert!(!error.to_string().contains("hunter2"));
}

#[test]
fn the_level_is_that_of_the_compression() {
    let levels = [("RE_DMS_BATCH__GZIP_LEVEL", "4"), ("RE_DMS_BATCH__ZSTD_LEVEL", "5")];
    let codec = |more: &[(&'static str, &'static str)]| {
        parse(MINIMAL, &[&levels[..], more].concat()).map(|config| config.batch.codec)
    };
    assert_eq!(codec(&[]).unwrap(), Codec::Gzip(4));
    assert_eq!(codec(&[("RE_DMS_BATCH__COMPRESSION", "zstd")]).unwrap(), Codec::Zstd(5));
    let error = codec(&[
        ("RE_DMS_BATCH__COMPRESSION", "lz4"),
        ("RE_DMS_BATCH__GZIP_LEVEL", "0"),
        ("RE_DMS_BATCH__ZSTD_LEVEL", "22"),
    ]);
    assert_eq!(error.unwrap_err().problems().len(), 3);
}

#[test]
fn broken_toml_names_the_line_and_not_its_text() {
    let error = parse("stream = \"main\"\npassword = hunter2\n", &[]).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn secrets_are_not_printed() {
    let config = parse(MINIMAL, &[("RE_DMS_SOURCE__PASSWORD", "hunter3")]).unwrap();
    let printed = format!("{config:?}");
    assert!(!printed.contains("hunter"), "{printed}");
}

#[test]
fn the_documentation_names_every_key_and_no_other() {
    let page = include_str!("../../../docs/configuration.md");
    let rows = page.lines().skip_while(|line| !line.starts_with("| key ")).skip(2);
    let cells = rows.map_while(|row| row.strip_prefix('|')?.split('|').next());
    // A code span is every second piece between backticks.
    let documented: BTreeSet<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let mut reader = Reader::new("", vec![]).unwrap();
    read(&mut reader);
    assert_eq!(*reader.known(), documented);
}
