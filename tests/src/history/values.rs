//! Values: literals and expressions of every kind of column, the odd ones often.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::keys::quoted;

/// Texts that quoting, NULL markers, encodings or trimming get wrong somewhere.
const ODD_TEXTS: [&str; 25] = [
    "",
    " ",
    "a ",
    " a",
    "NULL",
    "null",
    "\\N",
    "\\",
    "\\\\",
    "\"",
    "\"\"",
    ",",
    "a,b,\"c\"",
    "line\nbreak",
    "\r\n",
    "\r",
    "\ttab\t",
    "it's",
    "ünïcödé ß",
    "e\u{301}\u{200d}",
    "😀🏳️‍🌈",
    "\u{feff}bom",
    "\u{1}\u{7f}",
    "\u{a0}",
    "unchanged-toast-datum",
];

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `integer`, small numbers.
    Integer,
    SmallInt,
    Bigint,
    Boolean,
    Real,
    Double,
    Decimal,
    Numeric,
    Money,
    Text,
    Varchar,
    Char,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Uuid,
    Bytea,
    Jsonb,
    IntegerArray,
    TextArray,
    /// An enum of the schema's.
    Mood,
    /// `text`, stored outside of the row as it is when it is long.
    Toast,
    /// `text`, compressed first.
    CompressedToast,
    /// `jsonb`, stored outside of the row.
    ToastJsonb,
    /// `bytea`, stored outside of the row.
    ToastBytea,
}

impl Kind {
    /// The column's type.
    pub(super) fn sql_type(self) -> &'static str {
        match self {
            Kind::Integer => "integer",
            Kind::SmallInt => "smallint",
            Kind::Bigint => "bigint",
            Kind::Boolean => "boolean",
            Kind::Real => "real",
            Kind::Double => "double precision",
            Kind::Decimal => "numeric(20,5)",
            Kind::Numeric => "numeric",
            Kind::Money => "money",
            Kind::Text | Kind::Toast | Kind::CompressedToast => "text",
            Kind::Varchar => "varchar(60)",
            Kind::Char => "char(8)",
            Kind::Date => "date",
            Kind::Time => "time",
            Kind::Timestamp => "timestamp",
            Kind::Timestamptz => "timestamptz",
            Kind::Interval => "interval",
            Kind::Uuid => "uuid",
            Kind::Bytea | Kind::ToastBytea => "bytea",
            Kind::Jsonb | Kind::ToastJsonb => "jsonb",
            Kind::IntegerArray => "integer[]",
            Kind::TextArray => "text[]",
            Kind::Mood => "mood",
        }
    }

    /// May its values be stored outside of the row?
    pub(super) fn is_toast(self) -> bool {
        matches!(self, Kind::Toast | Kind::CompressedToast | Kind::ToastJsonb | Kind::ToastBytea)
    }

    /// Is it stored outside of the row without being compressed first?
    pub(super) fn is_external(self) -> bool {
        self.is_toast() && self != Kind::CompressedToast
    }

    /// A value, NULL now and then, as an SQL expression.
    pub(super) fn value(self, random: &mut StdRng) -> String {
        if random.random_bool(0.1) {
            return "NULL".to_owned();
        }
        let n: i64 = random.random_range(0..1_000_000);
        match self {
            Kind::Integer => pick(random, &["0", "-2147483648", "2147483647"]).unwrap_or(n.to_string()),
            Kind::SmallInt => (n % 65_536 - 32_768).to_string(),
            Kind::Bigint => pick(random, &["9223372036854775807", "-9223372036854775808"])
                .unwrap_or(format!("-{n}000000")),
            Kind::Boolean => (n % 2 == 0).to_string(),
            Kind::Real | Kind::Double => {
                pick(random, &["'NaN'", "'Infinity'", "'-0'", "1e-30"]).unwrap_or(format!("{n}.{n}"))
            }
            Kind::Decimal => {
                pick(random, &["'NaN'", "999999999999999.99999"]).unwrap_or(format!("-{n}.{}", n % 1000))
            }
            Kind::Numeric => {
                pick(random, &["'NaN'", "1e40", "0.000", "1.10", "1.1"]).unwrap_or(format!("{n}.{n}"))
            }
            Kind::Money => format!("{n}.25::numeric::money"),
            Kind::Text => text(random),
            Kind::Varchar => quoted(odd_text(random)),
            Kind::Char => format!("left({}, 8)", quoted(odd_text(random))),
            Kind::Date => pick(random, &["'infinity'", "'0044-03-15 BC'"])
                .unwrap_or(format!("'2000-01-01'::date + {}", n % 9_000)),
            Kind::Time => format!("'00:00'::time + '{n} ms'"),
            Kind::Timestamp => pick(random, &["'-infinity'"])
                .unwrap_or(format!("'2024-02-29 12:00'::timestamp + '{n} s {n} us'")),
            Kind::Timestamptz => pick(random, &["'infinity'"])
                .unwrap_or(format!("'2024-10-27 00:30+00'::timestamptz + '{n} s {n} us'")),
            Kind::Interval => format!("'{} months {n} s'::interval", n % 30),
            Kind::Uuid => format!("'{n:08x}-ffff-4fff-8fff-ffffffffffff'"),
            Kind::Bytea => pick(random, &["''", "'\\x00'"]).unwrap_or(format!("'\\x{n:08x}'")),
            Kind::Jsonb => json(random),
            Kind::IntegerArray => {
                pick(random, &["'{}'", "'{{1,2},{3,4}}'"]).unwrap_or(format!("ARRAY[{n}, NULL, -1]"))
            }
            Kind::TextArray => {
                format!("ARRAY[{}, NULL, {}]", quoted(odd_text(random)), quoted(odd_text(random)))
            }
            Kind::Mood => format!("'{}'", ["sad", "ok", "so, so \"happy\""][random.random_range(0..3)]),
            Kind::Toast => match random.random_range(0..10) {
                0..=1 => text(random),
                2 => format!("repeat({}, {})", quoted("wide ü "), 500 + n % 500),
                _ => incompressible(random),
            },
            Kind::CompressedToast => match random.random_range(0..4) {
                0 => text(random),
                1 => format!("repeat('{n} ', 6000)"),
                _ => incompressible(random),
            },
            Kind::ToastJsonb => match random.random_range(0..4) {
                0 => json(random),
                _ => format!("jsonb_build_object('n', {n}, 'blob', {})", incompressible(random)),
            },
            Kind::ToastBytea => match random.random_range(0..4) {
                0 => "'\\xdeadbeef'".to_owned(),
                _ => format!("convert_to({}, 'UTF8')", incompressible(random)),
            },
        }
    }
}

