//! One field of a file as a value of one column: what COPY takes for each type (`redshift.md`, 1.3 and 1.4), written as
//! PostgreSQL's COPY text wants it.

use std::borrow::Cow;

use super::csv::Field;
use super::datetime::{self, Shape};
use super::json;
use super::load_error::{Code, FieldError};
use crate::redshift::settings::OpenPoints;
use crate::redshift::sql::{ColumnType, TimeFormat};

/// How fields are read; from COPY's options.
#[derive(Clone, Debug)]
pub(super) struct FieldRules {
    pub(super) null_as: Vec<u8>,
    pub(super) empty_as_null: bool,
    pub(super) blanks_as_null: bool,
    pub(super) truncate: bool,
    pub(super) round: bool,
    pub(super) time_format: TimeFormat,
    pub(super) date_format: TimeFormat,
    pub(super) open: OpenPoints,
}

/// The value, or None for NULL.
pub(super) fn convert<'a>(
    field: Field<'a>,
    column: ColumnType,
    rules: &FieldRules,
) -> Result<Option<Cow<'a, str>>, FieldError> {
    let Field { bytes: field, quoted } = field;
    let open = rules.open;
    let may_be_null = !quoted || open.quoted_fields_may_be_null;
    let is_super = column == ColumnType::Super;
    if field == rules.null_as && may_be_null && (!is_super || open.super_knows_null_as) {
        return Ok(None);
    }
    if let Some(position) = field.iter().position(|&byte| byte == 0) {
        return Err(
            FieldError::new(Code::NulByte, "Invalid null byte - field longer than 1 byte").at(position)
        );
    }
    let text = std::str::from_utf8(field).map_err(|error| invalid_utf8(field, error.valid_up_to()))?;
    let blank = text.bytes().all(|byte| byte == b' ');
    let empty_is_null = match column {
        ColumnType::Super => open.empty_super_is_null,
        _ if !column.is_character() => true,
        _ if text.is_empty() => rules.empty_as_null,
        _ => rules.blanks_as_null,
    };
    if blank && empty_is_null && may_be_null {
        return Ok(None);
    }
    let time = |shape, format| datetime::normalise(text, shape, format, open).map(Cow::Owned);
    let value = match column {
        ColumnType::Boolean => Cow::Borrowed(boolean(text)?),
        ColumnType::SmallInt => integer(text, i16::MIN.into(), i16::MAX.into(), "Short")?,
        ColumnType::Integer => integer(text, i32::MIN.into(), i32::MAX.into(), "Integer")?,
        ColumnType::BigInt => integer(text, i64::MIN, i64::MAX, "Long")?,
        ColumnType::Real => float(text, true, open)?,
        ColumnType::Double => float(text, false, open)?,
        ColumnType::Decimal { precision, scale } => {
            Cow::Owned(decimal(text, precision.into(), scale.into(), rules.round)?)
        }
        ColumnType::Char(bytes) => {
            if let Some(position) = text.bytes().position(|byte| !byte.is_ascii()) {
                return Err(FieldError::new(
                    Code::InvalidChar,
                    "Multibyte character not supported for CHAR (Hint: Try using VARCHAR)",
                )
                .at(position));
            }
            characters(text, bytes.into(), rules.truncate, "Char length exceeds DDL length")?
        }
        ColumnType::Varchar(bytes) => {
            characters(text, bytes.into(), rules.truncate, "String length exceeds DDL length")?
        }
        ColumnType::Date => time(Shape::Date, rules.date_format)?,
        ColumnType::Time => time(Shape::Time, rules.time_format)?,
        ColumnType::TimeTz => time(Shape::TimeTz, rules.time_format)?,
        ColumnType::Timestamp => time(Shape::Timestamp, rules.time_format)?,
        ColumnType::TimestampTz => time(Shape::TimestampTz, rules.time_format)?,
        ColumnType::Super => {
            json::check(text)
                .map_err(|error| FieldError::new(Code::Json, error.reason).at(error.position))?;
            Cow::Borrowed(text)
        }
        ColumnType::Varbyte(bytes) => varbyte(text, bytes)?,
    };
    Ok(Some(value))
}

