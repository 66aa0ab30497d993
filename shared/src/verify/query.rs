//! The question in SQL, the same for both databases but for the words that they have for some functions.
//!
//! A query of queries, from the inside: the values; their texts; what floats take in between; the hashes of the row and of
//! its key; numbers made of these; and the groups.

use super::form::Float;
use super::{Ask, By, Form, Range};
use crate::types::RedshiftType;

/// Whom the SQL is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Source,
    /// Redshift.
    Redshift,
}

/// A column that is compared.
#[derive(Clone, Debug)]
pub struct Value {
    /// Itself.
    pub column: String,
    /// Its type in Redshift.
    pub redshift_type: RedshiftType,
    /// Its value as it is printed in `form`.
    pub expression: String,
    /// How it is printed.
    pub form: Form,
    /// Part of the key.
    pub key: bool,
}

/// Columns whose texts are joined into one: no more of them than surely make less than the longest VARCHAR.
const JOINED: usize = 400;

/// Half of a row's greatest size as CSV, where quotes may double: a wider one may have lost values, and that is counted.
const WIDE_BYTES: u32 = 1_900_000;

/// Groups of rows of `table`, as far as a condition holds: id, rows, two sums as text, and, as asked for, the key; for
/// the source also how many of the rows may be too wide for Redshift. `keyed`: rows are grouped by their key.
#[must_use]
pub fn query(
    dialect: Dialect,
    (table, condition): (&str, Option<&str>),
    values: &[Value],
    keyed: bool,
    ask: &Ask,
) -> String {
    let ranged = values.iter().enumerate().find(|(_, value)| value.key);
    let ranges = ranged.filter(|_| !ask.ranges.is_empty()).map(|(_, value)| {
        let ranges: Vec<_> = ask.ranges.iter().map(|range| within(value, range)).collect();
        ranges.join(" OR ")
    });
    let conditions: Vec<_> = condition
        .map(str::to_owned)
        .into_iter()
        .chain(ranges)
        .map(|condition| format!("({condition})"))
        .collect();
    let conditions =
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let shows = matches!(ask.by, By::Keys { shown: true, .. });
    let wide = dialect == Dialect::Source;
    let name = |letter: char, position: usize| format!("\"{letter}{position}\"");
    let is_float = |value: &&Value| value.form == Form::Float;
    let numbered = || values.iter().enumerate();

    let list: Vec<_> =
        numbered().map(|(at, value)| format!("{} AS {}", value.expression, name('v', at))).collect();
    // PostgreSQL would work each value out as often as it is used.
    let once = if dialect == Dialect::Source { " OFFSET 0" } else { "" };
    let mut sql = format!("SELECT {} FROM {table}{conditions}{once}", list.join(", "));

    let mut list = Vec::new();
    for (at, value) in numbered() {
        let v = name('v', at);
        if value.form == Form::Float {
            list.push(format!("{} AS {}", Float::half_scale(&v), name('h', at)));
            list.push(v);
        } else {
            list.push(format!("{} AS {}", piece(&value.form.text(dialect, &v)), name('p', at)));
        }
    }
    let range = match (&ask.by, ranged) {
        (By::Ranges(bounds), Some((at, value))) => Some(number_of_range(&name('v', at), value, bounds)),
        (By::Ranges(_), None) => Some("'0'".to_owned()),
        _ => None,
    };
    if let Some(range) = &range {
        list.push(format!("{range} AS \"g\""));
    }
    if shows {
        list.push(format!("{} AS \"kt\"", shown(dialect, values)));
    }
    if wide {
        list.push(format!("{} AS \"w\"", is_wide(values)));
    }
    sql = format!("SELECT {} FROM ({sql}) AS \"a\"", list.join(", "));
    let mut rest = String::new();
    if range.is_some() {
        rest.push_str(", \"g\"");
    }
    if shows {
        rest.push_str(", \"kt\"");
    }
    if wide {
        rest.push_str(", \"w\"");
    }

    if values.iter().any(|value| is_float(&value)) {
        let mut list = Vec::new();
        for (at, value) in numbered() {
            if value.form == Form::Float {
                let (v, h, y) = (name('v', at), name('h', at), name('y', at));
                list.extend([format!("{} AS {y}", Float::scaled(&v, &h)), v, h]);
            } else {
                list.push(name('p', at));
            }
        }
        sql = format!("SELECT {}{rest} FROM ({sql}) AS \"b\"", list.join(", "));
    }

    let pieces: Vec<_> = numbered()
        .map(|(at, value)| match value.form {
            Form::Float => piece(&Float::text(&name('v', at), &name('h', at), &name('y', at))),
            _ => name('p', at),
        })
        .collect();
    let row = hash(&pieces);
    let key = if keyed {
        let of_key = numbered().filter(|(_, value)| value.key).map(|(at, _)| pieces[at].clone());
        hash(&of_key.collect::<Vec<_>>())
    } else {
        row.clone()
    };
    sql = format!("SELECT {key} AS \"k\", {row} AS \"r\"{rest} FROM ({sql}) AS \"c\"");
    sql = format!(
        "SELECT \"k\", {} AS \"n\", {} AS \"s1\", {} AS \"s2\"{rest} FROM ({sql}) AS \"d\"",
        number(dialect, "\"k\"", 1),
        number(dialect, "\"r\"", 1),
        number(dialect, "\"r\"", 16),
    );
    let (id, limit) = match &ask.by {
        By::Ranges(_) => ("\"g\"".to_owned(), String::new()),
        By::Buckets(of) => (format!("CAST(MOD(\"n\", {of}) AS VARCHAR(20))"), String::new()),
        By::Keys { most, .. } => ("\"k\"".to_owned(), format!(" ORDER BY 1 LIMIT {most}")),
    };
    let sum = |part: &str| format!("CAST(SUM({part}) AS VARCHAR(40))");
    let kt = if shows { ", MAX(\"kt\")" } else { "" };
    let w = if wide { ", COUNT(*) FILTER (WHERE \"w\")" } else { "" };
    let within = ask.within.as_ref().map_or_else(String::new, |within| {
        let buckets: Vec<_> = within.buckets.iter().map(u64::to_string).collect();
        format!(" WHERE MOD(\"n\", {}) IN ({})", within.of, buckets.join(", "))
    });
    format!(
        "SELECT {id}, COUNT(*), {}, {}{kt}{w} FROM ({sql}) AS \"e\"{within} GROUP BY 1{limit}",
        sum("\"s1\""),
        sum("\"s2\"")
    )
}

