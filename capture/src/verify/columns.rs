//! What of a table is compared, and how its columns are read on both sides.

use re_dms_shared::columns::Columns;
use re_dms_shared::manifest::{Column, Table};
use re_dms_shared::types::catalog::{self, FIRST_UNKNOWN_OID, Row};
use re_dms_shared::types::{HASHED, SourceType, map_column};
use re_dms_shared::verify::{
    Ask, By, CheckColumn, Form, SourceColumn, TableCheck, Value, form, source_value,
};

use super::report::SkippedColumn;
use crate::relations::{ColumnNow, TableNow};
use crate::sql::ident;

/// A table that is compared.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// As Redshift has it.
    pub(super) table: Table,
    /// Its columns on the source, those that are compared.
    columns: Vec<Compared>,
    pub(super) skipped: Vec<SkippedColumn>,
    /// Rows are told apart by their key.
    pub(super) keyed: bool,
}

#[derive(Clone, Debug)]
struct Compared {
    /// As Redshift has it.
    column: Column,
    form: Form,
    /// SQL for the value, with the column's name as `{}`.
    value: String,
}

/// Stands for a column in an expression: no SQL of ours holds it otherwise.
const COLUMN: &str = "\u{1}";

/// The OIDs of types that the catalog has to be asked for.
pub(super) fn unknown_types<'a>(tables: impl Iterator<Item = &'a Table>) -> Vec<u32> {
    let columns = tables.flat_map(|table| &table.columns);
    let mut oids: Vec<_> =
        columns.map(|column| column.type_oid).filter(|oid| *oid >= FIRST_UNKNOWN_OID).collect();
    oids.sort_unstable();
    oids.dedup();
    oids
}

impl Prepared {
    /// Picks the columns that can be compared.
    pub(super) fn new(table: Table, rules: &Columns, types: &[Row]) -> Self {
        let (mut columns, mut skipped) = (Vec::new(), Vec::new());
        for column in &table.columns {
            match compared(&table, column, rules, types) {
                Ok((form, value)) => columns.push(Compared { column: column.clone(), form, value }),
                Err(reason) => {
                    skipped.push(SkippedColumn { column: column.name.clone(), reason: reason.to_owned() });
                }
            }
        }
        for column in &table.kept {
            let reason = "only Redshift has it still".to_owned();
            skipped.push(SkippedColumn { column: column.target_name.clone(), reason });
        }
        let key = || table.columns.iter().filter(|column| column.key);
        let keyed = key().next().is_some()
            && key().all(|column| columns.iter().any(|compared| compared.column.name == column.name));
        Self { table, columns, skipped, keyed }
    }

    /// `schema.name` on the source.
    pub(super) fn label(&self) -> String {
        format!("{}.{}", self.table.schema, self.table.name)
    }

    /// The key's first column on the source, if both sides have one order for it.
    pub(super) fn ordered_by(&self) -> Option<&str> {
        let first = self.table.columns.iter().find(|column| column.key).filter(|_| self.keyed)?;
        let is_ordered = ORDERED.contains(&first.type_oid) && first.redshift_type.has_one_order();
        is_ordered.then_some(first.name.as_str())
    }

    /// Columns whose comparison goes only so far.
    pub(super) fn notes(&self) -> Vec<SkippedColumn> {
        let note = |compared: &Compared| {
            let reason = match compared.form {
                Form::Json => "compared as JSON's text: a number counts as Redshift prints it",
                Form::Float => "compared exactly, but for the sign of zero",
                _ => return None,
            };
            Some(SkippedColumn { column: compared.column.name.clone(), reason: reason.to_owned() })
        };
        self.columns.iter().filter_map(note).collect()
    }

    /// What the loader is asked.
    pub(super) fn check(&self, ask: Ask) -> TableCheck {
        let column = |compared: &Compared| CheckColumn {
            name: compared.column.target_name.clone(),
            redshift_type: compared.column.redshift_type,
            form: compared.form,
            key: compared.column.key,
        };
        TableCheck {
            schema: self.table.target_schema.clone(),
            name: self.table.target_name.clone(),
            columns: self.columns.iter().map(column).collect(),
            keyed: self.keyed,
            ask,
        }
    }

    /// The columns' values on the source, if the table there is the one that Redshift has; else why it is not.
    pub(super) fn values(&self, now: &TableNow) -> Result<Vec<Value>, &'static str> {
        const CHANGED: &str = "its definition is being changed";
        let value = |compared: &Compared| {
            let column = &compared.column;
            let is_it = |now: &&ColumnNow| match column.attribute_number {
                Some(number) => now.number == number,
                None => now.name.as_ref() == Some(&column.name),
            };
            let found = now.columns.iter().find(is_it).filter(|now| now.published).ok_or(CHANGED)?;
            let name = found.name.as_ref().ok_or(CHANGED)?;
            if (found.type_oid, found.modifier) != (column.type_oid, column.type_modifier) {
                return Err(CHANGED);
            }
            let expression = compared.value.replace(COLUMN, &format!("t.{}", ident(name)));
            let (raw, redshift_type) = (format!("t.{}", ident(name)), column.redshift_type);
            Ok(Value { column: raw, redshift_type, expression, form: compared.form, key: column.key })
        };
        self.columns.iter().map(value).collect()
    }

    /// Columns that only the source has.
    pub(super) fn only_on_source(&self, now: &TableNow, rules: &Columns) -> Vec<SkippedColumn> {
        let is_known = |now: &ColumnNow| {
            self.table.columns.iter().any(|column| match column.attribute_number {
                Some(number) => now.number == number,
                None => now.name.as_ref() == Some(&column.name),
            })
        };
        let unknown = now.columns.iter().filter(|column| !is_known(column));
        let skipped = unknown.filter_map(|column| {
            let name = column.name.clone()?;
            let reason = if rules.is_excluded(&now.schema, &now.name, &name) {
                "left out: source.exclude_columns"
            } else if column.published {
                "Redshift does not have it (yet)"
            } else {
                "not published"
            };
            Some(SkippedColumn { column: name, reason: reason.to_owned() })
        });
        skipped.collect()
    }
}

