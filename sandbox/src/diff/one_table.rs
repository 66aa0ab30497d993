//! One table: are both sides equal, and if not, by how many rows and in which columns?

use std::cmp::Ordering;
use std::pin::pin;

use futures_util::TryStreamExt;
use re_dms_shared::sql;
use tokio_postgres::{Client, RowStream};

use super::canonical::{self, expected_types};
use super::catalog::{self, SourceTable, TargetColumn};
use super::report::{TableReport, Verdict};
use crate::error::{Error, Part, Result};

/// One side's table and its columns' common text forms, in the source's order.
struct Side<'a> {
    part: Part,
    client: &'a Client,
    from: String,
    expressions: Vec<String>,
}

/// A count and two sums over the halves of every row's hash: equal sets of rows have equal sums in any order, and a row
/// that is there twice counts twice.
#[derive(Debug, PartialEq, Eq)]
struct Digest {
    rows: i64,
    sums: Vec<String>,
}

/// Compares one table.
pub(super) async fn compare(source: &Client, warehouse: &Client, table: &SourceTable) -> Result<TableReport> {
    let name = format!("{}.{}", table.schema, table.name);
    let ours = source_side(source, table);
    let there = catalog::target_columns(warehouse, &table.target_schema, &table.target_name()).await;
    let Some(columns) = there.map_err(Error::database(Part::Warehouse))? else {
        let rows = ours.digest(&[]).await?.rows;
        let verdict = match rows {
            0 => Verdict::Equal { remark: Some("no rows yet, and no table in the warehouse".into()) },
            _ => Verdict::Different { how: "no such table in the warehouse".into() },
        };
        return Ok(TableReport { name, source_rows: rows, warehouse_rows: None, verdict });
    };
    let theirs = target_side(warehouse, table);
    if let Some(how) = unlike(table, &columns) {
        let (mine, other) = (ours.digest(&[]).await?.rows, theirs.digest(&[]).await?.rows);
        let verdict = Verdict::Different { how };
        return Ok(TableReport { name, source_rows: mine, warehouse_rows: Some(other), verdict });
    }
    let (our_hash, their_hash) = ([ours.row_hash()], [theirs.row_hash()]);
    let (mine, other) = tokio::try_join!(ours.digest(&our_hash), theirs.digest(&their_hash))?;
    let verdict = if mine == other {
        let left_out = (!table.left_out.is_empty()).then(|| format!("without {}", table.left_out.join(", ")));
        Verdict::Equal { remark: left_out }
    } else {
        Verdict::Different { how: describe(table, &ours, &theirs).await? }
    };
    Ok(TableReport { name, source_rows: mine.rows, warehouse_rows: Some(other.rows), verdict })
}

fn source_side<'a>(client: &'a Client, table: &SourceTable) -> Side<'a> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let only = if table.partitioned { "" } else { "ONLY " };
    let expressions =
        table.columns.iter().map(|column| canonical::source(column, &format!("t.{}", quoted(&column.name))));
    Side {
        part: Part::Source,
        client,
        from: format!("{only}{}.{} AS t", quoted(&table.schema), quoted(&table.name)),
        expressions: expressions.collect(),
    }
}

fn target_side<'a>(client: &'a Client, table: &SourceTable) -> Side<'a> {
    let expressions = table
        .columns
        .iter()
        .map(|column| canonical::target(column, &format!("t.{}", sql::ident(&column.target_name()))));
    Side {
        part: Part::Warehouse,
        client,
        from: format!("{} AS t", sql::qualified(&table.target_schema, &table.target_name())),
        expressions: expressions.collect(),
    }
}

/// What makes the target's columns unfit for a comparison: some are missing, or of another type.
fn unlike(table: &SourceTable, columns: &[TargetColumn]) -> Option<String> {
    let complaints: Vec<String> = table
        .columns
        .iter()
        .filter_map(|column| {
            let wanted = column.target_name();
            match columns.iter().find(|there| there.name == wanted) {
                None => Some(format!("column {wanted} is missing")),
                Some(there)
                    if expected_types(column.mapping.redshift).contains(&there.type_name.as_str()) =>
                {
                    None
                }
                Some(there) => Some(format!("column {wanted} is of type {}", there.type_name)),
            }
        })
        .collect();
    (!complaints.is_empty()).then(|| complaints.join(", "))
}