/// The condition for a range of the column.
fn within(value: &Value, range: &Range) -> String {
    let bound = |operator: &str, bound: &Option<String>| {
        bound
            .as_ref()
            .map(|text| format!("{} {operator} {}", value.column, bound_literal(value.redshift_type, text)))
    };
    let conditions: Vec<_> =
        [bound(">=", &range.from), bound("<", &range.before)].into_iter().flatten().collect();
    if conditions.is_empty() { "1 = 1".to_owned() } else { conditions.join(" AND ") }
}

/// The range that a value lies in.
fn number_of_range(v: &str, value: &Value, bounds: &[String]) -> String {
    let bound = |text: &String| bound_literal(value.redshift_type, text);
    let arms: Vec<_> = bounds
        .iter()
        .enumerate()
        .map(|(number, text)| format!(" WHEN {v} < {} THEN '{number}'", bound(text)))
        .collect();
    match arms.len() {
        0 => "'0'".to_owned(),
        last => format!("CASE{} ELSE '{last}' END", arms.concat()),
    }
}

/// A bound in both databases' words. It has nothing in it but what such values have.
fn bound_literal(ty: RedshiftType, text: &str) -> String {
    let plain: String = text.chars().filter(|c| c.is_ascii_digit() || " -+:.".contains(*c)).collect();
    match ty {
        RedshiftType::Date | RedshiftType::Time | RedshiftType::Timestamp | RedshiftType::TimestampTz => {
            format!("CAST('{plain}' AS {ty})")
        }
        _ => plain,
    }
}

/// A value's text in a row's: NULL's is no value's.
fn piece(text: &str) -> String {
    format!("COALESCE('v' || {}, 'n')", parenthesized(text))
}

fn parenthesized(expression: &str) -> String {
    format!("({expression})")
}

fn hash(pieces: &[String]) -> String {
    let mut hashes: Vec<_> =
        pieces.chunks(JOINED).map(|some| format!("MD5({})", some.join(" || '|' || "))).collect();
    match hashes.len() {
        0 => "MD5('')".to_owned(),
        1 => hashes.remove(0),
        _ => format!("MD5({})", hashes.join(" || ")),
    }
}

/// Fifteen hex digits of a hash, from one on, as a number.
fn number(dialect: Dialect, hash: &str, from: u8) -> String {
    match dialect {
        Dialect::Redshift => format!("STRTOL(SUBSTRING({hash}, {from}, 15), 16)"),
        Dialect::Source => format!("('x' || substring({hash}, {from}, 15))::bit(60)::bigint"),
    }
}

/// The key's values for people.
fn shown(dialect: Dialect, values: &[Value]) -> String {
    let text = |(at, value): (usize, &Value)| {
        let v = format!("\"v{at}\"");
        let text = match value.form {
            Form::Text | Form::PaddedText => format!("LEFT({v}, 200)"),
            Form::Bytes | Form::Json | Form::Float => "'(not shown)'".to_owned(),
            form => form.text(dialect, &v),
        };
        format!("COALESCE({}, 'NULL')", parenthesized(&text))
    };
    let key: Vec<_> = values.iter().enumerate().filter(|(_, value)| value.key).map(text).collect();
    if key.is_empty() { "''".to_owned() } else { key.join(" || ', ' || ") }
}

/// Whether the row may be wider than what is loaded of one.
fn is_wide(values: &[Value]) -> String {
    let width = |(at, value): (usize, &Value)| match value.form {
        Form::Text | Form::PaddedText | Form::Json => Some(format!("COALESCE(octet_length(\"v{at}\"), 0)")),
        Form::Bytes => Some(format!("2 * COALESCE(octet_length(\"v{at}\"), 0)")),
        _ => None,
    };
    let widths: Vec<_> = values.iter().enumerate().filter_map(width).collect();
    if widths.is_empty() {
        return "false".to_owned();
    }
    format!("{} > {WIDE_BYTES}", widths.join(" + "))
}
