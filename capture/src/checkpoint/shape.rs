//! A table's columns, by their names in Redshift, and what a change of its definition does to a row. Pure.

use re_dms_shared::manifest::{Fill, OldValues, SchemaChange, Table, TableChange};
use re_dms_shared::types::RedshiftType;

use super::rows::{Field, Row};

/// Which columns a row has, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) columns: Vec<String>,
    /// Positions of the key's columns, in the table's order.
    pub(super) key: Vec<usize>,
}

/// From a row of one shape to one of the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transform {
    fields: Vec<Source>,
    /// The key in the new row.
    key: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Old(usize),
    /// t and f as PostgreSQL casts them to text.
    OldBoolean(usize),
    Constant(Field),
}

impl Transform {
    pub(super) fn row(&self, old: &Row) -> Row {
        let field = |source: &Source| match source {
            Source::Old(position) => old[*position].clone(),
            Source::OldBoolean(position) => old[*position].as_deref().map(|text| {
                let word: &[u8] = if text == b"t" { b"true" } else { b"false" };
                word.into()
            }),
            Source::Constant(constant) => constant.clone(),
        };
        self.fields.iter().map(field).collect()
    }

    /// Whether what was the key is the key, and reads the same.
    pub(super) fn keeps(&self, key: &[usize]) -> bool {
        let now = |old: &usize| self.fields.iter().position(|source| *source == Source::Old(*old));
        key.iter().map(now).eq(self.key.iter().map(|position| Some(*position)))
    }

    fn is_nothing(&self) -> bool {
        self.fields.iter().enumerate().all(|(position, source)| *source == Source::Old(position))
    }
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

impl Shape {
    /// Where a column is.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let name = lower(name);
        self.columns.iter().position(|column| *column == name)
    }

    /// Gives it what a step's table has and it lacks, and the table's key; none if rows stay as they are.
    pub(super) fn prepare(&mut self, table: &Table) -> Option<Transform> {
        let sources = (0..self.columns.len()).map(Source::Old).collect();
        self.become_table(table, sources)
    }

    fn become_table(&mut self, table: &Table, mut fields: Vec<Source>) -> Option<Transform> {
        for column in &table.columns {
            if self.position(&column.target_name).is_none() {
                self.columns.push(lower(&column.target_name));
                fields.push(Source::Constant(None));
            }
        }
        let key = table.columns.iter().filter(|column| column.key);
        self.key = key.filter_map(|column| self.position(&column.target_name)).collect();
        let transform = Transform { fields, key: self.key.clone() };
        (!transform.is_nothing()).then_some(transform)
    }

    /// Changes its columns, in the order in which the loader changes a table's.
    ///
    /// # Errors
    /// What can't be merged.
    pub(super) fn change(
        &mut self,
        after: &Table,
        change: &SchemaChange,
    ) -> Result<Option<Transform>, String> {
        let mut fields: Vec<_> = (0..self.columns.len()).map(Source::Old).collect();
        for one in &change.changes {
            if let TableChange::DropColumn { column } = one
                && let Some(position) = self.position(column)
            {
                self.columns.remove(position);
                fields.remove(position);
            }
        }
        // All at once: names may change places.
        let renamed: Vec<_> = change
            .changes
            .iter()
            .filter_map(|one| match one {
                TableChange::RenameColumn { from, to } => Some((self.position(from)?, lower(to))),
                _ => None,
            })
            .collect();
        for (position, name) in renamed {
            self.columns[position] = name;
        }
        for one in &change.changes {
            match one {
                TableChange::ChangeType { column, from, to, values } => {
                    if let Some(position) = self.position(column) {
                        fields[position] = converted(&fields[position], *from, *to, *values)
                            .ok_or_else(|| format!("column {column} became {to} from {from}"))?;
                    }
                }
                TableChange::AddColumn { column, fill } if self.position(column).is_none() => {
                    self.columns.push(lower(column));
                    fields.push(Source::Constant(match fill {
                        Fill::Null => None,
                        Fill::Value(text) => Some(text.as_bytes().into()),
                    }));
                }
                _ => {}
            }
        }
        Ok(self.become_table(after, fields))
    }
}

