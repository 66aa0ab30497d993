//! One value: from PostgreSQL's text form to the text that `COPY` reads for its column.

use re_dms_shared::manifest::Column;
use re_dms_shared::types::{ColumnRules, JsonForm, Policy, RedshiftType, SuperNull, ValueClass};

use super::csv::{NULL, push_field};
use super::{json, number, structure};

/// The longest row that Redshift loads is documented as 4 MB (`redshift.md`, 1.6); the smaller reading of that, less
/// what a removal has beyond the row itself: whether a row is too long must not depend on what is done with it.
pub(super) const MAX_ROW_BYTES: usize = 4_000_000 - 64;

/// The longest value of a GEOMETRY or GEOGRAPHY, in bytes (`redshift.md`, 2.1).
const MAX_GEOMETRY_BYTES: usize = 1_048_447;

/// Which policy a value met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// It became NULL.
    pub(super) nulled: bool,
    /// It was cut.
    pub(super) truncated: bool,
    /// It became the nearest one that there is.
    pub(super) saturated: bool,
}

impl Outcome {
    pub(super) const EXACT: Outcome = Outcome { nulled: false, truncated: false, saturated: false };
    pub(super) const NULLED: Outcome = Outcome { nulled: true, ..Outcome::EXACT };
    pub(super) const TRUNCATED: Outcome = Outcome { truncated: true, ..Outcome::EXACT };
    pub(super) const SATURATED: Outcome = Outcome { saturated: true, ..Outcome::EXACT };
}

/// Why a value can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The text is not of its type's form; what that form is.
    Malformed(&'static str),
    /// Redshift can't hold it, and the column's policy for that is to stop; the policy's key in the configuration.
    Refused(&'static str),
}

/// Buffers for values that change on their way.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    json: Vec<u8>,
    element: Vec<u8>,
}

/// How one column's values are written.
#[derive(Clone, Debug)]
pub(super) struct ColumnWriter {
    /// Part of the key.
    pub(super) key: bool,
    class: ValueClass,
    redshift: RedshiftType,
    rules: ColumnRules,
    form: Form,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// As it is, and never in need of quotes.
    Plain,
    Text {
        max_bytes: usize,
    },
    Number,
    Decimal {
        precision: usize,
        scale: usize,
    },
    Money,
    Date,
    Time,
    TimeTz,
    Bytea {
        max_bytes: usize,
    },
    Geometry,
    Json,
    Hstore,
    Structure,
}

impl ColumnWriter {
    pub(super) fn new(column: &Column, class: &ValueClass, rules: ColumnRules) -> Self {
        let form = match (class, column.redshift_type) {
            (ValueClass::Verbatim | ValueClass::Text, RedshiftType::Varchar(max_bytes)) => {
                Form::Text { max_bytes: usize::from(max_bytes) }
            }
            (ValueClass::Verbatim, RedshiftType::Time) => Form::Time,
            (ValueClass::Verbatim, _) => Form::Plain,
            (ValueClass::Text, _) => Form::Text { max_bytes: usize::from(u16::MAX) },
            (ValueClass::Decimal, RedshiftType::Decimal { precision, scale }) => {
                Form::Decimal { precision: precision.into(), scale: scale.into() }
            }
            (ValueClass::Float | ValueClass::Numeric | ValueClass::Decimal, _) => Form::Number,
            (ValueClass::Money, _) => Form::Money,
            (ValueClass::Date | ValueClass::Timestamp | ValueClass::TimestampTz, _) => Form::Date,
            (ValueClass::TimeTz, _) => Form::TimeTz,
            (ValueClass::Bytea, RedshiftType::Varbyte(max_bytes)) => {
                Form::Bytea { max_bytes: max_bytes as usize }
            }
            (ValueClass::Bytea, _) => Form::Bytea { max_bytes: usize::MAX },
            (ValueClass::Geometry, _) => Form::Geometry,
            (ValueClass::Json, _) => Form::Json,
            (ValueClass::Hstore, _) => Form::Hstore,
            (ValueClass::Structure(_), _) => Form::Structure,
        };
        Self { key: column.key, class: class.clone(), redshift: column.redshift_type, rules, form }
    }

