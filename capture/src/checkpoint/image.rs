//! What comes out of a merge, as files of one size on S3.

use bytes::Bytes;
use re_dms_shared::manifest::{Column, DataFile, Load, RowCounts, Table, copy_manifest_json, sha256_hex};
use re_dms_shared::s3_layout::CopyLayout;
use re_dms_shared::types::{RedshiftType, SuperNull};

use crate::aws::Objects;
use crate::config::Config;
use crate::error::{Error, Result, Who};
use crate::rows::{Codec, RenderOptions, push_bare_row};

/// One table's files.
pub(super) struct Images<'a> {
    objects: &'a Objects,
    layout: &'a CopyLayout,
    attempt: &'a str,
    codec: Codec,
    file_bytes: usize,
    table: Table,
    /// By column: NULL is an empty field.
    null_is_empty: Vec<bool>,
    text: Vec<u8>,
    rows: u64,
    files: Vec<DataFile>,
}

impl<'a> Images<'a> {
    /// For a table that was `last` in its last step and has these columns in Redshift.
    pub(super) fn new(
        (objects, layout, attempt): (&'a Objects, &'a CopyLayout, &'a str),
        config: &Config,
        last: &Table,
        columns: &[String],
    ) -> Self {
        let RenderOptions { size, codec } = RenderOptions::new(&config.batch);
        let known = || last.columns.iter().chain(&last.kept);
        let find = |name: &String| known().find(|column| column.target_name.eq_ignore_ascii_case(name));
        // A column that neither the source nor a policy keeps is in no row that a reader would see.
        let columns: Vec<Column> = columns.iter().filter_map(find).cloned().collect();
        // What is kept is a column like others here: its rows are in the files.
        let table = Table { columns, kept: Vec::new(), ..last.clone() };
        let null_is_empty = |column: &Column| {
            let rules = config.source.columns.rules(&table.schema, &table.name, &column.name);
            column.redshift_type == RedshiftType::Super && rules.super_null == SuperNull::Empty
        };
        let null_is_empty = table.columns.iter().map(null_is_empty).collect();
        Self {
            objects,
            layout,
            attempt,
            codec,
            file_bytes: size.max_bytes,
            table,
            null_is_empty,
            text: Vec::new(),
            rows: 0,
            files: Vec::new(),
        }
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) async fn row(&mut self, fields: impl Iterator<Item = Option<&[u8]>>) -> Result<()> {
        push_bare_row(fields, |position| self.null_is_empty[position], &mut self.text);
        self.rows += 1;
        if self.text.len() < self.file_bytes { Ok(()) } else { self.cut().await }
    }

    fn named(&self) -> (u32, String) {
        (self.table.oid, format!("{}.{}", self.table.schema, self.table.name))
    }

    async fn cut(&mut self) -> Result<()> {
        let text = std::mem::take(&mut self.text);
        let rows = std::mem::take(&mut self.rows);
        if rows == 0 {
            return Ok(());
        }
        let body = self.codec.compress(&text).map_err(|error| Error::told(Who::Machine, false, &error))?;
        let number = u32::try_from(self.files.len() + 1).unwrap_or(u32::MAX);
        let (oid, name) = self.named();
        let key = self.layout.data((oid, &name), number, self.attempt, self.codec.compression());
        let (bytes, sha256) = (body.len() as u64, sha256_hex(&body));
        self.objects.put(&key, Bytes::from(body)).await?;
        self.files.push(DataFile { key, rows, bytes, sha256 });
        Ok(())
    }

    /// The table, and what loads it.
    pub(super) async fn finish(mut self) -> Result<(Table, Load)> {
        self.cut().await?;
        let (oid, name) = self.named();
        let copy_manifest = self.layout.copy_manifest((oid, &name), self.attempt);
        let json = Bytes::from(copy_manifest_json(self.objects.bucket(), &self.files));
        self.objects.put(&copy_manifest, json).await?;
        let inserts = self.files.iter().map(|file| file.rows).sum();
        let load = Load {
            copy_manifest,
            compression: self.codec.compression(),
            tagged_keys: false,
            rows: RowCounts { inserts, ..RowCounts::default() },
            present_sets: Vec::new(),
            altered: Vec::new(),
            files: self.files,
        };
        Ok((self.table, load))
    }
}