/// The same text in a data file means the same value in both types, as Redshift's cast would have it; none where only
/// Redshift knows.
fn converted(source: &Source, from: RedshiftType, to: RedshiftType, values: OldValues) -> Option<Source> {
    use RedshiftType as R;
    if values == OldValues::Unknown {
        return Some(Source::Constant(None));
    }
    let is_integer = |ty: RedshiftType| matches!(ty, R::SmallInt | R::Integer | R::BigInt);
    match (from, to) {
        (R::Boolean, R::Varchar(_)) => match source {
            Source::Old(position) => Some(Source::OldBoolean(*position)),
            _ => None,
        },
        // As a text the one has digits that the other rounds.
        (R::Real, R::DoublePrecision) => None,
        (from, to) if to.holds(from) => Some(source.clone()),
        (R::Varchar(_), R::Varchar(_)) | (R::Varbyte(_), R::Varbyte(_)) => Some(source.clone()),
        (from, R::Varchar(_)) if is_integer(from) => Some(source.clone()),
        (from, R::Decimal { .. }) if is_integer(from) => Some(source.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use re_dms_shared::manifest::{Column, Layout};

    use super::*;

    fn table(columns: &[&str]) -> Table {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            attribute_number: None,
            type_oid: 25,
            type_modifier: -1,
            target_name: (*name).to_owned(),
            redshift_type: RedshiftType::Varchar(10),
            key: *name == "id",
        };
        Table {
            schema: "s".into(),
            name: "t".into(),
            oid: 1,
            target_schema: "s".into(),
            target_name: "t".into(),
            columns: columns.iter().map(column).collect(),
            kept: Vec::new(),
            layout: Layout::default(),
        }
    }

    fn row(values: &[Option<&str>]) -> Row {
        values.iter().map(|value| value.map(|text| text.as_bytes().into())).collect()
    }

    fn changed(
        shape: &mut Shape,
        after: &[&str],
        changes: Vec<TableChange>,
    ) -> Result<Option<Transform>, String> {
        let change = SchemaChange { before: Some(table(&[])), changes, unproven: Vec::new(), hold: false };
        shape.change(&table(after), &change)
    }

    #[test]
    fn rows_follow_drops_swaps_new_columns_and_types() {
        let mut shape = Shape::default();
        shape.prepare(&table(&["id", "a", "b", "c"]));
        assert_eq!(shape.key, [0]);
        let rename = |from: &str, to: &str| TableChange::RenameColumn { from: from.into(), to: to.into() };
        let retype = |column: &str, from, to, values| TableChange::ChangeType {
            column: column.into(),
            from,
            to,
            values,
        };
        let changes = vec![
            TableChange::DropColumn { column: "a".into() },
            rename("b", "c"),
            rename("c", "b"),
            retype("b", RedshiftType::Boolean, RedshiftType::Varchar(5), OldValues::Converted),
            TableChange::AddColumn { column: "d".into(), fill: Fill::Value("7".into()) },
        ];
        let transform = changed(&mut shape, &["id", "b", "c", "d", "e"], changes).unwrap().unwrap();
        assert_eq!(shape.columns, ["id", "c", "b", "d", "e"]);
        let old = row(&[Some("1"), Some("gone"), Some("x"), Some("t")]);
        assert_eq!(transform.row(&old), row(&[Some("1"), Some("x"), Some("true"), Some("7"), None]));
        // What only Redshift can convert is not merged; what nobody can is NULL.
        let real = |values| vec![retype("c", RedshiftType::Real, RedshiftType::DoublePrecision, values)];
        assert!(changed(&mut shape.clone(), &["id"], real(OldValues::Converted)).is_err());
        let transform = changed(&mut shape, &["id"], real(OldValues::Unknown)).unwrap().unwrap();
        assert_eq!(transform.row(&row(&[Some("1"), Some("x"), None, None, None]))[1], None);
    }

    #[test]
    fn nothing_to_do_is_no_transform() {
        let mut shape = Shape::default();
        assert!(shape.prepare(&table(&["id"])).is_some());
        assert_eq!(shape.prepare(&table(&["id"])), None);
        assert_eq!(changed(&mut shape, &["id"], vec![TableChange::Move]), Ok(None));
    }
}
