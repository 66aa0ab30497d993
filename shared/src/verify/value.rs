//! A value of the source as Redshift should have it: SQL that does what the declared policies do, and which columns can be
//! compared at all.

use super::Form;
use crate::types::{ColumnRules, JsonForm, Policy, RedshiftType, TypeMapping, ValueClass};

/// Longest string within a SUPER, in bytes (`redshift.md`, 2.1).
const SUPER_STRING_BYTES: u32 = 65_535;

/// A column of the source.
#[derive(Clone, Copy, Debug)]
pub struct SourceColumn<'a> {
    /// `pg_type.oid` behind domains; 0 if it says nothing.
    pub type_oid: u32,
    /// What becomes of it.
    pub mapping: &'a TypeMapping,
    /// What the configuration says of it.
    pub rules: &'a ColumnRules,
}

/// How the column's values are printed.
///
/// # Errors
/// Why they can't be compared exactly.
pub fn form(column: SourceColumn<'_>) -> Result<Form, &'static str> {
    use RedshiftType as R;
    match column.mapping.redshift {
        R::Boolean => Ok(Form::Boolean),
        R::SmallInt | R::Integer | R::BigInt => Ok(Form::Integer),
        R::Decimal { .. } => Ok(Form::Decimal),
        R::Real | R::DoublePrecision => Ok(Form::Float),
        R::Date => Ok(Form::Date),
        R::Timestamp => Ok(Form::Timestamp),
        R::TimestampTz => Ok(Form::TimestampTz),
        R::Time => Ok(Form::Time),
        R::TimeTz => Ok(Form::TimeTz),
        R::Varchar(_) if column.type_oid == BPCHAR => Ok(Form::PaddedText),
        R::Varchar(_) => Ok(Form::Text),
        R::Varbyte(_) => Ok(Form::Bytes),
        R::Super => match &column.mapping.class {
            ValueClass::Json if column.type_oid == JSONB => Ok(Form::Json),
            ValueClass::Json => Err("the type json keeps blanks and the order of keys, SUPER need not"),
            ValueClass::Structure(structure) if is_plain_array(structure) => Ok(Form::Json),
            _ => Err("an object's keys need not come back from SUPER in the order in which they went there"),
        },
        R::Geometry | R::Geography => Err("shapes have no documented text that both databases print"),
    }
}

const JSONB: u32 = 3802;
const BPCHAR: u32 = 1042;

fn is_plain_array(structure: &JsonForm) -> bool {
    match structure {
        JsonForm::Array { element, .. } => match &**element {
            JsonForm::Json | JsonForm::Hstore | JsonForm::Composite(_) => false,
            JsonForm::Array { .. } => is_plain_array(element),
            _ => true,
        },
        _ => false,
    }
}

/// The value that is printed in its [`Form`]; `c` is the quoted column.
#[must_use]
pub fn source_value(column: SourceColumn<'_>, c: &str) -> String {
    let SourceColumn { mapping, rules, .. } = column;
    match &mapping.class {
        ValueClass::Verbatim => match mapping.redshift {
            RedshiftType::Varchar(_) => printed(c),
            RedshiftType::Time => end_of_day(rules, c),
            _ => c.to_owned(),
        },
        ValueClass::Text => {
            let text = if is_character(column.type_oid) { format!("{c}::text") } else { printed(c) };
            match (mapping.redshift, rules.long_text) {
                (RedshiftType::Varchar(bytes), Policy::Truncate) => cut(&text, bytes),
                // Where it does not fit the table stands still.
                (RedshiftType::Varchar(bytes), policy) if policy != Policy::Quarantine => {
                    format!(
                        "CASE WHEN octet_length(convert_to({}, 'UTF8')) <= {bytes} THEN {text} END",
                        untrailed(column.type_oid, &text)
                    )
                }
                _ => text,
            }
        }
        ValueClass::Float => {
            format!("CASE WHEN {c} NOT IN ('NaN', 'Infinity', '-Infinity') THEN {c}::double precision END")
        }
        ValueClass::Numeric => format!("NULLIF({c}::numeric, 'NaN')"),
        ValueClass::Decimal => decimal(column, &format!("{c}::numeric")),
        ValueClass::Money => format!("NULLIF({c}::numeric, -92233720368547758.08)"),
        ValueClass::Date => date(rules, c, "9999-12-31"),
        ValueClass::Timestamp => date(rules, c, "9999-12-31 23:59:59.999999"),
        ValueClass::TimestampTz => date(rules, c, "9999-12-31 23:59:59.999999+00"),
        ValueClass::TimeTz => {
            let c = end_of_day(rules, c);
            format!("CASE WHEN abs(extract(timezone FROM {c})) < 15 * 3600 THEN {c} END")
        }
        ValueClass::Bytea => match mapping.redshift {
            RedshiftType::Varbyte(bytes) => {
                format!("CASE WHEN octet_length({c}) BETWEEN 1 AND {bytes} THEN {c} END")
            }
            _ => c.to_owned(),
        },
        ValueClass::Geometry => c.to_owned(),
        ValueClass::Json => {
            within_super(&format!("(CASE WHEN {c}::text !~* '{NO_CHARACTER}' THEN {c}::jsonb END)"))
        }
        ValueClass::Hstore | ValueClass::Structure(_) => within_super(&format!("to_jsonb({c})")),
    }
}

/// An escape in JSON that stands for no character that can be stored: NUL, or half a surrogate pair. The type `json` lets
/// them through. A backslash before it, if there is one, must be half of an escaped one.
const NO_CHARACTER: &str = r"(?<!\\)(\\\\)*(\\u0000|\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f][0-9a-f]{2})|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2})";

/// 24:00:00
fn end_of_day(rules: &ColumnRules, c: &str) -> String {
    // 24:00:00+02 is another value than 24:00:00+00: what is printed tells.
    let is_end = format!("{c}::text LIKE '24:%'");
    match rules.end_of_day {
        None => c.to_owned(),
        Some(Policy::Saturate) => {
            format!("CASE WHEN {is_end} THEN {c} - interval '1 microsecond' ELSE {c} END")
        }
        Some(_) => format!("CASE WHEN NOT {is_end} THEN {c} END"),
    }
}

/// What has no room in the column is its nearest value, or NULL; under the policy `error` it does not arrive.
fn decimal(column: SourceColumn<'_>, number: &str) -> String {
    let RedshiftType::Decimal { precision, scale } = column.mapping.redshift else {
        return number.to_owned();
    };
    let digits = |count: u8| "9".repeat(count.into());
    let largest = format!("{}.{}", digits(precision - scale), digits(scale));
    match column.rules.inexact {
        Policy::Saturate => format!(
            "CASE WHEN {number} NOT IN ('NaN', 'Infinity', '-Infinity') \
             THEN LEAST(GREATEST(round({number}, {scale}), -0{largest}), 0{largest}) END"
        ),
        _ => format!(
            "CASE WHEN abs({number}) <= 0{largest} AND {number} = round({number}, {scale}) THEN {number} END"
        ),
    }
}

/// Comparison with the infinities comes out right: they are outside.
fn date(rules: &ColumnRules, c: &str, last: &str) -> String {
    match rules.date {
        Policy::Saturate => format!("LEAST(GREATEST({c}, '0001-01-01'), '{last}')"),
        _ => format!("CASE WHEN {c} >= '0001-01-01' AND {c} < '10000-01-01' THEN {c} END"),
    }
}

/// What the type's output function prints, which a cast to text does not always give (`inet`).
fn printed(c: &str) -> String {
    // A composite value with a NULL in it "is not null" only for num_nulls.
    format!("CASE WHEN num_nulls({c}) = 0 THEN format('%s', {c}) END")
}

/// text, char(n), varchar(n)
fn is_character(type_oid: u32) -> bool {
    matches!(type_oid, 25 | BPCHAR | 1043)
}

/// Padding of `char(n)` is not part of the value.
fn untrailed(type_oid: u32, text: &str) -> String {
    if type_oid == BPCHAR { format!("rtrim({text}, ' ')") } else { text.to_owned() }
}

/// Text cut to so many bytes, at a character's end.
fn cut(text: &str, bytes: u16) -> String {
    let utf8 = format!("convert_to({text}, 'UTF8')");
    let first = |bytes: u16| format!("convert_from(substring({utf8} FROM 1 FOR {bytes}), 'UTF8')");
    // A byte 10xxxxxx goes on with a character. In UTF-8 one of four neighbours begins one.
    let arms: String = (0..3)
        .filter_map(|back| bytes.checked_sub(back))
        .map(|bytes| format!("WHEN get_byte({utf8}, {bytes}) & 192 <> 128 THEN {} ", first(bytes)))
        .collect();
    let last = first(bytes.saturating_sub(3));
    format!("CASE WHEN {text} IS NULL OR octet_length({utf8}) <= {bytes} THEN {text} {arms}ELSE {last} END")
}

/// JSON as text without blanks between its tokens; NULL if one of its strings is longer than a SUPER's may be.
fn within_super(json: &str) -> String {
    let strings = format!("jsonb_path_query({json}, '$.** ? (@.type() == \"string\")')");
    let compact = format!(r#"regexp_replace({json}::text, '("(?:[^"\\]|\\.)*")|\s+', '\1', 'g')"#);
    format!(
        "CASE WHEN octet_length({json}::text) > {SUPER_STRING_BYTES} AND EXISTS (SELECT FROM {strings} AS s \
         WHERE octet_length(s #>> '{{}}') > {SUPER_STRING_BYTES}) THEN NULL ELSE {compact} END"
    )
}
