//! What `re_dms check` has the loader try: a staging table in re_dms's schema, filled by a real COPY and counted, as a segment's
//! would be, and gone with the end of the transaction.

use re_dms_shared::check::CheckRequest;
use re_dms_shared::manifest::{Column, Compression, Load, RowCounts, Table};
use re_dms_shared::names::OWN_SCHEMA;
use re_dms_shared::sql::{ident, literal};
use re_dms_shared::types::RedshiftType;

use super::{CopySettings, PlanError, Purpose, Statement, Statements, copy, staging};

/// Who the loader is in Redshift, and in which database.
pub const WHO: &str = "SELECT current_user, current_database()";

/// The database's isolation level.
#[must_use]
pub fn isolation(database: &str) -> String {
    // Its name as a literal: not every function of the leader goes with tables of the compute nodes.
    format!(
        "SELECT i.isolation_level FROM stv_db_isolation_level AS i JOIN pg_database AS d ON d.oid = i.db_id WHERE \
         d.datname = {}",
        literal(database)
    )
}

/// Tables in these schemas that somebody else owns, with whom: at most a thousand, none for a superuser, who needs no table to be
/// its own.
#[must_use]
pub fn foreign_tables(schemas: &[String]) -> String {
    let schemas: Vec<_> = schemas.iter().map(|schema| literal(schema)).collect();
    format!(
        "SELECT t.schemaname, t.tablename, t.tableowner FROM pg_tables AS t WHERE t.schemaname IN ({}) \
         AND t.tableowner <> current_user \
         AND NOT EXISTS (SELECT 1 FROM pg_user AS u WHERE u.usename = current_user AND u.usesuper) \
         ORDER BY 1, 2 LIMIT 1000",
        schemas.join(", ")
    )
}

/// One transaction that leaves nothing behind.
///
/// # Errors
/// If the request names an object that COPY can't be given.
pub fn statements(request: &CheckRequest, settings: &CopySettings) -> Result<Vec<Statement>, PlanError> {
    let name = format!("check.{}.{}", request.stream, request.id);
    let column = Column {
        name: "probe".to_owned(),
        attribute_number: None,
        type_oid: 1043,
        type_modifier: -1,
        target_name: "probe".to_owned(),
        redshift_type: RedshiftType::Varchar(64),
        key: false,
    };
    let table = Table {
        schema: OWN_SCHEMA.to_owned(),
        name: name.clone(),
        oid: 0,
        target_schema: OWN_SCHEMA.to_owned(),
        target_name: name.clone(),
        columns: vec![column],
        kept: Vec::new(),
        layout: re_dms_shared::manifest::Layout::default(),
    };
    let load = Load {
        copy_manifest: request.copy_manifest.clone(),
        files: Vec::new(),
        compression: Compression::Gzip,
        tagged_keys: false,
        rows: RowCounts { inserts: request.rows, ..RowCounts::default() },
        present_sets: Vec::new(),
        altered: Vec::new(),
    };
    let mut all = Statements::default();
    all.push(Purpose::CreateSchema, format!("CREATE SCHEMA IF NOT EXISTS {}", ident(OWN_SCHEMA)));
    let stage = copy::Stage::private(1, &name, &table, &load, Vec::new());
    copy::statements(&mut all, &request.bucket, settings, &stage)?;
    for sql in staging::drop([name.as_str()]) {
        all.push(Purpose::DropStage, sql);
    }
    Ok(all.list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_is_a_load_that_leaves_nothing_behind() {
        let request = CheckRequest {
            format: 1,
            request: "check".to_owned(),
            stream: "main".to_owned(),
            id: "a1-b2".to_owned(),
            bucket: "bucket".to_owned(),
            copy_manifest: "p/main/checks/a1-b2/copy.json".to_owned(),
            rows: 2,
            answer_key: String::new(),
            schemas: Vec::new(),
        };
        let settings = CopySettings { role: Some("arn:aws:iam::1:role/copy".to_owned()), region: None };
        let list = statements(&request, &settings).unwrap();
        let mut text: Vec<_> = list.into_iter().map(|statement| statement.sql).collect();
        text.push(isolation("it's"));
        text.push(foreign_tables(&["shop".to_owned(), "it's".to_owned()]));
        insta::assert_snapshot!(text.join(";\n"));
        let quoted = CheckRequest { copy_manifest: "it's".to_owned(), ..request };
        assert!(statements(&quoted, &settings).is_err());
    }
}
