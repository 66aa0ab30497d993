//! One value: from PostgreSQL's text form to the text that `COPY` reads for its column.

use re_dms_shared::manifest::Column;
use re_dms_shared::types::{ElementClass, RedshiftType, ValueClass};

use super::array;
use super::csv::{NULL, push_field};
use super::json;

/// The longest row that Redshift loads is documented as 4 MB (`redshift.md`, 1.6); the smaller reading of that, less
/// what a removal has beyond the row itself: whether a row is too long must not depend on what is done with it.
pub(super) const MAX_ROW_BYTES: usize = 4_000_000 - 64;

/// Which policies a value met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// It, or an element of it, became NULL.
    pub(super) nulled: bool,
    /// It, or an element of it, was cut.
    pub(super) truncated: bool,
}

impl Outcome {
    pub(super) const EXACT: Outcome = Outcome { nulled: false, truncated: false };
    pub(super) const NULLED: Outcome = Outcome { nulled: true, truncated: false };
    pub(super) const TRUNCATED: Outcome = Outcome { nulled: false, truncated: true };
}

/// The text is not of its type's form; what that form is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Buffers for values that change on their way.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    json: Vec<u8>,
    element: Vec<u8>,
}

/// How one column's values are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct ColumnWriter {
    /// Part of the key.
    pub(super) key: bool,
    class: ValueClass,
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
    Money,
    DateTime,
    Bytea {
        max_bytes: usize,
    },
    Json,
    Array(ElementClass),
}

impl ColumnWriter {
    pub(super) fn new(column: &Column, class: ValueClass) -> Self {
        let form = match (class, column.redshift_type) {
            (ValueClass::Verbatim | ValueClass::Text, RedshiftType::Varchar(max_bytes)) => {
                Form::Text { max_bytes: usize::from(max_bytes) }
            }
            (ValueClass::Verbatim, _) => Form::Plain,
            (ValueClass::Text, _) => Form::Text { max_bytes: usize::from(u16::MAX) },
            (ValueClass::Float | ValueClass::Numeric, _) => Form::Number,
            (ValueClass::Money, _) => Form::Money,
            (ValueClass::DateTime, _) => Form::DateTime,
            (ValueClass::Bytea, RedshiftType::Varbyte(max_bytes)) => {
                Form::Bytea { max_bytes: max_bytes as usize }
            }
            (ValueClass::Bytea, _) => Form::Bytea { max_bytes: usize::MAX },
            (ValueClass::Json, _) => Form::Json,
            (ValueClass::Array(element), _) => Form::Array(element),
        };
        Self { key: column.key, class, form }
    }

    /// Whether another value of the source's may be equal to this one in Redshift: −0 is 0 there, and JSON arrays have
    /// no bounds.
    pub(super) fn has_twin(self, value: &[u8]) -> bool {
        match self.class {
            ValueClass::Float => value == b"-0",
            ValueClass::Array(_) => value.first() == Some(&b'['),
            _ => false,
        }
    }

    /// Writes the value as a CSV field.
    pub(super) fn write(
        self,
        value: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<Outcome, Malformed> {
        match self.form {
            Form::Plain => out.extend_from_slice(value),
            Form::Text { max_bytes } => {
                let kept = cut(value, max_bytes);
                push_field(kept, out);
                if kept.len() < value.len() {
                    return Ok(Outcome::TRUNCATED);
                }
            }
            Form::Number if is_finite_number(value) => out.extend_from_slice(value),
            Form::Number if is_special_number(value) => return Ok(nulled(out)),
            Form::Number => return Err(Malformed("a number")),
            Form::Money => push_money(value, out)?,
            Form::DateTime if is_plain_date(value) => out.extend_from_slice(value),
            Form::DateTime if is_special_date(value) => return Ok(nulled(out)),
            Form::DateTime => return Err(Malformed("a date in ISO form")),
            Form::Bytea { max_bytes } => {
                let digits = value.strip_prefix(b"\\x").ok_or(Malformed("bytea in hex form"))?;
                // COPY reads an empty field of any type but VARCHAR as NULL (`redshift.md`, 1.2).
                if digits.is_empty() || digits.len() / 2 > max_bytes {
                    return Ok(nulled(out));
                }
                out.extend_from_slice(digits);
            }
            Form::Json if json::is_loadable(value) => push_field(value, out),
            Form::Json => return Ok(nulled(out)),
            // As JSON it gets longer rather than shorter.
            Form::Array(_) if value.len() > MAX_ROW_BYTES => return Ok(nulled(out)),
            Form::Array(element) => {
                let Scratch { json, element: buffer } = scratch;
                json.clear();
                let outcome = array::push_json(value, element, buffer, json)?;
                push_field(json, out);
                return Ok(outcome);
            }
        }
        Ok(Outcome::EXACT)
    }
}

fn nulled(out: &mut Vec<u8>) -> Outcome {
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

/// Digits, perhaps with a sign, a point and an exponent: PostgreSQL prints finite numbers in no other way.
pub(super) fn is_finite_number(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    digits.first().is_some_and(u8::is_ascii_digit)
        && digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
}

pub(super) fn is_special_number(value: &[u8]) -> bool {
    matches!(value, b"NaN" | b"Infinity" | b"-Infinity")
}

/// `$1,234.56` without its ornaments.
fn push_money(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'.' | b'-');
    if !value.iter().all(|&byte| plain(byte) || matches!(byte, b'$' | b',')) {
        return Err(Malformed("money as the C locale prints it"));
    }
    out.extend(value.iter().copied().filter(|&byte| plain(byte)));
    Ok(())
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

#[cfg(test)]
mod tests;
