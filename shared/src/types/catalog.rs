//! What PostgreSQL's catalog says of types that are not built in. Pure: the query's text, and what its rows mean.

use std::collections::HashMap;

use super::{Field, SourceType};

/// OIDs below this are PostgreSQL's own, the same in every database of a version.
pub const FIRST_UNKNOWN_OID: u32 = 10_000;

/// Types and all that they are made of, by OIDs (`$1`): one row each, as [`Row`] has it.
///
/// Only a true array is one: `point` and the like have elements, too, but another text form. The delimiter is the
/// element's.
pub const QUERY: &str = "\
    WITH RECURSIVE parts (oid) AS (
        SELECT unnest($1::oid[])
        UNION
        SELECT part FROM parts JOIN pg_type t ON t.oid = parts.oid CROSS JOIN LATERAL (
            SELECT t.typbasetype WHERE t.typtype = 'd'
            UNION ALL SELECT t.typelem WHERE t.typinput = 'array_in'::regproc
            UNION ALL SELECT a.atttypid FROM pg_attribute a
                WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ) AS p (part)
    )
    SELECT t.oid, t.typname::text,
           CASE WHEN t.typinput = 'array_in'::regproc THEN 'a' ELSE t.typtype::text END,
           CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.typelem END,
           t.typtypmod,
           COALESCE((SELECT e.typdelim FROM pg_type e WHERE e.oid = t.typelem), ',')::text,
           ARRAY(SELECT a.attname::text FROM pg_attribute a
                 WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
           ARRAY(SELECT a.atttypid FROM pg_attribute a
                 WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
    FROM pg_type t JOIN parts USING (oid)";

/// One row of [`QUERY`], its columns in order.
#[derive(Clone, Debug)]
pub struct Row {
    /// `pg_type.oid`
    pub oid: u32,
    /// `pg_type.typname`
    pub name: String,
    /// `pg_type.typtype`, or `a` for an array.
    pub kind: String,
    /// An array's elements' type, or what a domain is based on.
    pub of: u32,
    /// A domain's `pg_type.typtypmod`.
    pub modifier: i32,
    /// An array's delimiter.
    pub delimiter: String,
    /// A composite's attributes' names.
    pub field_names: Vec<String>,
    /// Their types.
    pub field_types: Vec<u32>,
}

/// The deepest that types are made of others before it is given up: they can't be circular, but nothing here relies on
/// it.
const MAX_DEPTH: usize = 64;

/// Puts the rows together. A type that is in none of them is known by its OID alone.
#[must_use]
pub fn build(oid: u32, rows: &[Row]) -> SourceType {
    let rows: HashMap<u32, &Row> = rows.iter().map(|row| (row.oid, row)).collect();
    part(oid, &rows, 0)
}

fn part(oid: u32, rows: &HashMap<u32, &Row>, depth: usize) -> SourceType {
    let row = match rows.get(&oid) {
        Some(row) if oid >= FIRST_UNKNOWN_OID && depth < MAX_DEPTH => *row,
        _ => return SourceType::of_oid(oid),
    };
    let inner = |oid| part(oid, rows, depth + 1);
    match row.kind.as_str() {
        "a" => SourceType::Array {
            element: Box::new(inner(row.of)),
            delimiter: row.delimiter.bytes().next().unwrap_or(b','),
        },
        "d" => SourceType::Domain { base: Box::new(inner(row.of)), modifier: row.modifier },
        "c" => {
            let fields = row.field_names.iter().zip(&row.field_types);
            SourceType::Composite(
                fields.map(|(name, &oid)| Field { name: name.clone(), ty: inner(oid) }).collect(),
            )
        }
        "e" => SourceType::Enum,
        "r" | "m" => SourceType::Range,
        _ => SourceType::Extension(row.name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(oid: u32, kind: &str, of: u32) -> Row {
        Row {
            oid,
            name: format!("type_{oid}"),
            kind: kind.to_owned(),
            of,
            modifier: -1,
            delimiter: ",".to_owned(),
            field_names: vec![],
            field_types: vec![],
        }
    }

    #[test]
    fn types_are_made_of_others() {
        let point = Row {
            field_names: vec!["x".to_owned(), "tags".to_owned()],
            field_types: vec![20_003, 1009],
            ..row(20_001, "c", 0)
        };
        let rows = [
            row(20_000, "a", 20_001),
            point,
            Row { modifier: 7, ..row(20_003, "d", 1700) },
            row(1700, "b", 0),
        ];
        let amount = SourceType::Domain { base: Box::new(SourceType::Oid(1700)), modifier: 7 };
        let tags = SourceType::Array { element: Box::new(SourceType::Oid(25)), delimiter: b',' };
        let fields = [("x", amount), ("tags", tags)].map(|(name, ty)| Field { name: name.to_owned(), ty });
        let element = Box::new(SourceType::Composite(fields.into()));
        assert_eq!(build(20_000, &rows), SourceType::Array { element, delimiter: b',' });
        assert_eq!(build(20_009, &rows), SourceType::Oid(20_009), "gone");
    }

    #[test]
    fn a_circle_ends() {
        let rows = [row(20_000, "a", 20_001), row(20_001, "d", 20_000)];
        let SourceType::Array { .. } = build(20_000, &rows) else { panic!("not an array") };
    }
}
