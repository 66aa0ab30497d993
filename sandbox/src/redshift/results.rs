//! Result sets, and their Data API's form: every value by its type as one of the `Field` union's members.

use std::borrow::Cow;

use serde_json::{Value, json};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Column, Error, SimpleQueryMessage};

/// The rows of one statement, as PostgreSQL's texts.
#[derive(Debug, Default)]
pub(super) struct ResultSet {
    pub(super) columns: Vec<ResultColumn>,
    pub(super) rows: Vec<Vec<Option<String>>>,
    /// The size of all values, in bytes.
    pub(super) bytes: usize,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResultColumn {
    pub(super) name: String,
    pub(super) column_type: Type,
    pub(super) modifier: i32,
}

impl ResultColumn {
    /// A value of it as Redshift prints it.
    pub(super) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        redshift_text(text, &self.column_type)
    }
}

impl ResultSet {
    /// `ColumnMetadata`
    pub(super) fn metadata(&self) -> Vec<Value> {
        self.columns.iter().map(metadata).collect()
    }

    /// `Records`: so many rows from one on.
    pub(super) fn records(&self, start: usize, rows: usize) -> Vec<Value> {
        let record = |row: &Vec<Option<String>>| {
            let fields = row.iter().zip(&self.columns).map(|(text, column)| match text {
                Some(text) => field(text, &column.column_type),
                None => json!({"isNull": true}),
            });
            Value::Array(fields.collect())
        };
        self.rows.iter().skip(start).take(rows).map(record).collect()
    }

    /// `CSVRecords`: the same rows as lines, without the columns' names, which the metadata has.
    pub(super) fn csv(&self, start: usize, rows: usize) -> String {
        let line = |row: &Vec<Option<String>>| {
            let fields = row.iter().zip(&self.columns);
            let fields = fields.map(|(text, column)| csv_field(text.as_deref(), &column.column_type));
            fields.collect::<Vec<_>>().join(",") + "\n"
        };
        self.rows.iter().skip(start).take(rows).map(line).collect()
    }
}

/// A value of a CSV result: quoted where it has to be, so that NULL, which is nothing, and an empty text differ.
fn csv_field(text: Option<&str>, column_type: &Type) -> String {
    let Some(text) = text else { return String::new() };
    let text = match *column_type {
        Type::BOOL if text == "t" => Cow::Borrowed("true"),
        Type::BOOL => Cow::Borrowed("false"),
        _ => redshift_text(text, column_type),
    };
    let plain = !text.is_empty() && !text.contains(['"', ',', '\n', '\r']);
    if plain { text.into_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// Runs a query. Types come from preparing it, values as text, which suits every type.
pub(super) async fn query(client: &Client, sql: &str) -> Result<ResultSet, Error> {
    let columns = columns(client, sql).await?;
    let mut result = ResultSet { columns, ..ResultSet::default() };
    for message in client.simple_query(sql).await? {
        if let SimpleQueryMessage::Row(row) = message {
            let texts = (0..row.len()).map(|position| row.get(position).map(str::to_owned));
            let texts: Vec<Option<String>> = texts.collect();
            result.bytes += texts.iter().flatten().map(String::len).sum::<usize>();
            result.rows.push(texts);
        }
    }
    Ok(result)
}

/// The columns that a query will return.
pub(super) async fn columns(client: &Client, sql: &str) -> Result<Vec<ResultColumn>, Error> {
    let statement = client.prepare(sql).await?;
    let column = |column: &Column| ResultColumn {
        name: column.name().to_owned(),
        column_type: column.type_().clone(),
        modifier: column.type_modifier(),
    };
    Ok(statement.columns().iter().map(column).collect())
}

/// One value.
fn field(text: &str, column_type: &Type) -> Value {
    let string = |text: &str| json!({"stringValue": text});
    match *column_type {
        Type::BOOL => json!({"booleanValue": text == "t"}),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => {
            text.parse::<i64>().map_or_else(|_| string(text), |number| json!({"longValue": number}))
        }
        Type::FLOAT4 | Type::FLOAT8 => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => json!({"doubleValue": number}),
            _ => string(text),
        },
        // Timestamps have a fraction at all times.
        Type::TIMESTAMP if !text.contains('.') => string(&format!("{text}.0")),
        _ => string(&redshift_text(text, column_type)),
    }
}

/// A value's text as Redshift prints it.
fn redshift_text<'a>(text: &'a str, column_type: &Type) -> Cow<'a, str> {
    match *column_type {
        Type::BYTEA => Cow::Borrowed(text.strip_prefix("\\x").unwrap_or(text)),
        Type::JSONB => Cow::Owned(compact(text)),
        _ => Cow::Borrowed(text),
    }
}

/// JSON without the blanks that PostgreSQL prints between its parts.
fn compact(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let (mut quoted, mut escaped) = (false, false);
    for c in json.chars() {
        if !quoted && c == ' ' {
            continue;
        }
        text.push(c);
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            _ => {}
        }
    }
    text
}

fn metadata(column: &ResultColumn) -> Value {
    let modifier = column.modifier;
    let (type_name, precision, scale) = match column.column_type {
        Type::NUMERIC if modifier >= 4 => ("numeric", (modifier - 4) >> 16, (modifier - 4) & 0x7FF),
        Type::NUMERIC => ("numeric", 38, 0),
        Type::INT2 => ("int2", 5, 0),
        Type::INT4 => ("int4", 10, 0),
        Type::INT8 => ("int8", 19, 0),
        Type::FLOAT4 => ("float4", 8, 8),
        Type::FLOAT8 => ("float8", 17, 17),
        Type::VARCHAR if modifier >= 4 => ("varchar", modifier - 4, 0),
        Type::VARCHAR | Type::TEXT | Type::UNKNOWN => ("varchar", 65_535, 0),
        Type::BPCHAR => ("bpchar", (modifier - 4).max(1), 0),
        Type::JSONB => ("super", 0, 0),
        Type::BYTEA => ("varbyte", 0, 0),
        ref other => (other.name(), 0, 0),
    };
    let signed = matches!(
        column.column_type,
        Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC
    );
    json!({
        "name": column.name,
        "label": column.name,
        "typeName": type_name,
        "precision": precision,
        "scale": scale,
        "length": 0,
        "nullable": 1,
        "isSigned": signed,
        "isCaseSensitive": type_name == "varchar",
        "isCurrency": false,
        "schemaName": "",
        "tableName": "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_member() {
        assert_eq!(field("t", &Type::BOOL), json!({"booleanValue": true}));
        assert_eq!(field("-9223372036854775808", &Type::INT8), json!({"longValue": i64::MIN}));
        assert_eq!(field("1.50", &Type::NUMERIC), json!({"stringValue": "1.50"}));
        assert_eq!(
            field("2022-02-22 00:00:00", &Type::TIMESTAMP),
            json!({"stringValue": "2022-02-22 00:00:00.0"})
        );
        assert_eq!(field("\\x00ff", &Type::BYTEA), json!({"stringValue": "00ff"}));
        assert_eq!(field("NaN", &Type::FLOAT8), json!({"stringValue": "NaN"}));
    }

    #[test]
    fn json_is_printed_without_blanks() {
        let text = r#"{"a b": [1, "x \" , y"], "c\\": null}"#;
        assert_eq!(compact(text), r#"{"a b":[1,"x \" , y"],"c\\":null}"#);
    }
}