    /// Whether another value of the source's may be equal to this one in Redshift: −0 is 0 there, and JSON arrays have
    /// no bounds.
    pub(super) fn has_twin(&self, value: &[u8]) -> bool {
        match self.class {
            ValueClass::Float => value == b"-0",
            ValueClass::Structure(JsonForm::Array { .. }) => value.first() == Some(&b'['),
            _ => false,
        }
    }

    /// Writes the value as a CSV field.
    pub(super) fn write(
        &self,
        value: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<Outcome, Failure> {
        let rules = &self.rules;
        match self.form {
            Form::Plain => out.extend_from_slice(value),
            Form::Text { max_bytes } if value.len() <= max_bytes => push_field(value, out),
            Form::Text { max_bytes } => {
                return match rules.long_text {
                    Policy::Error => Err(Failure::Refused("types.long_text")),
                    Policy::Null => Ok(nulled(out)),
                    Policy::Quarantine => {
                        push_field(value, out);
                        Ok(Outcome::EXACT)
                    }
                    Policy::Truncate | Policy::Saturate => {
                        push_field(cut(value, max_bytes), out);
                        Ok(Outcome::TRUNCATED)
                    }
                };
            }
            Form::Number if number::is_finite(value) => out.extend_from_slice(value),
            Form::Number | Form::Decimal { .. } if number::is_special(value) => {
                return null_or_refuse(rules.nan, "types.nan", out);
            }
            Form::Number => return Err(Failure::Malformed("a number")),
            Form::Decimal { precision, scale } => {
                return number::push_decimal(value, precision, scale, rules.inexact, out);
            }
            Form::Money if value == number::LEAST_MONEY => {
                return null_or_refuse(rules.nan, "types.nan", out);
            }
            Form::Money => number::push_money(value, out)?,
            Form::Date if is_plain_date(value) => out.extend_from_slice(value),
            Form::Date if is_special_date(value) => {
                if rules.date != Policy::Saturate {
                    return null_or_refuse(rules.date, "types.date", out);
                }
                out.extend_from_slice(nearest_date(value, self.redshift));
                return Ok(Outcome::SATURATED);
            }
            Form::Date => return Err(Failure::Malformed("a date in ISO form")),
            Form::TimeTz if !has_known_offset(value) => return null_or_refuse(rules.date, "types.date", out),
            Form::Time | Form::TimeTz if value.starts_with(b"24:") && rules.end_of_day.is_some() => {
                let policy = rules.end_of_day.unwrap_or(Policy::Error);
                if policy != Policy::Saturate {
                    return null_or_refuse(policy, "types.end_of_day", out);
                }
                out.extend_from_slice(b"23:59:59.999999");
                out.extend_from_slice(&value[b"24:00:00".len()..]);
                return Ok(Outcome::SATURATED);
            }
            Form::Time | Form::TimeTz => out.extend_from_slice(value),
            Form::Bytea { max_bytes } => {
                let digits = value.strip_prefix(b"\\x").ok_or(Failure::Malformed("bytea in hex form"))?;
                // COPY reads an empty field of any type but VARCHAR as NULL (`redshift.md`, 1.2).
                if digits.is_empty() || digits.len() / 2 > max_bytes {
                    return null_or_refuse(rules.long_bytes, "types.long_bytes", out);
                }
                out.extend_from_slice(digits);
            }
            Form::Geometry if value.len() / 2 > MAX_GEOMETRY_BYTES => {
                return null_or_refuse(rules.long_bytes, "types.long_bytes", out);
            }
            Form::Geometry => push_field(value, out),
            Form::Json if json::is_loadable(value) => push_field(value, out),
            Form::Json => return self.null_or_refuse_json(out),
            // As JSON it gets longer rather than shorter.
            Form::Structure | Form::Hstore if value.len() > MAX_ROW_BYTES => {
                return self.null_or_refuse_json(out);
            }
            Form::Structure | Form::Hstore => {
                let Scratch { json, element } = scratch;
                json.clear();
                match &self.class {
                    ValueClass::Structure(form) => structure::push_json(value, form, element, json)?,
                    _ => structure::push_hstore(value, element, json)?,
                }
                if !json::is_loadable(json) {
                    return self.null_or_refuse_json(out);
                }
                push_field(json, out);
            }
        }
        Ok(Outcome::EXACT)
    }

    /// Writes a field that is NULL.
    pub(super) fn push_null(&self, out: &mut Vec<u8>) {
        if self.redshift != RedshiftType::Super || self.rules.super_null == SuperNull::Mark {
            out.push(NULL);
        }
    }

    fn null_or_refuse_json(&self, out: &mut Vec<u8>) -> Result<Outcome, Failure> {
        if self.rules.json == Policy::Error {
            return Err(Failure::Refused("types.json"));
        }
        self.push_null(out);
        Ok(Outcome::NULLED)
    }
}

/// What the policy does that can do no more than these two.
fn null_or_refuse(policy: Policy, key: &'static str, out: &mut Vec<u8>) -> Result<Outcome, Failure> {
    if policy == Policy::Error { Err(Failure::Refused(key)) } else { Ok(nulled(out)) }
}

pub(super) fn nulled(out: &mut Vec<u8>) -> Outcome {
    out.push(NULL);
    Outcome::NULLED
}

/// The longest part from the start that has at most `max_bytes` and does not end within a character.
pub(super) fn cut(text: &[u8], max_bytes: usize) -> &[u8] {
    let is_inside_character = |at: usize| text.get(at).is_some_and(|&byte| byte & 0xC0 == 0x80);
    let mut end = text.len().min(max_bytes);
    while end > 0 && is_inside_character(end) {
        end -= 1;
    }
    &text[..end]
}

/// A date or timestamp with a year from 1 to 9999 of our era.
fn is_plain_date(value: &[u8]) -> bool {
    let year = value.first_chunk::<4>();
    year.is_some_and(|year| year.iter().all(u8::is_ascii_digit))
        && value.get(4) == Some(&b'-')
        && !value.ends_with(b" BC")
}

fn is_special_date(value: &[u8]) -> bool {
    let year_digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let has_date = year_digits >= 4 && value.get(year_digits) == Some(&b'-');
    has_date || matches!(value, b"infinity" | b"-infinity")
}

/// Whether Redshift has the offset of a `timetz`: up to 14:59, where PostgreSQL goes up to 15:59 (`redshift.md`, 2.1).
fn has_known_offset(value: &[u8]) -> bool {
    let sign = value.iter().rposition(|byte| matches!(byte, b'+' | b'-'));
    sign.and_then(|sign| value.get(sign + 1..sign + 3)).is_some_and(|hours| hours < b"15".as_slice())
}

/// The first or the last date that is loaded.
fn nearest_date(value: &[u8], redshift: RedshiftType) -> &'static [u8] {
    let early = value == b"-infinity" || value.ends_with(b" BC");
    match (redshift, early) {
        (RedshiftType::Date, true) => b"0001-01-01",
        (RedshiftType::Date, false) => b"9999-12-31",
        (RedshiftType::TimestampTz, true) => b"0001-01-01 00:00:00+00",
        (RedshiftType::TimestampTz, false) => b"9999-12-31 23:59:59.999999+00",
        (_, true) => b"0001-01-01 00:00:00",
        (_, false) => b"9999-12-31 23:59:59.999999",
    }
}

#[cfg(test)]
mod tests;
