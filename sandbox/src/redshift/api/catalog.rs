//! ListDatabases, ListSchemas, ListTables, DescribeTable: the catalog, as any client of the database could query it.

use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::ApiError;
use super::page::page;
use super::requests::{Submission, input};
use super::validation;
use crate::redshift::StandIn;

const MAX_RESULTS: u64 = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
struct Question {
    database: Option<String>,
    connected_database: Option<String>,
    cluster_identifier: Option<String>,
    workgroup_name: Option<String>,
    secret_arn: Option<String>,
    db_user: Option<String>,
    schema_pattern: Option<String>,
    table_pattern: Option<String>,
    schema: Option<String>,
    table: Option<String>,
    max_results: Option<u64>,
    next_token: Option<String>,
}

/// A question whose target and limits are in order.
fn question(stand_in: &StandIn, body: Value) -> Result<Question, ApiError> {
    let question: Question = input(body)?;
    let target = Submission {
        database: question.database.clone().or_else(|| Some(stand_in.warehouse.database().to_owned())),
        cluster_identifier: question.cluster_identifier.clone(),
        workgroup_name: question.workgroup_name.clone(),
        secret_arn: question.secret_arn.clone(),
        db_user: question.db_user.clone(),
        ..Submission::default()
    };
    validation::check_selectors(&target)?;
    for database in [&question.database, &question.connected_database].into_iter().flatten() {
        if database != stand_in.warehouse.database() {
            return Err(ApiError::validation(format!("Database {database} does not exist")));
        }
    }
    Ok(question)
}

impl Question {
    fn page(&self, member: &str, found: Vec<Value>) -> Result<Value, ApiError> {
        page(member, found, (self.max_results, MAX_RESULTS), self.next_token.as_deref())
    }
}

fn needs_database(question: &Question) -> Result<(), ApiError> {
    match question.database {
        Some(_) => Ok(()),
        None => Err(ApiError::validation("Database must be specified")),
    }
}

async fn ask(stand_in: &StandIn, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, ApiError> {
    let connection = stand_in.warehouse.connect().await.map_err(|_| ApiError::DatabaseConnection)?;
    connection.client.query(sql, values).await.map_err(|error| {
        tracing::warn!(%error, "the catalog could not be asked");
        ApiError::Internal("Internal server error".to_owned())
    })
}

/// The one database that there is.
pub(super) fn databases(stand_in: &StandIn, body: Value) -> Result<Value, ApiError> {
    let question = question(stand_in, body)?;
    question.page("Databases", vec![json!(stand_in.warehouse.database())])
}

/// Schemas by a pattern of LIKE.
pub(super) async fn schemas(stand_in: &StandIn, body: Value) -> Result<Value, ApiError> {
    const QUERY: &str = r"SELECT nspname::text FROM pg_catalog.pg_namespace
        WHERE nspname::text LIKE $1 AND nspname !~ '^(pg_temp_|pg_toast|re_dms_standin)' ORDER BY nspname";
    let question = question(stand_in, body)?;
    needs_database(&question)?;
    let pattern = question.schema_pattern.as_deref().unwrap_or("%");
    let rows = ask(stand_in, QUERY, &[&pattern]).await?;
    question.page("Schemas", rows.iter().map(|row| json!(text(row, 0))).collect())
}

/// Tables and views by patterns of LIKE.
pub(super) async fn tables(stand_in: &StandIn, body: Value) -> Result<Value, ApiError> {
    const QUERY: &str = r"SELECT table_schema::text, table_name::text, table_type::text
        FROM re_dms_standin_information_schema.tables
        WHERE table_schema::text LIKE $1 AND table_name::text LIKE $2 ORDER BY 1, 2";
    let question = question(stand_in, body)?;
    needs_database(&question)?;
    let schema = question.schema_pattern.as_deref().unwrap_or("%");
    let table = question.table_pattern.as_deref().unwrap_or("%");
    let rows = ask(stand_in, QUERY, &[&schema, &table]).await?;
    let table = |row: &Row| {
        let kind = if text(row, 2) == "VIEW" { "VIEW" } else { "TABLE" };
        json!({ "schema": text(row, 0), "name": text(row, 1), "type": kind })
    };
    question.page("Tables", rows.iter().map(table).collect())
}

/// A table's columns.
pub(super) async fn describe(stand_in: &StandIn, body: Value) -> Result<Value, ApiError> {
    const QUERY: &str = r"SELECT column_name::text, data_type::text, is_nullable = 'YES', column_default::text,
            COALESCE(character_maximum_length, 0), COALESCE(numeric_precision, 0), COALESCE(numeric_scale, 0)
        FROM re_dms_standin_information_schema.columns
        WHERE table_schema::text = $1 AND table_name::text = $2 ORDER BY ordinal_position";
    let question = question(stand_in, body)?;
    needs_database(&question)?;
    let schema = question.schema.as_deref().unwrap_or("public");
    let table = question.table.as_deref().ok_or_else(|| ApiError::validation("Table must be specified"))?;
    let rows = ask(stand_in, QUERY, &[&schema, &table]).await?;
    if rows.is_empty() {
        return Err(ApiError::validation(format!("Table {schema}.{table} does not exist")));
    }
    let number = |row: &Row, position| row.try_get::<_, i32>(position).unwrap_or(0);
    let column = |row: &Row| {
        let data_type = text(row, 1);
        let signed = ["int", "numeric", "real", "double"].iter().any(|part| data_type.contains(part));
        json!({
            "name": text(row, 0),
            "label": text(row, 0),
            "typeName": data_type,
            "nullable": i32::from(row.try_get(2).unwrap_or(true)),
            "columnDefault": row.try_get::<_, Option<String>>(3).ok().flatten(),
            "length": number(row, 4),
            "precision": number(row, 5),
            "scale": number(row, 6),
            "isSigned": signed,
            "isCaseSensitive": data_type.starts_with("character"),
            "isCurrency": false,
            "schemaName": schema,
            "tableName": table,
        })
    };
    let mut answer = question.page("ColumnList", rows.iter().map(column).collect())?;
    if let Some(members) = answer.as_object_mut() {
        members.insert("TableName".to_owned(), json!(table));
    }
    Ok(answer)
}

fn text(row: &Row, position: usize) -> String {
    row.try_get(position).unwrap_or_default()
}