fn invalid_utf8(field: &[u8], position: usize) -> FieldError {
    let bad = field.get(position).copied().unwrap_or(0);
    let reason = format!(
        "String contains invalid or unsupported UTF-8 codepoints. Bad UTF-8 hex sequence: {bad:02x} (error 3)"
    );
    FieldError::new(Code::InvalidUtf8, reason).at(position)
}

fn boolean(text: &str) -> Result<&'static str, FieldError> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Ok("t"),
        "false" | "f" | "no" | "n" | "0" => Ok("f"),
        _ => Err(FieldError::new(Code::Boolean, "Unknown boolean format")),
    }
}

/// Redshift's message for a character that is not a digit.
fn not_a_digit(code: Code, text: &str, position: usize, name: &str) -> FieldError {
    let found = text.get(position..).and_then(|rest| rest.chars().next()).unwrap_or(' ');
    FieldError::new(code, format!("Invalid digit, Value '{found}', Pos {position}, Type: {name}"))
        .at(position)
}

fn integer<'a>(text: &'a str, min: i64, max: i64, name: &str) -> Result<Cow<'a, str>, FieldError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let bad = digits.bytes().position(|byte| !byte.is_ascii_digit());
    if let Some(position) = bad.or_else(|| digits.is_empty().then_some(0)) {
        return Err(not_a_digit(Code::Digit, text, position + text.len() - digits.len(), name));
    }
    match text.parse::<i64>() {
        Ok(value) if (min..=max).contains(&value) => Ok(Cow::Borrowed(text)),
        _ => Err(FieldError::new(Code::IntegerOverflow, format!("Overflow, Type: {name}"))),
    }
}

fn float(text: &str, single: bool, open: OpenPoints) -> Result<Cow<'_, str>, FieldError> {
    let special = ["nan", "infinity", "-infinity", "inf", "-inf"];
    if open.floats_may_be_special && special.contains(&text.to_ascii_lowercase().as_str()) {
        return Ok(Cow::Borrowed(text));
    }
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    let malformed = || FieldError::new(Code::Float, "Invalid floating point value");
    if !plain {
        return Err(malformed());
    }
    let out_of_range = || FieldError::new(Code::ExceedsLength, "Floating point value is out of range");
    // Printed again, shortest form: PostgreSQL refuses what rounds to zero.
    let value = if single {
        let value: f32 = text.parse().map_err(|_| malformed())?;
        value.is_finite().then(|| value.to_string())
    } else {
        let value: f64 = text.parse().map_err(|_| malformed())?;
        value.is_finite().then(|| format!("{value:e}"))
    };
    value.map(Cow::Owned).ok_or_else(out_of_range)
}

/// Extra digits of the fraction are cut, or rounded half away from zero with ROUNDEC.
fn decimal(text: &str, precision: usize, scale: usize, round: bool) -> Result<String, FieldError> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { "-" } else { "" };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let bad = unsigned.bytes().position(|byte| !byte.is_ascii_digit() && byte != b'.');
    let second_point = fraction.find('.').map(|at| whole.len() + 1 + at);
    let empty = (whole.len() + fraction.len() == 0).then_some(0);
    if let Some(position) = bad.or(second_point).or(empty) {
        return Err(not_a_digit(Code::Decimal, text, position + text.len() - unsigned.len(), "Decimal"));
    }
    let overflow = || FieldError::new(Code::ExceedsLength, "Numeric data overflow (result precision)");
    let (kept, cut) = fraction.split_at(fraction.len().min(scale));
    let digits = format!("{}{kept:0<scale$}", whole.trim_start_matches('0'));
    let digits = digits.trim_start_matches('0');
    if digits.len() > precision {
        return Err(overflow());
    }
    let mut value: u128 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| overflow())? };
    if round && cut.starts_with(|digit| digit >= '5') {
        value += 1;
    }
    // 19 digits are held in 64 bits.
    let limit = if precision == 19 {
        i64::MAX.unsigned_abs().into()
    } else {
        10_u128.pow(u32::try_from(precision).unwrap_or(38)) - 1
    };
    if value > limit {
        return Err(overflow());
    }
    let digits = format!("{value:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    Ok(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

/// Blanks in excess are cut; anything else in excess is an error unless TRUNCATECOLUMNS is on.
fn characters<'a>(
    text: &'a str,
    bytes: usize,
    truncate: bool,
    reason: &str,
) -> Result<Cow<'a, str>, FieldError> {
    if text.len() <= bytes {
        return Ok(Cow::Borrowed(text));
    }
    let end = (0..=bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    let (kept, excess) = text.split_at(end);
    if truncate || excess.bytes().all(|byte| byte == b' ') {
        return Ok(Cow::Borrowed(kept));
    }
    Err(FieldError::new(Code::ExceedsLength, reason).at(end))
}

