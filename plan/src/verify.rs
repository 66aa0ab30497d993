//! What the loader asks Redshift for `re_dms verify`: within one transaction, and so in one state of all tables, whether that
//! is the state that is meant, and what the tables hold.

use re_dms_shared::sql::{ident, qualified};
use re_dms_shared::verify::{Dialect, TableCheck, Value, VerifyRequest, queries as of_table};

use super::{BATCH_STATEMENTS, Catalog, STATEMENT_BYTES, Target, ledger, queries};

/// The columns of the tables, as many queries as it takes. Read by [`Catalog::add_row`].
#[must_use]
pub fn columns(tables: &[TableCheck]) -> Vec<String> {
    queries::columns_of_targets(tables.iter().map(|table| (&table.schema, &table.name)).collect())
}

/// Queries in one transaction.
pub const QUERIES_AT_ONCE: usize = BATCH_STATEMENTS - 1;

/// One transaction: a statement that fails unless Redshift is as of the request's segment and nothing was recorded of tables
/// since the row `change` of the table log, and these [queries](groups).
#[must_use]
pub fn statements(request: &VerifyRequest, change: u64, queries: &[String]) -> Vec<String> {
    let guard = ledger::guard(&request.stream, &request.epoch, request.seq, change);
    std::iter::once(guard).chain(queries.iter().cloned()).collect()
}

/// The queries for a table, whose answers are to be joined.
#[must_use]
pub fn groups(table: &TableCheck) -> Vec<String> {
    let value = |column: &re_dms_shared::verify::CheckColumn| Value {
        column: ident(&column.name),
        redshift_type: column.redshift_type,
        expression: ident(&column.name),
        form: column.form,
        key: column.key,
    };
    let values: Vec<_> = table.columns.iter().map(value).collect();
    let from = qualified(&table.schema, &table.name);
    of_table(Dialect::Redshift, (&from, None), &values, table.keyed, &table.ask)
}

/// Why the table can't be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// There is none.
    Missing,
    /// Its columns are others.
    Unlike(String),
    /// The question would be too long.
    TooLong,
}

/// Whether the table, as Redshift has it, can be asked.
///
/// # Errors
/// Why not.
pub fn fits(table: &TableCheck, catalog: &Catalog) -> Result<(), Unfit> {
    let Some(columns) = catalog.columns_of(&table.schema, &table.name) else { return Err(Unfit::Missing) };
    let complaints: Vec<_> = table
        .columns
        .iter()
        .filter_map(|column| match columns.get(&column.name.to_ascii_lowercase()) {
            None => Some(format!("column {} is missing", column.name)),
            Some(found) if found.ty.holds(column.redshift_type) => None,
            Some(found) => Some(format!(
                "column {} is {} instead of {}",
                column.name,
                found.ty.label(),
                column.redshift_type
            )),
        })
        .collect();
    if !complaints.is_empty() {
        return Err(Unfit::Unlike(complaints.join(", ")));
    }
    let is_long = groups(table).iter().any(|sql| sql.len() > STATEMENT_BYTES);
    if is_long { Err(Unfit::TooLong) } else { Ok(()) }
}

/// The target that a check is about.
#[must_use]
pub fn target(table: &TableCheck) -> Target {
    Target::new(&table.schema, &table.name)
}

#[cfg(test)]
mod tests {
    use re_dms_shared::types::RedshiftType;
    use re_dms_shared::verify::{Ask, Buckets, By, CheckColumn, Form, Range};

    use super::*;

    fn check(columns: &[(&str, RedshiftType, Form)], ask: Ask) -> TableCheck {
        let columns = columns.iter().enumerate().map(|(at, (name, redshift_type, form))| CheckColumn {
            name: (*name).to_owned(),
            redshift_type: *redshift_type,
            form: *form,
            key: at == 0,
        });
        let columns = columns.collect();
        TableCheck { schema: "public".into(), name: "orders".into(), columns, keyed: true, ask }
    }

    #[test]
    fn the_question_is_one_transaction_in_documented_words() {
        let request = VerifyRequest {
            format: 1,
            request: "verify".into(),
            stream: "main".into(),
            epoch: "E".into(),
            seq: 7,
            id: "a".into(),
            bucket: "b".into(),
            checks_key: "c".into(),
            answer_key: "d".into(),
        };
        use RedshiftType as R;
        let decimal = R::Decimal { precision: 18, scale: 4 };
        let small = [
            ("id", R::BigInt, Form::Integer),
            ("amount", decimal, Form::Decimal),
            ("at", R::TimestampTz, Form::TimestampTz),
            ("note", R::Varchar(40), Form::Text),
        ];
        let all = |by| Ask { ranges: Vec::new(), within: None, by };
        let buckets = check(&small, all(By::Buckets(16)));
        let ranges = check(&small, all(By::Ranges(vec!["10".into(), "2';0".into()])));
        let times =
            [("t", R::Time, Form::Time), ("z", R::TimeTz, Form::TimeTz), ("b", R::Boolean, Form::Boolean)];
        let within = Some(Buckets { of: 16, buckets: vec![3, 5] });
        let range = Range { from: Some("10:00:00".into()), before: None };
        let keys =
            check(&times, Ask { ranges: vec![range], within, by: By::Keys { shown: true, most: 100 } });
        let queries: Vec<_> = [buckets, ranges, keys].iter().flat_map(groups).collect();
        insta::assert_snapshot!(statements(&request, 4, &queries).join(";\n"));
    }

    #[test]
    fn tables_must_have_the_columns_and_the_question_a_length() {
        use RedshiftType as R;
        let ask = Ask { ranges: Vec::new(), within: None, by: By::Buckets(1) };
        let table =
            check(&[("id", R::BigInt, Form::Integer), ("v", R::Varchar(40), Form::Text)], ask.clone());
        let mut catalog = Catalog::default();
        assert_eq!(fits(&table, &catalog), Err(Unfit::Missing));
        let none = [None; 3];
        catalog.add_row("public", "orders", "id", "integer", none, false);
        let Err(Unfit::Unlike(what)) = fits(&table, &catalog) else { panic!("it fits") };
        assert_eq!(what, "column id is INTEGER instead of BIGINT, column v is missing");
        catalog.add_row("public", "orders", "id", "bigint", none, false);
        catalog.add_row("public", "orders", "v", "character varying", [Some(80), None, None], false);
        assert_eq!(fits(&table, &catalog), Ok(()));
        let many: Vec<_> = (0..60).map(|at| (format!("c{at}"), R::DoublePrecision, Form::Float)).collect();
        let many: Vec<_> = many.iter().map(|(name, ty, form)| (name.as_str(), *ty, *form)).collect();
        let wide = check(&many, ask);
        for (name, ..) in &many {
            catalog.add_row("public", "orders", name, "double precision", none, false);
        }
        assert_eq!(fits(&wide, &catalog), Ok(()));
        let parts = groups(&wide);
        assert!(parts.len() > 1 && parts.iter().all(|sql| sql.contains("\"c0\" AS \"v0\"")), "{parts:?}");
        // Rows without a key can't be told apart by their parts.
        assert_eq!(fits(&TableCheck { keyed: false, ..wide }, &catalog), Err(Unfit::TooLong));
    }
}
