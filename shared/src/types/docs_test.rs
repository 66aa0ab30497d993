//! Holds `docs/types.md` and the type map together.

use std::collections::{BTreeMap, BTreeSet};

use super::{JsonForm, RedshiftType, TypeMapping, ValueClass, map_type};

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

/// The first table's rows: each PostgreSQL type with the Redshift type beside it.
fn written() -> BTreeMap<&'static str, &'static str> {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with("| PostgreSQL ")).skip(2);
    let mut written = BTreeMap::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.split('|').collect();
        // A code span is every second piece between backticks.
        let redshift = cells[2].split('`').nth(1).unwrap();
        for name in cells[1].split('`').skip(1).step_by(2) {
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
