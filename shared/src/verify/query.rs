//! The question in SQL, the same for both databases but for the words that they have for some functions.
//!
//! A query of queries, from the inside: the values; their texts; what floats take in between; the hashes of the row and of
//! its key; numbers made of these; and the groups.

use std::collections::HashMap;

use super::form::Float;
use super::{Ask, By, Form, Group, Range};
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

/// A quoted name.
const NAME_LENGTH: usize = 150;

/// What of a statement's length columns may take.
const COLUMNS_LENGTH: usize = 70_000;

/// Half of a row's greatest size as CSV, where quotes may double: a wider one may have lost values, and that is counted.
const WIDE_BYTES: usize = 1_900_000;

/// Groups of rows of `table`, as far as a condition holds: id, rows, two sums as text, and, as asked for, the key; for
/// the source also how many of the rows may be too wide for Redshift. `keyed`: rows are grouped by their key.
///
/// More than one query if the columns are too many for one: each about the key and some of the others, the same for both
/// databases. [`join`] puts together what they give. Rows without a key can't be put together: there it is one in any case.
#[must_use]
pub fn queries(
    dialect: Dialect,
    from: (&str, Option<&str>),
    values: &[Value],
    keyed: bool,
    ask: &Ask,
) -> Vec<String> {
    // Whatever its name is: the parts have to be the same for both.
    let length = |value: &Value| value.form.length() + NAME_LENGTH;
    let mut parts: Vec<Vec<Value>> = Vec::new();
    let key: Vec<_> = values.iter().filter(|value| value.key).cloned().collect();
    let of_key: usize = key.iter().map(length).sum();
    let mut used = usize::MAX;
    for value in values.iter().filter(|value| !value.key || !keyed) {
        let is_full = keyed && used.saturating_add(length(value)) > COLUMNS_LENGTH;
        if parts.is_empty() || is_full {
            parts.push(if keyed { key.clone() } else { Vec::new() });
            used = of_key;
        }
        used += length(value);
        if let Some(part) = parts.last_mut() {
            part.push(value.clone());
        }
    }
    if parts.is_empty() {
        parts.push(key);
    }
    let wide = WIDE_BYTES / parts.len();
    parts.iter().map(|part| query(dialect, from, part, (keyed, wide), ask)).collect()
}

/// What all queries for a table give together.
#[must_use]
pub fn join(parts: Vec<Vec<(Group, u64)>>) -> Vec<(Group, u64)> {
    let mut parts = parts.into_iter();
    let mut groups = parts.next().unwrap_or_default();
    for part in parts {
        let mut part: HashMap<_, _> =
            part.into_iter().map(|(group, wide)| (group.id.clone(), (group, wide))).collect();
        for (group, wide) in &mut groups {
            let Some((other, more)) = part.remove(&group.id) else { continue };
            for (sum, other) in group.sums.iter_mut().zip(other.sums) {
                sum.push('/');
                sum.push_str(&other);
            }
            *wide += more;
        }
    }
    groups
}

fn query(
    dialect: Dialect,
    (table, condition): (&str, Option<&str>),
    values: &[Value],
    (keyed, wide_bytes): (bool, usize),
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

    let list: Vec<_> = numbered()
        .map(|(at, value)| format!("{} AS {}", value.form.taken(dialect, &value.expression), name('v', at)))
        .collect();
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
        list.push(format!("{} AS \"w\"", is_wide(values, wide_bytes)));
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
fn is_wide(values: &[Value], bytes: usize) -> String {
    let width = |(at, value): (usize, &Value)| match value.form {
        Form::Text | Form::PaddedText | Form::Json => Some(format!("COALESCE(octet_length(\"v{at}\"), 0)")),
        Form::Bytes => Some(format!("2 * COALESCE(octet_length(\"v{at}\"), 0)")),
        _ => None,
    };
    let widths: Vec<_> = values.iter().enumerate().filter_map(width).collect();
    if widths.is_empty() {
        return "false".to_owned();
    }
    format!("{} > {bytes}", widths.join(" + "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_take_a_wide_table_apart_in_one_way_and_put_it_together_again() {
        let value = |name: String, form, key| Value {
            column: name.clone(),
            redshift_type: RedshiftType::Super,
            expression: name,
            form,
            key,
        };
        let values = |prefix: &str| -> Vec<_> {
            (0..50).map(|at| value(format!("{prefix}{at}"), Form::Json, at == 3)).collect()
        };
        let ask = Ask { ranges: Vec::new(), within: None, by: By::Buckets(1) };
        let parts = |dialect, prefix: &str| -> Vec<usize> {
            let all = queries(dialect, ("t", None), &values(prefix), true, &ask);
            all.iter().map(|sql| sql.matches(&format!("({prefix}")).count()).collect()
        };
        let theirs = parts(Dialect::Redshift, "c");
        assert_eq!(parts(Dialect::Source, "a_long_name_of_a_column_"), theirs);
        assert!(theirs.len() > 2 && theirs.iter().sum::<usize>() == 49 + theirs.len(), "{theirs:?}");
        assert_eq!(queries(Dialect::Source, ("t", None), &values("c"), false, &ask).len(), 1);

        let group = |id: &str, sum: &str| Group {
            id: id.into(),
            rows: 2,
            sums: [sum.into(), "0".into()],
            shown: None,
        };
        let joined = join(vec![
            vec![(group("1", "5"), 0), (group("2", "6"), 1)],
            vec![(group("2", "7"), 1), (group("1", "8"), 0)],
        ]);
        let sums: Vec<_> = joined.iter().map(|(group, wide)| (group.sums[0].as_str(), *wide)).collect();
        assert_eq!(sums, [("5/8", 0), ("6/7", 2)]);
    }
}
