//! The flow of one COPY: find the files, read them in pieces, convert every field, and stream the rows into PostgreSQL's own
//! `COPY … FROM STDIN` on the statement's connection.

use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::{Client, CopyInSink};

use super::columns::{Column, target_columns};
use super::csv::{CsvParser, Record};
use super::decoder::Decoder;
use super::load_error::{Code, FieldError, LoadErrorRow, shortened};
use super::manifest::{self, Entry};
use super::objects::Objects;
use super::value::{FieldRules, convert};
use crate::redshift::settings::OpenPoints;
use crate::redshift::sql::{CopyStatement, quoted};

/// Rows are handed to PostgreSQL in pieces of about this size.
const SEND_BYTES: usize = 256 * 1024;

/// Why a COPY failed.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// A message for the client.
    Refused(String),
    /// A field or record was refused: the client is sent to the error tables.
    Load(Box<LoadErrorRow>),
    /// PostgreSQL refused.
    Database(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for CopyError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// Loads; returns the number of rows. On an error nothing is loaded, as PostgreSQL's own COPY was not finished.
pub(crate) async fn copy(
    client: &Client,
    objects: &Objects,
    copy: &CopyStatement,
    open: OpenPoints,
) -> Result<u64, CopyError> {
    let columns = target_columns(client, copy).await.map_err(CopyError::Refused)?;
    let files = files(objects, copy).await.map_err(CopyError::Refused)?;
    let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
    let sink =
        client.copy_in::<_, Bytes>(&format!("COPY {} ({}) FROM STDIN", copy.table, names.join(", "))).await?;
    let mut sink = Box::pin(sink);
    let mut loader = Loader::new(copy, &columns, open);
    let mut found = false;
    for file in files {
        match objects.open(&file.bucket, &file.key).await.map_err(CopyError::Refused)? {
            Some(mut body) => {
                found = true;
                loader.begin(&file)?;
                while let Some(piece) = body.next().await {
                    let piece = piece.map_err(|_| CopyError::Refused("S3 connection was lost".to_owned()))?;
                    loader.feed(&piece)?;
                    loader.send(&mut sink, SEND_BYTES).await?;
                }
                loader.end()?;
            }
            None if file.mandatory => return Err(missing(&file)),
            None => {}
        }
    }
    if !found {
        return Err(CopyError::Refused(format!("The specified S3 prefix '{}' does not exist", copy.key)));
    }
    loader.send(&mut sink, 1).await?;
    Ok(sink.as_mut().finish().await?)
}

fn missing(file: &Entry) -> CopyError {
    CopyError::Refused(format!(
        "S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey,Key {}",
        file.key
    ))
}

async fn files(objects: &Objects, copy: &CopyStatement) -> Result<Vec<Entry>, String> {
    if copy.options.manifest {
        let manifest = objects.read(&copy.bucket, &copy.key).await?;
        let manifest = manifest.ok_or(
            "Problem reading manifest file - S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey",
        )?;
        return manifest::parse(&manifest);
    }
    // Without MANIFEST the path is a prefix of keys.
    let keys = objects.list(&copy.bucket, &copy.key).await?;
    Ok(keys.into_iter().map(|key| Entry { bucket: copy.bucket.clone(), key, mandatory: true }).collect())
}

/// For one file.
fn parser(copy: &CopyStatement, open: OpenPoints) -> CsvParser {
    let max_row_bytes =
        usize::try_from(open.copy_row_megabytes).unwrap_or(usize::MAX).saturating_mul(1 << 20);
    CsvParser::new(copy.options.delimiter, copy.options.quote, max_row_bytes)
}

struct Loader<'a> {
    copy: &'a CopyStatement,
    columns: &'a [Column],
    rules: FieldRules,
    file: String,
    decoder: Decoder,
    parser: CsvParser,
    rows: BytesMut,
}

impl<'a> Loader<'a> {
    fn new(copy: &'a CopyStatement, columns: &'a [Column], open: OpenPoints) -> Self {
        let options = &copy.options;
        let rules = FieldRules {
            null_as: options.null_as.clone(),
            empty_as_null: options.empty_as_null,
            blanks_as_null: options.blanks_as_null,
            truncate: options.truncate_columns,
            round: options.round_decimals,
            time_format: options.time_format,
            date_format: options.date_format,
            open,
        };
        let parser = parser(copy, open);
        Self {
            copy,
            columns,
            rules,
            file: String::new(),
            decoder: Decoder::Plain,
            parser,
            rows: BytesMut::new(),
        }
    }

    fn begin(&mut self, file: &Entry) -> Result<(), CopyError> {
        self.file = format!("s3://{}/{}", file.bucket, file.key);
        self.decoder = Decoder::new(self.copy.options.compression).map_err(|_| self.not_compressed())?;
        self.parser = parser(self.copy, self.rules.open);
        Ok(())
    }