/// One of the odd values, a third of the time.
fn pick(random: &mut StdRng, odd: &[&str]) -> Option<String> {
    if random.random_bool(0.33) { odd.choose(random).map(|&value| value.to_owned()) } else { None }
}

fn odd_text(random: &mut StdRng) -> &'static str {
    ODD_TEXTS.choose(random).copied().unwrap_or_default()
}

fn text(random: &mut StdRng) -> String {
    match random.random_range(0..4) {
        0 => quoted(&format!("plain {}", random.next_u32())),
        // Longer than any column there: cut, and counted.
        1 if random.random_bool(0.03) => format!("repeat('é{}', 9000)", random.random_range(0..100_000)),
        1 => format!("repeat({}, {})", quoted(odd_text(random)), random.random_range(1..20)),
        _ => quoted(odd_text(random)),
    }
}

fn json(random: &mut StdRng) -> String {
    let n: u32 = random.random_range(0..1000);
    pick(random, &["'null'", "'\"\"'", "'[]'", "'{\"a\": null}'"]).unwrap_or(format!(
        "jsonb_build_object('k', {}::text, 'n', {n}.50, 'list', '[1, [true]]'::jsonb)",
        quoted(odd_text(random))
    ))
}

/// 2 kB to 12 kB that do not compress, so that they leave the row.
fn incompressible(random: &mut StdRng) -> String {
    let (salt, pieces) = (random.next_u32(), random.random_range(70..380));
    format!("blob({pieces}, '{salt:08x}')")
}
