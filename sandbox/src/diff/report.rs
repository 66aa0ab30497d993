//! What a comparison found, for people and for programs.

use serde::Serialize;

use crate::error::{Error, Part, Result};

/// All tables.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// By schema and name.
    pub tables: Vec<TableReport>,
}

/// One table.
#[derive(Clone, Debug, Serialize)]
pub struct TableReport {
    /// `schema.table` on the source.
    pub name: String,
    /// Rows on the source.
    pub source_rows: i64,
    /// Rows in the warehouse; none if there is no such table.
    pub warehouse_rows: Option<i64>,
    /// The outcome.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Equal or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Every row is on both sides, equally often.
    Equal {
        /// What is nevertheless worth a word.
        #[serde(skip_serializing_if = "Option::is_none")]
        remark: Option<String>,
    },
    /// Not equal.
    Different {
        /// Counts and column names, never values.
        how: String,
    },
}

impl Report {
    /// Are all tables equal?
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.tables.iter().all(|table| matches!(table.verdict, Verdict::Equal { .. }))
    }

    /// One JSON object.
    ///
    /// # Errors
    /// Only if serde refuses, which it has no reason to.
    pub fn to_json(&self) -> Result<String> {
        let json = serde_json::json!({ "equal": self.is_equal(), "tables": self.tables });
        serde_json::to_string_pretty(&json).map_err(|error| Error::Part {
            part: Part::Source,
            message: format!("the report can't be written as JSON: {error}"),
            log: None,
        })
    }

    /// Aligned lines, one a table.
    #[must_use]
    pub fn to_table(&self) -> String {
        if self.tables.is_empty() {
            return "no replicated tables on the source\n".into();
        }
        let head = ["table", "source rows", "warehouse rows", ""].map(str::to_owned);
        let rows = self.tables.iter().map(|table| {
            let warehouse = table.warehouse_rows.map_or_else(|| "–".into(), |rows| rows.to_string());
            let verdict = match &table.verdict {
                Verdict::Equal { remark: None } => "equal".to_owned(),
                Verdict::Equal { remark: Some(remark) } => format!("equal ({remark})"),
                Verdict::Different { how } => format!("DIFFERENT: {how}"),
            };
            [table.name.clone(), table.source_rows.to_string(), warehouse, verdict]
        });
        let rows: Vec<[String; 4]> = std::iter::once(head).chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (name, source, warehouse) = (width(0), width(1), width(2));
        rows.iter()
            .map(|[table, ours, theirs, verdict]| {
                let line = format!("{table:name$}  {ours:>source$}  {theirs:>warehouse$}  {verdict}");
                line.trim_end().to_owned() + "\n"
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_says_what_differs() {
        let table = |name: &str, source_rows, warehouse_rows, verdict| TableReport {
            name: name.into(),
            source_rows,
            warehouse_rows,
            verdict,
        };
        let report = Report {
            tables: vec![
                table("public.accounts", 500_000, Some(500_000), Verdict::Equal { remark: None }),
                table("public.empty", 0, None, Verdict::Equal { remark: Some("no rows yet".into()) }),
                table("größe.t", 3, Some(2), Verdict::Different { how: "1 only on the source".into() }),
            ],
        };
        insta::assert_snapshot!(report.to_table(), @r"
        table            source rows  warehouse rows
        public.accounts       500000          500000  equal
        public.empty               0               –  equal (no rows yet)
        größe.t                    3               2  DIFFERENT: 1 only on the source
        ");
        assert!(!report.is_equal());
        assert!(report.to_json().unwrap().contains("\"how\": \"1 only on the source\""));
    }
}
