//! Segments to load: only their manifests pass through the loader, so that these are all there is of them.

use anyhow::Result;
use re_dms_shared::Lsn;
use re_dms_shared::manifest::{
    Action, Column, Compression, DataFile, FORMAT, Layout, Load, Manifest, Predecessor, RowCounts, Step,
    Table,
};
use serde::Serialize;

/// How large a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Size {
    /// In the delivery. The first one is loaded, the others are read, and refused: the stand-in's ledger stays empty.
    pub(crate) segments: u64,
    pub(crate) tables: u32,
    pub(crate) columns: u32,
    pub(crate) files: u32,
    /// In each file.
    pub(crate) rows: u64,
}

impl Size {
    /// Some tables' changes of a second.
    pub(crate) const SMALL: Self = Self { segments: 1, tables: 5, columns: 10, files: 1, rows: 1_000 };

    pub(crate) const ALL: [Self; 5] = [
        Self::SMALL,
        // 100 GB of one table
        Self { segments: 1, tables: 1, columns: 40, files: 3_200, rows: 300_000 },
        Self { segments: 1, tables: 200, columns: 20, files: 4, rows: 50_000 },
        Self { segments: 1, tables: 1_000, columns: 40, files: 4, rows: 50_000 },
        Self { segments: 10, tables: 1_000, columns: 40, files: 4, rows: 50_000 },
    ];

    pub(crate) fn title(self) -> String {
        let Self { segments, tables, columns, files, rows } = self;
        let all = u64::from(tables) * u64::from(files) * rows;
        format!("{segments} segments, {tables} tables of {columns} columns, {files} files each, {all} rows")
    }

    /// A segment of a stream, with the checksum of the one before it.
    pub(crate) fn manifest(self, seq: u64, before: Option<String>) -> Result<Vec<u8>> {
        let manifest = Manifest {
            format: FORMAT,
            stream: "main".into(),
            epoch: "7000000000000000000-1-re_dms_main-0000000000000010".into(),
            seq,
            predecessor: before.map(|sha256| Predecessor { seq: seq - 1, sha256 }),
            start_lsn: Lsn(1),
            end_lsn: Lsn(2),
            first_commit_time: "2026-01-02T03:04:05Z".parse()?,
            last_commit_time: "2026-01-02T03:04:06Z".parse()?,
            transactions: 1,
            captured_by: "benchmark".into(),
            shapes: None,
            copy: None,
            after_copy: None,
            restores: None,
            steps: (1..=self.tables).map(|number| self.step(number)).collect(),
        };
        Ok(manifest.to_json()?)
    }

    fn step(self, number: u32) -> Step {
        let column = |position: u32| Column {
            name: format!("column_number_{position}"),
            attribute_number: None,
            type_oid: 25,
            type_modifier: -1,
            target_name: format!("column_number_{position}"),
            redshift_type: re_dms_shared::types::RedshiftType::BigInt,
            key: position == 0,
        };
        let table = Table {
            schema: "public".into(),
            name: format!("table_{number}"),
            oid: 16_384 + number,
            target_schema: "public".into(),
            target_name: format!("table_{number}"),
            columns: (0..self.columns).map(column).collect(),
            kept: Vec::new(),
            layout: Layout::default(),
        };
        let folder = "re_dms/main/E/segments/000000000001";
        let file = |file: u32| DataFile {
            key: format!("{folder}/{number:04}-public.table_{number}-{file:03}-0123abcd.csv.gz"),
            rows: self.rows,
            bytes: self.rows * 100,
            sha256: format!("{file:064x}"),
        };
        let all = self.rows * u64::from(self.files);
        let load = Load {
            copy_manifest: format!("{folder}/{number:04}-public.table_{number}-0123abcd.copy.json"),
            files: (0..self.files).map(file).collect(),
            compression: Compression::Gzip,
            tagged_keys: false,
            rows: RowCounts { replaces: all, ..RowCounts::default() },
            present_sets: Vec::new(),
            altered: Vec::new(),
        };
        Step { number, table, action: Action::Load(load) }
    }
}
