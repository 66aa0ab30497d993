//! `COPY … FROM 's3://…'` (`redshift.md`, 1.1 and 1.2): every option of Redshift's is known, those that the stand-in can do
//! are taken, combinations that Redshift refuses are refused.

use std::fmt;

use super::SqlError;
use super::cursor::Cursor;
use super::names::TableName;

/// A checked `COPY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyStatement {
    pub(crate) table: TableName,
    /// Empty: all columns.
    pub(crate) columns: Vec<String>,
    pub(crate) bucket: String,
    /// A manifest's key, or the prefix of keys.
    pub(crate) key: String,
    pub(crate) options: CopyOptions,
}

/// What follows the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CopyOptions {
    pub(crate) manifest: bool,
    pub(crate) compression: FileCompression,
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
    /// The text that stands for NULL, as bytes.
    pub(crate) null_as: Vec<u8>,
    pub(crate) time_format: TimeFormat,
    pub(crate) date_format: TimeFormat,
    pub(crate) empty_as_null: bool,
    pub(crate) blanks_as_null: bool,
    pub(crate) truncate_columns: bool,
    pub(crate) round_decimals: bool,
    pub(crate) ignore_header: u64,
    pub(crate) region: Option<String>,
}

/// How the files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FileCompression {
    #[default]
    None,
    Gzip,
    Zstd,
}

impl fmt::Display for FileCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileCompression::None => "plain text",
            FileCompression::Gzip => "GZIP",
            FileCompression::Zstd => "ZSTD",
        })
    }
}

/// `TIMEFORMAT`, `DATEFORMAT`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TimeFormat {
    /// Redshift's own form only.
    #[default]
    Default,
    /// ISO 8601 and others too.
    Auto,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            manifest: false,
            compression: FileCompression::None,
            delimiter: b',',
            quote: b'"',
            null_as: b"\\N".to_vec(),
            time_format: TimeFormat::Default,
            date_format: TimeFormat::Default,
            empty_as_null: false,
            blanks_as_null: false,
            truncate_columns: false,
            round_decimals: false,
            ignore_header: 0,
            region: None,
        }
    }
}

impl CopyStatement {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SqlError> {
        cursor.expect(&["copy"])?;
        let table = cursor.table()?;
        let columns = if cursor.sees_symbol("(") { cursor.column_list()? } else { Vec::new() };
        cursor.expect(&["from"])?;
        let (bucket, key) = s3_path(cursor.string()?)?;
        credentials(cursor)?;
        let options = OptionReader::default().read(cursor)?;
        Ok(Self { table, columns, bucket, key, options })
    }
}

/// `s3://bucket/key`
fn s3_path(path: &str) -> Result<(String, String), SqlError> {
    let split = path.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
    match split {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
            Ok((bucket.to_owned(), key.to_owned()))
        }
        _ if path.contains("://") && !path.starts_with("s3://") => {
            Err(SqlError::Unsupported("COPY from anything but S3".to_owned()))
        }
        _ => {
            Err(SqlError::Refused("invalid S3 path: the path must have the form s3://bucket/key".to_owned()))
        }
    }
}

fn credentials(cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
    if cursor.sees(&["credentials"]) || cursor.sees(&["with"]) || cursor.sees(&["access_key_id"]) {
        return Err(SqlError::Unsupported("COPY with keys instead of IAM_ROLE".to_owned()));
    }
    if !cursor.eat(&["iam_role"]) {
        return Err(SqlError::Refused("must specify credentials or IAM_ROLE to copy from S3".to_owned()));
    }
    if cursor.eat(&["default"]) {
        return Ok(());
    }
    for role in cursor.string()?.split(',') {
        if !is_role_arn(role) {
            return Err(SqlError::Refused("Invalid IAM role ARN".to_owned()));
        }
    }
    Ok(())
}

/// `arn:aws:iam::123456789012:role/name`, in any partition.
fn is_role_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, "iam", "", account, role] => {
            partition.starts_with("aws")
                && account.len() == 12
                && account.bytes().all(|byte| byte.is_ascii_digit())
                && role.strip_prefix("role/").is_some_and(|name| !name.is_empty())
        }
        _ => false,
    }
}

#[derive(Default)]
struct OptionReader {
    options: CopyOptions,
    csv: bool,
    seen: Vec<String>,
}

impl OptionReader {
    fn read(mut self, cursor: &mut Cursor<'_>) -> Result<CopyOptions, SqlError> {
        while !cursor.is_at_end() {
            self.option(cursor)?;
        }
        if !self.csv {
            return Err(SqlError::Unsupported("COPY of anything but CSV".to_owned()));
        }
        for foreign in ["fixedwidth", "removequotes", "escape"] {
            if self.seen(foreign) {
                return Err(SqlError::Refused(format!(
                    "CSV is not compatible with {}",
                    foreign.to_uppercase()
                )));
            }
        }
        let compressions = ["gzip", "bzip2", "lzop", "zstd"].into_iter().filter(|name| self.seen(name));
        let compressions: Vec<&str> = compressions.collect();
        match compressions.as_slice() {
            [] | ["gzip" | "zstd"] => Ok(self.options),
            [other] => Err(SqlError::Unsupported(format!("COPY with {}", other.to_uppercase()))),
            _ => Err(SqlError::Refused("only one compression option can be specified".to_owned())),
        }
    }

    fn seen(&self, option: &str) -> bool {
        self.seen.iter().any(|seen| seen == option)
    }

