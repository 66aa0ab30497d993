//! Redshift's tables as they are: what the plan compares the manifest's tables with. A plan changes its own copy as it
//! goes, so that each step finds what the steps before it leave.

use std::collections::BTreeMap;

use re_dms_shared::manifest::{Distribution, Table};
use re_dms_shared::types::RedshiftType;

/// Tables by schema and name, both in lower case, and the views that stand on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    tables: BTreeMap<(String, String), TargetTable>,
    dependents: Vec<Dependent>,
}

/// A table's columns by their names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetTable {
    pub(super) columns: BTreeMap<String, TargetColumn>,
    /// Its schema and name before the transaction; none if that makes it.
    pub(super) origin: Option<(String, String)>,
    /// The name of its declared primary key.
    pub(super) primary_key: Option<String>,
}

/// A column of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TargetColumn {
    pub(super) ty: CatalogColumn,
    /// Its name before the transaction; none if that makes it.
    pub(super) origin: Option<String>,
    pub(super) not_null: bool,
    /// What would keep Redshift from dropping it, as far as that was asked for.
    pub(super) distributes: bool,
    pub(super) sorts: bool,
}

impl TargetColumn {
    /// One that the transaction makes.
    pub(super) fn made(ty: RedshiftType) -> Self {
        let ty = CatalogColumn::Known(ty);
        Self { ty, origin: None, not_null: false, distributes: false, sorts: false }
    }
}

/// A view that Redshift protects from losing a column that it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dependent {
    table: (String, String),
    /// None for one that needs only the table.
    column: Option<String>,
    view: String,
}

/// The type of a column in Redshift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogColumn {
    /// One that re_dms would make.
    Known(RedshiftType),
    /// Any other, by Redshift's name of it.
    Foreign(String),
}

impl Catalog {
    /// Takes one row of [`super::queries::columns`]; numbers are none where the type has none.
    pub fn add_row(
        &mut self,
        schema: &str,
        table: &str,
        column: &str,
        data_type: &str,
        [length, precision, scale]: [Option<i64>; 3],
        not_null: bool,
    ) {
        let key = (schema.to_ascii_lowercase(), table.to_ascii_lowercase());
        let ty = CatalogColumn::from_catalog(data_type, length, precision, scale);
        let name = column.to_ascii_lowercase();
        let origin = Some(name.clone());
        let column = TargetColumn { ty, origin, not_null, distributes: false, sorts: false };
        let table = self.tables.entry(key.clone()).or_default();
        table.origin = Some(key);
        table.columns.insert(name, column);
    }

    /// Takes one row of [`super::queries::dependents`].
    pub fn add_dependent(&mut self, schema: &str, table: &str, column: Option<&str>, view: String) {
        let table = (schema.to_ascii_lowercase(), table.to_ascii_lowercase());
        let column = column.map(str::to_ascii_lowercase);
        self.dependents.push(Dependent { table, column, view });
    }

    /// Takes one row of [`super::queries::layouts`].
    pub fn add_layout(&mut self, schema: &str, table: &str, column: &str, distributes: bool, sorts: bool) {
        let key = (schema.to_ascii_lowercase(), table.to_ascii_lowercase());
        let table = self.tables.get_mut(&key);
        if let Some(column) = table.and_then(|table| table.columns.get_mut(&column.to_ascii_lowercase())) {
            (column.distributes, column.sorts) = (distributes, sorts);
        }
    }

    /// Takes one row of [`super::queries::primary_keys`].
    pub fn add_primary_key(&mut self, schema: &str, table: &str, constraint: &str) {
        let key = (schema.to_ascii_lowercase(), table.to_ascii_lowercase());
        if let Some(table) = self.tables.get_mut(&key) {
            table.primary_key = Some(constraint.to_owned());
        }
    }

    /// The columns of a step's target, if it exists.
    pub(super) fn target(&self, table: &Table) -> Option<&TargetTable> {
        self.tables.get(&key(table))
    }

    /// The columns of a target by its names, if it exists.
    pub(super) fn columns_of(&self, schema: &str, name: &str) -> Option<&BTreeMap<String, TargetColumn>> {
        let key = (schema.to_ascii_lowercase(), name.to_ascii_lowercase());
        self.tables.get(&key).map(|target| &target.columns)
    }

    pub(super) fn target_mut(&mut self, table: &Table) -> Option<&mut TargetTable> {
        self.tables.get_mut(&key(table))
    }

    /// Whether anything in the schema is known to exist.
    pub(super) fn has_schema(&self, table: &Table) -> bool {
        let (schema, _) = key(table);
        schema == "public" || self.tables.keys().any(|(known, _)| *known == schema)
    }

    /// From here on the target has at least the manifest's columns.
    pub(super) fn learn(&mut self, table: &Table) {
        let target = self.tables.entry(key(table)).or_default();
        let is_new = target.columns.is_empty();
        if is_new && table.layout.primary_key && table.columns.iter().any(|column| column.key) {
            target.primary_key = Some(super::tables::key_name(table));
        }
        for column in &table.columns {
            let mut made = TargetColumn::made(column.redshift_type);
            if is_new {
                let name = &column.target_name;
                made.not_null = table.layout.primary_key && column.key;
                made.distributes = table.layout.distribution == Distribution::Key(name.clone());
                made.sorts = table.layout.sort_key.contains(name);
            }
            target.columns.entry(column.target_name.to_ascii_lowercase()).or_insert(made);
        }
    }