/// All rows, in so many buckets.
pub(super) fn all_in(buckets: u64) -> Ask {
    Ask { ranges: Vec::new(), within: None, by: By::Buckets(buckets) }
}

/// Types of which the source has an order that is Redshift's: integers, `numeric`, `date`, `time`, `timestamp`, `timestamptz`.
const ORDERED: [u32; 8] = [20, 21, 23, 1700, 1082, 1083, 1114, 1184];

/// The column's form and SQL for its value.
fn compared(
    table: &Table,
    column: &Column,
    rules: &Columns,
    types: &[Row],
) -> Result<(Form, String), &'static str> {
    if column.type_oid == HASHED {
        return Err("only hashes of its values arrive");
    }
    let rules = rules.rules(&table.schema, &table.name, &column.name);
    let ty = catalog::build(column.type_oid, types);
    let changed = "what the configuration says of it is not what Redshift has";
    let mapping = map_column(&ty, column.type_modifier, column.key, &rules).map_err(|_| changed)?;
    if mapping.redshift != column.redshift_type {
        return Err(changed);
    }
    let type_oid = match ty.behind_domains(-1).0 {
        SourceType::Oid(oid) => *oid,
        _ => 0,
    };
    let source = SourceColumn { type_oid, mapping: &mapping, rules: &rules };
    Ok((form(source)?, source_value(source, COLUMN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, type_oid: u32, key: bool) -> Column {
        let mapping =
            map_column(&SourceType::of_oid(type_oid), -1, key, &re_dms_shared::types::ColumnRules::default())
                .unwrap();
        Column {
            name: name.to_owned(),
            attribute_number: None,
            type_oid,
            type_modifier: -1,
            target_name: name.to_lowercase(),
            redshift_type: mapping.redshift,
            key,
        }
    }

    fn table(columns: Vec<Column>) -> Table {
        Table {
            schema: "public".into(),
            name: "T".into(),
            oid: 7,
            target_schema: "public".into(),
            target_name: "t".into(),
            columns,
            kept: vec![column("old", 23, false)],
            layout: re_dms_shared::manifest::Layout::default(),
        }
    }

    #[test]
    fn what_is_not_compared_is_told() {
        let columns = vec![
            column("Id", 20, true),
            column("v", 25, false),
            column("secret", HASHED, false),
            column("j", 114, false),
            column("f", 701, false),
        ];
        let prepared = Prepared::new(table(columns), &Columns::default(), &[]);
        assert!(prepared.keyed);
        let skipped: Vec<_> = prepared.skipped.iter().map(|skipped| skipped.column.as_str()).collect();
        assert_eq!(skipped, ["secret", "j", "old"]);
        assert_eq!(prepared.notes().len(), 1, "the float's zero");
        let check = prepared.check(all_in(4));
        let names: Vec<_> = check.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["id", "v", "f"]);

        let now = |name: &str, type_oid| {
            let columns = [("Id", 20), (name, type_oid), ("f", 701), ("new", 23)];
            let column = |(number, (name, type_oid)): (usize, &(&str, u32))| {
                serde_json::json!({"number": number, "name": name, "type_oid": type_oid, "modifier": -1,
                    "published": true, "default": false, "missing": false, "value": null, "xid": 3})
            };
            let columns: Vec<_> = columns.iter().enumerate().map(column).collect();
            let text = serde_json::json!({"oid": 7, "schema": "public", "name": "T", "storage": 1, "columns": columns});
            TableNow::read(&text.to_string()).unwrap()
        };
        let values = prepared.values(&now("v", 25)).unwrap();
        assert_eq!(values[0].expression, "t.\"Id\"");
        assert!(values[1].expression.contains("t.\"v\"::text") && values[0].key && !values[1].key);
        assert!(prepared.values(&now("w", 25)).is_err() && prepared.values(&now("v", 1043)).is_err());
        let only = prepared.only_on_source(&now("v", 25), &Columns::default());
        assert_eq!(only.len(), 1);
        assert_eq!(only[0].column, "new");
    }

    #[test]
    fn a_key_that_is_not_compared_tells_no_rows_apart() {
        let columns = vec![column("a", 20, true), Column { key: true, ..column("b", HASHED, false) }];
        assert!(!Prepared::new(table(columns), &Columns::default(), &[]).keyed);
    }
}