/// How many rows are only on one side, and which columns differ.
async fn describe(table: &SourceTable, ours: &Side<'_>, theirs: &Side<'_>) -> Result<String> {
    let (only_ours, only_theirs) = lone_rows(ours.row_hashes().await?, theirs.row_hashes().await?).await?;
    let mut parts = Vec::new();
    for (rows, side) in [(only_ours, "on the source"), (only_theirs, "in the warehouse")] {
        if rows > 0 {
            parts.push(format!("{rows} only {side}"));
        }
    }
    if only_ours == only_theirs {
        let (our_hashes, their_hashes) = (ours.column_hashes(), theirs.column_hashes());
        let (mine, other) = tokio::try_join!(ours.digest(&our_hashes), theirs.digest(&their_hashes))?;
        // Two sums a column.
        let differ = table.columns.iter().enumerate().filter(|(position, _)| {
            let sums = position * 2..position * 2 + 2;
            mine.sums.get(sums.clone()) != other.sums.get(sums)
        });
        let names: Vec<String> = differ.map(|(_, column)| column.target_name()).collect();
        if !names.is_empty() {
            parts.push(format!("columns {}", names.join(", ")));
        }
    }
    Ok(parts.join("; "))
}

/// Counts the hashes that only one of two sorted streams has.
async fn lone_rows(ours: RowStream, theirs: RowStream) -> Result<(u64, u64)> {
    let (source_error, warehouse_error) = (Error::database(Part::Source), Error::database(Part::Warehouse));
    let (mut ours, mut theirs) = (pin!(ours), pin!(theirs));
    let hash = |row: tokio_postgres::Row| row.get::<_, String>(0);
    let mut mine = ours.try_next().await.map_err(&source_error)?.map(hash);
    let mut other = theirs.try_next().await.map_err(&warehouse_error)?.map(hash);
    let (mut only_ours, mut only_theirs) = (0, 0);
    loop {
        let order = match (&mine, &other) {
            (None, None) => return Ok((only_ours, only_theirs)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(mine), Some(other)) => mine.cmp(other),
        };
        only_ours += u64::from(order == Ordering::Less);
        only_theirs += u64::from(order == Ordering::Greater);
        if order != Ordering::Greater {
            mine = ours.try_next().await.map_err(&source_error)?.map(hash);
        }
        if order != Ordering::Less {
            other = theirs.try_next().await.map_err(&warehouse_error)?.map(hash);
        }
    }
}

impl Side<'_> {
    /// A row's hash. The text of a ROW quotes its fields and tells NULL from empty text.
    fn row_hash(&self) -> String {
        format!("md5(ROW({})::text)", self.expressions.join(", "))
    }

    fn column_hashes(&self) -> Vec<String> {
        self.expressions.iter().map(|expression| format!("md5(ROW({expression})::text)")).collect()
    }

    /// The number of rows, and for every hash the sums of its halves.
    async fn digest(&self, hashes: &[String]) -> Result<Digest> {
        let inner: Vec<String> =
            hashes.iter().enumerate().map(|(n, hash)| format!("{hash} AS h{n}")).collect();
        let sum = |half: String| format!("COALESCE(SUM(('x' || {half})::bit(64)::bigint::numeric), 0)::text");
        let sums =
            (0..hashes.len()).flat_map(|n| [sum(format!("left(h{n}, 16)")), sum(format!("right(h{n}, 16)"))]);
        let columns = std::iter::once("COUNT(*)".to_owned()).chain(sums).collect::<Vec<_>>().join(", ");
        // OFFSET 0: each hash is computed once, not once for each half.
        let sql =
            format!("SELECT {columns} FROM (SELECT {} FROM {} OFFSET 0) AS h", inner.join(", "), self.from);
        let row = self.client.query_one(&sql, &[]).await.map_err(Error::database(self.part))?;
        Ok(Digest { rows: row.get(0), sums: (1..row.len()).map(|n| row.get(n)).collect() })
    }

    /// Every row's hash, in order.
    async fn row_hashes(&self) -> Result<RowStream> {
        let sql = format!(
            "SELECT h FROM (SELECT {} AS h FROM {}) AS h ORDER BY h COLLATE \"C\"",
            self.row_hash(),
            self.from
        );
        let nothing: [&(dyn tokio_postgres::types::ToSql + Sync); 0] = [];
        self.client.query_raw(&sql, nothing).await.map_err(Error::database(self.part))
    }
}
