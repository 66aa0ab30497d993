//! What the stand-in asks PostgreSQL's catalog, and PostgreSQL's errors in Redshift's words.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::sql::{ColumnType, TableName};

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
