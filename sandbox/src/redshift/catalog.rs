//! What the stand-in asks PostgreSQL's catalog, and PostgreSQL's errors in Redshift's words.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::sql::{ColumnType, SqlError, TableName};

/// Why a statement failed: Redshift's words, without `ERROR: `, and the SQLSTATE that drivers look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) message: String,
}

/// Redshift's own errors are internal ones to drivers.
const INTERNAL: &str = "XX000";

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { code: INTERNAL.to_owned(), message }
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of(&error, "")
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        let code = match error {
            SqlError::Syntax(_) => "42601",
            SqlError::Refused(_) | SqlError::Unsupported(_) => "0A000",
        };
        Self { code: code.to_owned(), message: error.to_string() }
    }
}

impl Failure {
    /// PostgreSQL's refusal of a statement that changes `table`.
    pub(super) fn of(error: &Error, table: &str) -> Self {
        let conflict = error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE);
        let code = error.code().filter(|_| !conflict).map_or(INTERNAL, SqlState::code);
        Self { code: code.to_owned(), message: message_for(error, table) }
    }
}

/// A table that a statement touches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) oid: u32,
    /// False for one that was made after the transaction's snapshot was taken.
    pub(super) in_snapshot: bool,
    /// Temporary, or a system table: nobody else changes it.
    pub(super) private: bool,
    pub(super) is_view: bool,
}

/// Looks a table up; None if there is none. Names are resolved by the newest catalog, rows are seen by the snapshot.
pub(super) async fn find(client: &Client, table: &TableName) -> Result<Option<Found>, Error> {
    const QUERY: &str = r"
        SELECT r.oid, c.oid IS NOT NULL, COALESCE(c.relpersistence = 't' OR n.nspname ~ '^(pg_|re_dms_standin)', false),
            COALESCE(c.relkind = 'v', false)
        FROM (SELECT to_regclass($1)::oid AS oid) AS r
        LEFT JOIN pg_catalog.pg_class AS c ON c.oid = r.oid
        LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace";
    let row = client.query_one(QUERY, &[&table.to_string()]).await?;
    let Some(oid) = row.try_get::<_, Option<u32>>(0)? else { return Ok(None) };
    Ok(Some(Found { oid, in_snapshot: row.try_get(1)?, private: row.try_get(2)?, is_view: row.try_get(3)? }))
}

/// A table's name for messages.
pub(super) async fn table_of(client: &Client, oid: u32) -> String {
    let row = client.query_opt("SELECT relname::text FROM pg_catalog.pg_class WHERE oid = $1", &[&oid]).await;
    let name = row.ok().flatten().and_then(|row| row.try_get(0).ok());
    name.unwrap_or_else(|| oid.to_string())
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(super) struct CatalogColumn {
    pub(super) name: String,
    /// None for a type that the stand-in never makes.
    pub(super) column_type: Option<ColumnType>,
    pub(super) not_null: bool,
    pub(super) has_default: bool,
    /// Declared as part of a primary or unique key.
    pub(super) declared_key: bool,
    /// Columns that Redshift does not drop, by the constraints that remember it.
    pub(super) distkey: Vec<String>,
    pub(super) sortkey: Vec<String>,
    /// Its encoding keeps it from being widened.
    pub(super) is_rigid: bool,
    /// The constraints that keep its length in bytes.
    pub(super) length_checks: Vec<String>,
}

/// The columns of a table in order, as this connection sees it; None if there is no such table.
pub(super) async fn columns(client: &Client, table: &TableName) -> Result<Option<Vec<CatalogColumn>>, Error> {
    const QUERY: &str = r"
        SELECT a.attname, t.typname, a.atttypmod, a.attnotnull, a.atthasdef,
            ARRAY(SELECT k.conname::text FROM pg_catalog.pg_constraint AS k
                WHERE k.conrelid = a.attrelid AND k.contype = 'c' AND a.attnum = ANY (k.conkey))
        FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
        WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum";
    let rows = client.query(QUERY, &[&table.to_string()]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let column = |row: &tokio_postgres::Row| -> Result<CatalogColumn, Error> {
        let type_name: String = row.try_get(1)?;
        let constraints: Vec<String> = row.try_get(5)?;
        let bytes = constraints.iter().filter_map(|name| length_of(name, "varbyte_")).max();
        let is_length =
            |name: &&String| ["varchar_", "char_", "varbyte_"].iter().any(|p| length_of(name, p).is_some());
        let beginning = |prefixes: &[&str]| -> Vec<String> {
            let begins = |name: &&String| prefixes.iter().any(|prefix| name.starts_with(prefix));
            constraints.iter().filter(begins).cloned().collect()
        };
        Ok(CatalogColumn {
            name: row.try_get(0)?,
            column_type: ColumnType::from_catalog(&type_name, bytes, row.try_get(2)?),
            not_null: row.try_get(3)?,
            has_default: row.try_get(4)?,
            declared_key: !beginning(&["declared_key_", "named_key_"]).is_empty(),
            distkey: beginning(&["distkey_"]),
            sortkey: beginning(&["sortkey_", "interleaved_"]),
            is_rigid: !beginning(&["encode_"]).is_empty(),
            length_checks: constraints.iter().filter(is_length).cloned().collect(),
        })
    };
    rows.iter().map(column).collect::<Result<_, _>>().map(Some)
}

/// The limit in a length check's name.
fn length_of(constraint: &str, prefix: &str) -> Option<i32> {
    constraint.strip_prefix(prefix)?.split('_').next()?.parse().ok()
}

/// A failure's message in Redshift's words, as far as they are known.
pub(super) fn message(error: &Error) -> String {
    message_for(error, "")
}

/// The same, for a statement that changes `table`.
pub(super) fn message_for(error: &Error, table: &str) -> String {
    let Some(error) = error.as_db_error() else {
        return "The connection to the database was lost".to_owned();
    };
    match *error.code() {
        SqlState::T_R_SERIALIZATION_FAILURE => {
            let on = if table.is_empty() { "a table in Redshift" } else { table };
            format!("1023 DETAIL: Serializable isolation violation on table - {on}")
        }
        SqlState::CHECK_VIOLATION => match error.constraint().and_then(broken_length) {
            Some(message) => message,
            None => error.message().to_owned(),
        },
        SqlState::NOT_NULL_VIOLATION => {
            format!("Cannot insert a NULL value into column {}", error.column().unwrap_or_default())
        }
        SqlState::CARDINALITY_VIOLATION if error.message().starts_with("MERGE") => {
            "Found multiple matches to update the same tuple.".to_owned()
        }
        SqlState::QUERY_CANCELED => "Query cancelled on user's request".to_owned(),
        _ => error.message().to_owned(),
    }
}

fn broken_length(constraint: &str) -> Option<String> {
    if length_of(constraint, "ascii_").is_some() {
        return Some("CHAR string contains invalid ASCII character".to_owned());
    }
    let kinds = [("varchar_", "character varying"), ("char_", "character"), ("varbyte_", "varbyte")];
    kinds.into_iter().find_map(|(prefix, name)| {
        length_of(constraint, prefix).map(|bytes| format!("value too long for type {name}({bytes})"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_length_tells_its_limit() {
        assert_eq!(
            broken_length("varchar_40_q17_2").as_deref(),
            Some("value too long for type character varying(40)")
        );
        assert_eq!(broken_length("declared_key_q17"), None);
    }
}
