//! Holds `docs/types.md` and the type map together.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ColumnRules, Field, JsonForm, RedshiftType, SourceType, TypeMapping, ValueClass, map_column, map_type,
};

const PAGE: &str = include_str!("../../../docs/types.md");

/// The types that the page names, with `pg_type.oid` and `pg_attribute.atttypmod`.
const TYPES: &[(&str, u32, i32)] = &[
    ("boolean", 16, -1),
    ("smallint", 21, -1),
    ("integer", 23, -1),
    ("bigint", 20, -1),
    ("real", 700, -1),
    ("double precision", 701, -1),
    ("numeric", 1700, -1),
    ("numeric(18,4)", 1700, numeric(18, 4)),
    ("numeric(19,4)", 1700, numeric(19, 4)),
    ("numeric(5,-2)", 1700, numeric(5, -2)),
    ("numeric(3,5)", 1700, numeric(3, 5)),
    ("numeric(39,2)", 1700, numeric(39, 2)),
    ("numeric(38,38)", 1700, numeric(38, 38)),
    ("money", 790, -1),
    ("varchar(10)", 1043, 14),
    ("varchar(20000)", 1043, 20_004),
    ("char(10)", 1042, 14),
    ("text", 25, -1),
    ("varchar", 1043, -1),
    ("\"char\"", 18, -1),
    ("name", 19, -1),
    ("bytea", 17, -1),
    ("date", 1082, -1),
    ("time", 1083, -1),
    ("timetz", 1266, -1),
    ("timestamp", 1114, -1),
    ("timestamptz", 1184, -1),
    ("interval", 1186, -1),
    ("uuid", 2950, -1),
    ("inet", 869, -1),
    ("cidr", 650, -1),
    ("macaddr", 829, -1),
    ("macaddr8", 774, -1),
    ("oid", 26, -1),
    ("xid", 28, -1),
    ("cid", 29, -1),
    ("pg_lsn", 3220, -1),
    ("xid8", 5069, -1),
    ("tid", 27, -1),
    ("json", 114, -1),
    ("jsonb", 3802, -1),
    ("integer[]", 1007, -1),
    ("text[]", 1009, -1),
    ("jsonb[]", 3807, -1),
    ("timestamptz[]", 1185, -1),
    ("numeric[]", 1231, -1),
    ("box[]", 1020, -1),
    ("bit(4)", 1560, 4),
    ("bit varying(9)", 1562, 9),
    ("bit varying", 1562, -1),
    ("int4range", 3904, -1),
    ("int8range", 3926, -1),
    ("daterange", 3912, -1),
    ("tsrange", 3908, -1),
    ("tstzrange", 3910, -1),
    ("point", 600, -1),
    ("line", 628, -1),
    ("lseg", 601, -1),
    ("box", 603, -1),
    ("circle", 718, -1),
    ("xml", 142, -1),
    ("tsvector", 3614, -1),
    ("path", 602, -1),
    ("numrange", 3906, -1),
    ("int4multirange", 4451, -1),
    ("regclass", 2205, -1),
];

/// `numeric(p,s)`'s modifier.
const fn numeric(precision: i32, scale: i32) -> i32 {
    ((precision << 16) | (scale & 0x7FF)) + 4
}

/// The policies' keys, all of which the page speaks of.
const POLICIES: [&str; 7] =
    ["nan", "inexact_numeric", "date", "end_of_day", "long_text", "long_bytes", "json"];

/// The rows of the table with this heading, without its head.
fn rows(heading: &str) -> impl Iterator<Item = Vec<&'static str>> {
    let rows = PAGE.lines().skip_while(move |line| !line.starts_with(heading)).skip(2);
    rows.take_while(|line| line.starts_with('|')).map(|row| row.split('|').collect())
}