    /// Redshift has the table as the stream left it, as far as that is known; nothing if it is here already.
    pub fn assume(&mut self, table: &Table) {
        if self.target(table).is_some() {
            return;
        }
        self.learn(table);
        let key = key(table);
        let Some(target) = self.tables.get_mut(&key) else { return };
        for column in &table.kept {
            let name = column.target_name.to_ascii_lowercase();
            target.columns.insert(name, TargetColumn::made(column.redshift_type));
        }
        for (name, column) in &mut target.columns {
            column.origin = Some(name.clone());
        }
        target.origin = Some(key);
    }

    /// From here on there is no such table.
    pub(super) fn forget(&mut self, table: &Table) -> Option<TargetTable> {
        self.tables.remove(&key(table))
    }

    /// From here on this is the table.
    pub(super) fn put(&mut self, table: &Table, target: TargetTable) {
        self.tables.insert(key(table), target);
    }

    /// The views that keep Redshift from dropping the column, or the whole table, in alphabetical order.
    pub(super) fn views_on(&self, table: &Table, column: Option<&str>) -> Vec<String> {
        let Some(target) = self.target(table) else { return Vec::new() };
        let origin = column.map(|name| target.columns.get(name).and_then(|column| column.origin.clone()));
        let needs = |dependent: &&Dependent| {
            target.origin.as_ref() == Some(&dependent.table)
                && origin.as_ref().is_none_or(|origin| origin.is_some() && *origin == dependent.column)
        };
        let mut views: Vec<_> =
            self.dependents.iter().filter(needs).map(|dependent| dependent.view.clone()).collect();
        views.sort();
        views.dedup();
        views
    }
}

fn key(table: &Table) -> (String, String) {
    (table.target_schema.to_ascii_lowercase(), table.target_name.to_ascii_lowercase())
}

impl CatalogColumn {
    fn from_catalog(
        data_type: &str,
        length: Option<i64>,
        precision: Option<i64>,
        scale: Option<i64>,
    ) -> Self {
        use RedshiftType as R;
        let known = match data_type.to_ascii_lowercase().as_str() {
            "boolean" => R::Boolean,
            "smallint" => R::SmallInt,
            "integer" => R::Integer,
            "bigint" => R::BigInt,
            "real" => R::Real,
            "double precision" => R::DoublePrecision,
            "numeric" | "decimal" => {
                R::Decimal { precision: number(precision, 38), scale: number(scale, 37) }
            }
            "character varying" => R::Varchar(number(length, u16::MAX)),
            "date" => R::Date,
            "time without time zone" | "time" => R::Time,
            "time with time zone" | "timetz" => R::TimeTz,
            "timestamp without time zone" | "timestamp" => R::Timestamp,
            "timestamp with time zone" | "timestamptz" => R::TimestampTz,
            "super" => R::Super,
            "geometry" => R::Geometry,
            "geography" => R::Geography,
            "varbyte" | "binary varying" => R::Varbyte(number(length, 16_777_216)),
            _ => return CatalogColumn::Foreign(data_type.to_owned()),
        };
        CatalogColumn::Known(known)
    }

    /// Whether every value of `wanted` arrives exact in this column.
    pub(super) fn holds(&self, wanted: RedshiftType) -> bool {
        matches!(self, CatalogColumn::Known(found) if found.holds(wanted))
    }

    /// The type's name for people.
    pub(super) fn label(&self) -> String {
        match self {
            CatalogColumn::Known(known) => known.to_string(),
            CatalogColumn::Foreign(name) => name.clone(),
        }
    }
}

/// What the catalog leaves out or tells oddly counts as the widest.
fn number<T: TryFrom<i64>>(value: Option<i64>, widest: T) -> T {
    value.and_then(|value| T::try_from(value).ok()).unwrap_or(widest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_columns_hold_narrower_values() {
        let holds = |data_type: &str, numbers: [Option<i64>; 3], wanted: &str| {
            let [length, precision, scale] = numbers;
            CatalogColumn::from_catalog(data_type, length, precision, scale).holds(wanted.parse().unwrap())
        };
        let none = [None; 3];
        assert!(holds("character varying", [Some(80), None, None], "VARCHAR(40)"));
        assert!(!holds("character varying", [Some(39), None, None], "VARCHAR(40)"));
        assert!(holds("numeric", [None, Some(20), Some(4)], "DECIMAL(18,4)"));
        assert!(!holds("numeric", [None, Some(20), Some(6)], "DECIMAL(18,2)"), "two whole digits are lost");
        assert!(!holds("numeric", [None, Some(38), Some(1)], "DECIMAL(18,2)"), "a decimal is lost");
        assert!(holds("bigint", none, "INTEGER") && !holds("integer", none, "BIGINT"));
        assert!(holds("timestamp with time zone", none, "TIMESTAMPTZ"));
        assert!(!holds("timestamp with time zone", none, "TIMESTAMP"));
        assert!(!holds("character", [Some(10), None, None], "VARCHAR(10)"));
        assert!(holds("varbyte", none, "VARBYTE(1024000)") && holds("super", none, "SUPER"));
    }
}