    fn feed(&mut self, piece: &[u8]) -> Result<(), CopyError> {
        let plain = self.decoder.feed(piece).map_err(|_| self.not_compressed())?;
        self.parse(&plain)
    }

    fn end(&mut self) -> Result<(), CopyError> {
        let decoder = std::mem::replace(&mut self.decoder, Decoder::Plain);
        let plain = decoder.finish().map_err(|_| self.not_compressed())?;
        self.parse(&plain)?;
        let Self { parser, rows, columns, rules, copy, .. } = self;
        let skip = copy.options.ignore_header;
        let result = parser.finish(|record| write_record(record, columns, rules, skip, rows));
        result.map_err(|failure| self.load_error(failure))
    }

    fn not_compressed(&self) -> CopyError {
        let compression = self.copy.options.compression;
        CopyError::Refused(format!("The file {} could not be decompressed as {compression}", self.file))
    }

    fn parse(&mut self, plain: &[u8]) -> Result<(), CopyError> {
        let Self { parser, rows, columns, rules, copy, .. } = self;
        let skip = copy.options.ignore_header;
        let result = parser.feed(plain, |record| write_record(record, columns, rules, skip, rows));
        result.map_err(|failure| self.load_error(failure))
    }

    /// Hands rows over once there are enough of them.
    async fn send(&mut self, sink: &mut Pin<Box<CopyInSink<Bytes>>>, enough: usize) -> Result<(), CopyError> {
        if self.rows.len() >= enough {
            sink.send(self.rows.split().freeze()).await?;
        }
        Ok(())
    }

    fn load_error(&self, failure: RecordError) -> CopyError {
        let RecordError { error, line, raw } = failure;
        let column = error.column.and_then(|position| self.columns.get(position));
        CopyError::Load(Box::new(LoadErrorRow {
            table: self.copy.table.name.clone(),
            file: self.file.clone(),
            line: i64::try_from(line.unwrap_or_else(|| self.parser.line())).unwrap_or(i64::MAX),
            column_name: column.map(|column| column.name.clone()).unwrap_or_default(),
            column_type: column.map(|column| column.column_type.to_string()).unwrap_or_default(),
            column_length: column.map(Column::length).unwrap_or_default(),
            position: i32::try_from(error.position).unwrap_or(i32::MAX),
            code: error.code as i32,
            reason: error.reason,
            raw_line: shortened(&raw, 1024),
            raw_field: shortened(&error.raw, 1024),
        }))
    }
}

/// A field's error with the record around it.
struct RecordError {
    error: FieldError,
    line: Option<u64>,
    raw: Vec<u8>,
}

impl From<FieldError> for RecordError {
    fn from(error: FieldError) -> Self {
        Self { error, line: None, raw: Vec::new() }
    }
}

fn write_record(
    record: &Record,
    columns: &[Column],
    rules: &FieldRules,
    skip_lines: u64,
    rows: &mut BytesMut,
) -> Result<(), RecordError> {
    if record.line <= skip_lines {
        return Ok(());
    }
    write_fields(record, columns, rules, rows).map_err(|error| RecordError {
        error,
        line: Some(record.line),
        raw: record.raw().to_vec(),
    })
}

/// One row in the text form of PostgreSQL's COPY.
fn write_fields(
    record: &Record,
    columns: &[Column],
    rules: &FieldRules,
    rows: &mut BytesMut,
) -> Result<(), FieldError> {
    if record.len() > columns.len() {
        return Err(FieldError::new(Code::ExtraColumns, "Extra column(s) found"));
    }
    if record.len() < columns.len() {
        return Err(FieldError::new(Code::MissingColumns, "Delimiter not found"));
    }
    for (position, (field, column)) in record.fields().zip(columns).enumerate() {
        if position > 0 {
            rows.put_u8(b'\t');
        }
        let value = convert(field, column.column_type, rules);
        match value.map_err(|error| error.in_column(position, field.bytes))? {
            Some(value) => escape(&value, rows),
            None if column.not_null => {
                let error = FieldError::new(Code::MissingData, "Missing data for not-null field");
                return Err(error.in_column(position, field.bytes));
            }
            None => rows.put_slice(b"\\N"),
        }
    }
    rows.put_u8(b'\n');
    Ok(())
}

fn escape(value: &str, rows: &mut BytesMut) {
    for byte in value.bytes() {
        match byte {
            b'\\' => rows.put_slice(b"\\\\"),
            b'\n' => rows.put_slice(b"\\n"),
            b'\r' => rows.put_slice(b"\\r"),
            b'\t' => rows.put_slice(b"\\t"),
            byte => rows.put_u8(byte),
        }
    }
}