fn varbyte(text: &str, bytes: u32) -> Result<Cow<'_, str>, FieldError> {
    if let Some(position) = text.bytes().position(|byte| !byte.is_ascii_hexdigit()) {
        return Err(FieldError::new(Code::DataType, "Invalid hexadecimal digit in VARBYTE").at(position));
    }
    if !text.len().is_multiple_of(2) {
        return Err(FieldError::new(Code::DataType, "Odd number of hexadecimal digits in VARBYTE"));
    }
    if text.len() / 2 > usize::try_from(bytes).unwrap_or(usize::MAX) {
        return Err(FieldError::new(Code::ExceedsLength, "VARBYTE length exceeds DDL length"));
    }
    Ok(Cow::Owned(format!("\\x{text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> FieldRules {
        FieldRules {
            null_as: vec![0],
            empty_as_null: false,
            blanks_as_null: false,
            truncate: false,
            round: false,
            time_format: TimeFormat::Auto,
            date_format: TimeFormat::Auto,
            open: OpenPoints::default(),
        }
    }

    fn plain(field: &[u8]) -> Field<'_> {
        Field { bytes: field, quoted: false }
    }

    fn value(field: &str, column: ColumnType) -> Result<Option<String>, Code> {
        let value = convert(plain(field.as_bytes()), column, &rules());
        value.map(|value| value.map(Cow::into_owned)).map_err(|error| error.code)
    }

    fn some(text: &str) -> Result<Option<String>, Code> {
        Ok(Some(text.to_owned()))
    }

    const DECIMAL: ColumnType = ColumnType::Decimal { precision: 8, scale: 2 };

    #[test]
    fn one_nul_is_null_and_more_is_an_error() {
        assert_eq!(value("\0", ColumnType::Varchar(5)), Ok(None));
        assert_eq!(value("\0", ColumnType::Super), Ok(None));
        assert_eq!(value("a\0", ColumnType::Varchar(5)), Err(Code::NulByte));
        assert_eq!(value("\0\0", ColumnType::Varchar(5)), Err(Code::NulByte));
    }

    #[test]
    fn empty_is_a_value_only_for_text() {
        assert_eq!(value("", ColumnType::Varchar(5)), some(""));
        assert_eq!(value("\\N", ColumnType::Varchar(5)), some("\\N"), "with NULL AS '\\0'");
        for column in [ColumnType::Integer, ColumnType::Varbyte(3), ColumnType::Date, DECIMAL] {
            assert_eq!(value("", column), Ok(None), "{column}");
        }
    }

    #[test]
    fn what_is_open_can_be_chosen() {
        let with = |open: OpenPoints, field: &str, quoted: bool, column: ColumnType| {
            let rules = FieldRules { open, ..rules() };
            let value = convert(Field { bytes: field.as_bytes(), quoted }, column, &rules);
            value.map(|value| value.map(Cow::into_owned)).map_err(|error| error.code)
        };
        let default = OpenPoints::default();
        let other = OpenPoints {
            quoted_fields_may_be_null: false,
            super_knows_null_as: false,
            empty_super_is_null: true,
            floats_may_be_special: true,
            ..default
        };
        assert_eq!(with(default, "\0", true, ColumnType::Integer), Ok(None));
        assert_eq!(with(other, "\0", true, ColumnType::Integer), Err(Code::NulByte));
        assert_eq!(with(default, "", true, ColumnType::Integer), Ok(None));
        assert_eq!(with(other, "", true, ColumnType::Integer), Err(Code::Digit));
        assert_eq!(with(default, "", false, ColumnType::Super), Err(Code::Json));
        assert_eq!(with(other, "", false, ColumnType::Super), Ok(None));
        assert_eq!(with(other, "\0", false, ColumnType::Super), Err(Code::NulByte));
        assert_eq!(with(other, "-Infinity", false, ColumnType::Real), some("-Infinity"));
    }

    #[test]
    fn numbers() {
        assert_eq!(value("-32768", ColumnType::SmallInt), some("-32768"));
        assert_eq!(value("32768", ColumnType::SmallInt), Err(Code::IntegerOverflow));
        assert_eq!(value("99999999999999999999", ColumnType::BigInt), Err(Code::IntegerOverflow));
        assert_eq!(value("1a", ColumnType::Integer), Err(Code::Digit));
        assert_eq!(value("-", ColumnType::Integer), Err(Code::Digit));
        assert_eq!(value("NaN", ColumnType::Double), Err(Code::Float));
        assert_eq!(value("Infinity", ColumnType::Real), Err(Code::Float));
        assert_eq!(value("1e400", ColumnType::Double), Err(Code::ExceedsLength));
        assert_eq!(value("0.1", ColumnType::Double), some("1e-1"));
    }

    #[test]
    fn decimals_are_cut_not_rounded() {
        assert_eq!(value("20.259", DECIMAL), some("20.25"));
        assert_eq!(value("-0.009", DECIMAL), some("-0.00"));
        assert_eq!(value("1234567", DECIMAL), Err(Code::ExceedsLength));
        assert_eq!(value("000123456.7", DECIMAL), some("123456.70"));
        assert_eq!(value("NaN", DECIMAL), Err(Code::Decimal));
        assert_eq!(value("1e3", DECIMAL), Err(Code::Decimal));
        assert_eq!(value("1.2.3", DECIMAL), Err(Code::Decimal));
        let round = FieldRules { round: true, ..rules() };
        assert_eq!(convert(plain(b"20.259"), DECIMAL, &round).unwrap().as_deref(), Some("20.26"));
        let wide = ColumnType::Decimal { precision: 19, scale: 0 };
        assert_eq!(value("9223372036854775807", wide), some("9223372036854775807"));
        assert_eq!(value("9223372036854775808", wide), Err(Code::ExceedsLength));
        let widest = ColumnType::Decimal { precision: 38, scale: 37 };
        assert_eq!(value("1.5", widest), some(&format!("1.5{}", "0".repeat(36))));
    }

    #[test]
    fn text_is_measured_in_bytes() {
        assert_eq!(value("éé", ColumnType::Varchar(4)), some("éé"));
        assert_eq!(value("éé", ColumnType::Varchar(3)), Err(Code::ExceedsLength));
        assert_eq!(value("ab   ", ColumnType::Varchar(3)), some("ab "), "only blanks in excess");
        assert_eq!(value("é", ColumnType::Char(4)), Err(Code::InvalidChar));
        let truncate = FieldRules { truncate: true, ..rules() };
        assert_eq!(
            convert(plain("éé".as_bytes()), ColumnType::Varchar(3), &truncate).unwrap().as_deref(),
            Some("é")
        );
        let error = convert(plain(&[b'a', 0xa4]), ColumnType::Varchar(3), &rules()).unwrap_err();
        assert_eq!((error.code, error.position), (Code::InvalidUtf8, 1));
        assert!(error.reason.contains("a4"));
    }

    #[test]
    fn bytes_are_bare_hex() {
        assert_eq!(value("00ffAB", ColumnType::Varbyte(3)), some("\\x00ffAB"));
        assert_eq!(value("\\x00", ColumnType::Varbyte(3)), Err(Code::DataType));
        assert_eq!(value("0", ColumnType::Varbyte(3)), Err(Code::DataType));
        assert_eq!(value("00112233", ColumnType::Varbyte(3)), Err(Code::ExceedsLength));
    }
}