/// A code span is every second piece between backticks.
fn code(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

/// The first table's rows: each PostgreSQL type with the Redshift type beside it.
fn written() -> BTreeMap<&'static str, &'static str> {
    let mut written = BTreeMap::new();
    for cells in rows("| PostgreSQL ") {
        let redshift = code(cells[2]).next().unwrap();
        for name in code(cells[1]) {
            assert_eq!(written.insert(name, redshift), None, "{name} is in the page twice");
        }
    }
    written
}

#[test]
fn every_type_of_the_page_is_mapped_as_written() {
    let types: BTreeMap<_, _> = TYPES.iter().map(|&(name, oid, modifier)| (name, (oid, modifier))).collect();
    for (name, redshift) in written() {
        let &(oid, modifier) = types.get(name).unwrap_or_else(|| panic!("add {name} to this test's list"));
        assert_eq!(map_type(oid, modifier).redshift.to_string(), redshift, "{name}");
    }
}

#[test]
fn every_mapped_type_is_in_the_page() {
    let written = written();
    let mut known = BTreeSet::new();
    for &(name, oid, _) in TYPES {
        assert!(written.contains_key(name), "{name} is not in docs/types.md");
        known.insert(oid);
    }
    let unlisted = TypeMapping { redshift: RedshiftType::VARCHAR_MAX, class: ValueClass::Text };
    // Built-in types have OIDs below 10,000.
    // Arrays of the page's elements go without saying.
    let array = |oid| matches!(map_type(oid, -1).class, ValueClass::Structure(JsonForm::Array { .. }));
    let forgotten =
        (1..10_000).find(|&oid| map_type(oid, -1) != unlisted && !array(oid) && !known.contains(&oid));
    assert_eq!(forgotten, None, "a mapped type by its OID");
}

/// The keys of the policies that a column's values may meet.
fn policies(mapping: &TypeMapping, is_numeric: bool) -> BTreeSet<&'static str> {
    let longest = mapping.redshift == RedshiftType::VARCHAR_MAX;
    let keys: &[&str] = match mapping.class {
        ValueClass::Text if is_numeric => &["inexact_numeric", "nan"],
        ValueClass::Text if longest => &["long_text"],
        ValueClass::Verbatim if mapping.redshift == RedshiftType::Time => &["end_of_day"],
        ValueClass::Verbatim | ValueClass::Text => &[],
        ValueClass::Float | ValueClass::Numeric | ValueClass::Money => &["nan"],
        ValueClass::Decimal => &["inexact_numeric", "nan"],
        ValueClass::Date | ValueClass::Timestamp | ValueClass::TimestampTz => &["date"],
        ValueClass::TimeTz => &["date", "end_of_day"],
        ValueClass::Bytea | ValueClass::Geometry => &["long_bytes"],
        ValueClass::Json | ValueClass::Hstore | ValueClass::Structure(_) => &["json"],
    };
    keys.iter().copied().collect()
}

#[test]
fn every_policy_of_the_page_is_its_types() {
    let types: BTreeMap<_, _> = TYPES.iter().map(|&(name, oid, modifier)| (name, (oid, modifier))).collect();
    let mut above = BTreeSet::new();
    for cells in rows("| PostgreSQL ") {
        let mut told: BTreeSet<_> = code(cells[3]).filter(|key| POLICIES.contains(key)).collect();
        if cells[3].contains("as above") {
            told.append(&mut above.clone());
        }
        above.clone_from(&told);
        for name in code(cells[1]) {
            let (oid, modifier) = types[name];
            let meets = policies(&map_type(oid, modifier), oid == 1700);
            assert_eq!(told, meets, "what becomes of {name}");
        }
    }
}

#[test]
fn the_sources_own_types_are_mapped_as_written() {
    let text = SourceType::Oid(25);
    let array =
        |element: &SourceType| SourceType::Array { element: Box::new(element.clone()), delimiter: b',' };
    let domain = SourceType::Domain { base: Box::new(SourceType::Oid(1700)), modifier: numeric(9, 2) };
    let over_array = SourceType::Domain { base: Box::new(array(&text)), modifier: -1 };
    let composite = SourceType::Composite(vec![Field { name: "a".into(), ty: domain.clone() }]);
    let extension = |name: &str| SourceType::Extension(name.into());
    let mapped = |ty: &SourceType| map_column(ty, -1, false, &ColumnRules::default()).unwrap().redshift;
    let mut told = BTreeSet::new();
    for cells in rows("| of the source's own ") {
        let what = cells[1].trim();
        let types = match what {
            "enum" => vec![SourceType::Enum],
            "composite" => vec![composite.clone()],
            "array of any of these" => {
                let own = [SourceType::Enum, domain.clone(), composite.clone(), over_array.clone()];
                own.iter().map(array).collect()
            }
            "range" => vec![SourceType::Range],
            "`hstore`" => vec![extension("hstore")],
            "PostGIS's `geometry`, `geography`" => vec![extension("geometry"), extension("geography")],
            "any other extension's" => vec![extension("ltree")],
            "domain" => {
                assert_eq!(mapped(&domain).to_string(), "DECIMAL(9,2)");
                assert_eq!(mapped(&over_array), RedshiftType::Super);
                let over_domain = SourceType::Domain { base: Box::new(domain.clone()), modifier: -1 };
                assert_eq!(mapped(&over_domain).to_string(), "DECIMAL(9,2)");
                vec![]
            }
            other => panic!("add {other} to this test"),
        };
        let redshift: Vec<_> = code(cells[2]).collect();
        for (at, ty) in types.iter().enumerate() {
            let written = redshift.get(at).or(redshift.first()).unwrap();
            assert_eq!(mapped(ty).to_string(), **written, "{what}");
        }
        told.insert(what);
    }
    assert_eq!(told.len(), 8, "{told:?}");
}
