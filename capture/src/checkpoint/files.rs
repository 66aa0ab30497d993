//! Data files' rows, read back.

use std::io::Read;

use re_dms_shared::manifest::{Compression, DataFile, sha256_hex};

use super::rows::Field;
use crate::aws::Objects;
use crate::error::{Error, Result, Who};
use crate::rows::NULL_FIELD;

/// A file's rows, each with so many fields.
pub(super) struct Rows {
    reader: csv::Reader<Box<dyn Read + Send>>,
    record: csv::ByteRecord,
    key: String,
    fields: usize,
}

impl Rows {
    /// The file, if it is what the manifest says.
    pub(super) async fn open(
        objects: &Objects,
        file: &DataFile,
        compression: Compression,
        fields: usize,
    ) -> Result<Self> {
        let key = file.key.clone();
        let bytes = objects.get(&key).await?.ok_or_else(|| damaged(&key, "it is gone"))?;
        if sha256_hex(&bytes) != file.sha256 {
            return Err(damaged(&key, "its checksum is not the manifest's"));
        }
        let bytes = std::io::Cursor::new(bytes);
        let text: Box<dyn Read + Send> = match compression {
            Compression::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
            Compression::Zstd => Box::new(
                zstd::stream::read::Decoder::new(bytes).map_err(|error| damaged(&key, &error.to_string()))?,
            ),
        };
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .terminator(csv::Terminator::Any(b'\n'))
            .from_reader(text);
        Ok(Self { reader, record: csv::ByteRecord::new(), key, fields })
    }

    /// The next row.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Field>>> {
        let read = self.reader.read_byte_record(&mut self.record);
        // Where it broke is all that is told: the rest of csv's words may hold a value.
        let is_row = read.map_err(|_| damaged(&self.key, "it is no CSV"))?;
        if !is_row {
            return Ok(None);
        }
        if self.record.len() != self.fields {
            let what = format!("a row has {} fields and not {}", self.record.len(), self.fields);
            return Err(damaged(&self.key, &what));
        }
        Ok(Some(self.record.iter().map(|field| (field != [NULL_FIELD]).then(|| field.into())).collect()))
    }
}

fn damaged(key: &str, what: &str) -> Error {
    Error::fatal(Who::Storage, format!("{key}: {what}"), "restore the object: nothing else has these rows")
}