    fn option(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
        let name = cursor.word()?;
        if name == "format" {
            cursor.eat(&["as"]);
            return self.format(cursor);
        }
        if self.seen(name) {
            return Err(SqlError::Refused("conflicting or redundant options".to_owned()));
        }
        self.seen.push(name.to_owned());
        let options = &mut self.options;
        match name {
            "csv" => self.csv = true,
            "quote" => options.quote = one_byte(argument(cursor)?)?,
            "delimiter" => options.delimiter = one_byte(argument(cursor)?)?,
            "null" => options.null_as = null_as(argument(cursor)?)?,
            "timeformat" => options.time_format = time_format(argument(cursor)?)?,
            "dateformat" => options.date_format = time_format(argument(cursor)?)?,
            "region" => options.region = Some(argument(cursor)?.to_owned()),
            "manifest" => options.manifest = true,
            "gzip" => options.compression = FileCompression::Gzip,
            "zstd" => options.compression = FileCompression::Zstd,
            "bzip2" | "lzop" | "removequotes" | "escape" => {}
            "fixedwidth" => {
                argument(cursor)?;
            }
            "emptyasnull" => options.empty_as_null = true,
            "blanksasnull" => options.blanks_as_null = true,
            "truncatecolumns" => options.truncate_columns = true,
            "roundec" => options.round_decimals = true,
            "ignoreheader" => {
                cursor.eat(&["as"]);
                options.ignore_header = cursor.integer()?;
            }
            "maxerror" => {
                cursor.eat(&["as"]);
                max_error(cursor.integer()?)?;
            }
            "compupdate" => switch(cursor, &["preset", "on", "off", "true", "false"])?,
            "statupdate" => switch(cursor, &["on", "off", "true", "false"])?,
            "encoding" => {
                cursor.eat(&["as"]);
                if !matches!(cursor.next().map(super::Token::shown).as_deref(), Some("utf8" | "'utf8'")) {
                    return Err(SqlError::Unsupported("COPY with an ENCODING but UTF8".to_owned()));
                }
            }
            "acceptinvchars"
            | "acceptanydate"
            | "comprows"
            | "explicit_ids"
            | "fillrecord"
            | "trimblanks"
            | "ignoreblanklines"
            | "ignoreallerrors"
            | "noload"
            | "parquet"
            | "orc"
            | "avro"
            | "json"
            | "readratio"
            | "encrypted"
            | "master_symmetric_key"
            | "ssh" => {
                return Err(SqlError::Unsupported(format!("COPY with {}", name.to_uppercase())));
            }
            other => return Err(SqlError::Syntax(other.to_owned())),
        }
        Ok(())
    }

    fn format(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
        cursor.eat(&["as"]);
        if self.csv || self.seen("format") {
            return Err(SqlError::Refused("conflicting or redundant options".to_owned()));
        }
        self.seen.push("format".to_owned());
        match cursor.word()? {
            "csv" => {
                self.csv = true;
                Ok(())
            }
            other => Err(SqlError::Unsupported(format!("COPY with FORMAT {}", other.to_uppercase()))),
        }
    }
}

/// `[AS] 'text'`
fn argument<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, SqlError> {
    cursor.eat(&["as"]);
    cursor.string()
}

fn switch(cursor: &mut Cursor<'_>, values: &[&str]) -> Result<(), SqlError> {
    // Without a value it means ON.
    let _ = values.iter().any(|value| cursor.eat(&[value]));
    Ok(())
}

fn one_byte(text: &str) -> Result<u8, SqlError> {
    let octal = text.strip_prefix('\\').filter(|digits| digits.len() == 3);
    let byte = match (text.as_bytes(), octal) {
        ([byte], _) => Some(*byte),
        (b"\\t", _) => Some(b'\t'),
        (_, Some(digits)) => u8::from_str_radix(digits, 8).ok(),
        _ => None,
    };
    byte.filter(u8::is_ascii).ok_or_else(|| {
        SqlError::Refused("COPY delimiter or quote must be a single ASCII character".to_owned())
    })
}

fn null_as(text: &str) -> Result<Vec<u8>, SqlError> {
    match text {
        "\\n" | "\n" => Err(SqlError::Refused("NULL AS '\\n' is not allowed".to_owned())),
        "\\0" | "\\000" => Ok(vec![0]),
        text => Ok(text.as_bytes().to_vec()),
    }
}

/// The keywords are case-sensitive.
fn time_format(text: &str) -> Result<TimeFormat, SqlError> {
    match text {
        "auto" => Ok(TimeFormat::Auto),
        "YYYY-MM-DD" | "YYYY-MM-DD HH:MI:SS" => Ok(TimeFormat::Default),
        "epochsecs" | "epochmillisecs" => Err(SqlError::Unsupported(format!("the time format {text}"))),
        text if ["auto", "epochsecs", "epochmillisecs"].contains(&text.to_ascii_lowercase().as_str()) => {
            Err(SqlError::Refused(format!("invalid date or time format '{text}': keywords are lower case")))
        }
        text => Err(SqlError::Unsupported(format!("the date or time format '{text}'"))),
    }
}

/// 0 and 1 both fail at the first error.
fn max_error(limit: u64) -> Result<(), SqlError> {
    match limit {
        0 | 1 => Ok(()),
        2..=100_000 => Err(SqlError::Unsupported("MAXERROR above 1".to_owned())),
        _ => Err(SqlError::Refused("MAXERROR value must be between 0 and 100000".to_owned())),
    }
}
