//! A value's canonical text: SQL expressions for both databases that give equal text for equal values, and for no others.
//!
//! Redshift's side has documented functions only. What they print in a way of their own, or only partly, is taken apart by
//! arithmetic instead: floats into integers, times into microseconds, long bytes into pieces. No text holds a `|` or begins
//! like NULL's, so that columns can't be confused; whatever may be long is represented by its length and its MD5.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::Dialect;

/// How a column's values are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// 0 or 1.
    Boolean,
    /// Digits.
    Integer,
    /// Digits, without zeros at the end of a fraction.
    Decimal,
    /// Sign, magnitude and two integers: exact. The sign of zero does not count.
    Float,
    /// ISO, with the era.
    Date,
    /// ISO with microseconds, and the era.
    Timestamp,
    /// The same, in UTC.
    TimestampTz,
    /// Microseconds.
    Time,
    /// Microseconds in UTC, of one day.
    TimeTz,
    /// Length in bytes, and MD5.
    Text,
    /// The same, without blanks at the end.
    PaddedText,
    /// The same, of bytes.
    Bytes,
    /// The same, of JSON's text without blanks.
    Json,
}

/// Bytes that are hashed at a time: their hex digits are a VARCHAR that every Redshift takes.
const PIECE: u32 = 30_000;

/// The longest value that is hashed whole, in pieces.
const MOST_BYTES: u32 = 35 * PIECE;

/// In UTC, so that days begin at one moment.
const DAY: u64 = 86_400_000_000;

impl Form {
    /// The canonical text of what is [taken](Self::taken), which is repeated; NULL of NULL. Not for [`Form::Float`], which takes more than one
    /// step.
    pub(super) fn text(self, dialect: Dialect, value: &str) -> String {
        let plain = |text: String, source: &str| match dialect {
            Dialect::Redshift => text,
            Dialect::Source => source.to_owned(),
        };
        let timestamp = |value: &str, pattern: &str| format!("TO_CHAR({value}, 'YYYY-MM-DD{pattern} BC')");
        match self {
            Form::Boolean => format!("CASE WHEN {value} THEN '1' WHEN NOT {value} THEN '0' END"),
            Form::Integer => format!("CAST({value} AS VARCHAR(20))"),
            Form::Decimal => {
                let text = format!("CAST({value} AS VARCHAR(64))");
                plain(
                    format!(
                        "CASE WHEN POSITION('.' IN {text}) > 0 THEN RTRIM(RTRIM({text}, '0'), '.') ELSE {text} END"
                    ),
                    &format!("trim_scale({value})::text"),
                )
            }
            Form::Float => value.to_owned(),
            Form::Date => timestamp(value, ""),
            Form::Timestamp => timestamp(value, " HH24:MI:SS.US"),
            Form::TimestampTz => timestamp(&format!("{value} AT TIME ZONE 'UTC'"), " HH24:MI:SS.US"),
            Form::Time => plain(
                format!("CAST(DATEDIFF(microsecond, CAST('00:00:00' AS TIME), {value}) AS VARCHAR(20))"),
                &format!("({})::text", microseconds(value)),
            ),
            Form::TimeTz => {
                let since_midnight = plain(
                    format!("DATEDIFF(microsecond, CAST('00:00:00+00' AS TIMETZ), {value})"),
                    &microseconds(value),
                );
                format!("CAST(MOD(MOD({since_midnight}, {DAY}) + {DAY}, {DAY}) AS VARCHAR(20))")
            }
            Form::Text => text_hash(dialect, value),
            Form::PaddedText => text_hash(dialect, &format!("RTRIM({value})")),
            Form::Bytes | Form::Json => bytes_hash(dialect, value),
        }
    }

    /// What of a column's value is printed: itself, or its bytes.
    pub(super) fn taken(self, dialect: Dialect, value: &str) -> String {
        match (self, dialect) {
            (Form::Json, Dialect::Redshift) => format!("JSON_SERIALIZE_TO_VARBYTE({value})"),
            (Form::Json, Dialect::Source) => format!("convert_to({value}, 'UTF8')"),
            _ => value.to_owned(),
        }
    }

    /// What it takes of a statement's length, at most, beside the column's name.
    pub(super) fn length(self) -> usize {
        match self {
            Form::Bytes | Form::Json => 4500,
            Form::Float => 4000,
            Form::Decimal => 500,
            _ => 350,
        }
    }
}

/// Of a time on the source, in UTC if it has an offset.
fn microseconds(value: &str) -> String {
    format!("(extract(epoch FROM {value}) * 1000000)::bigint")
}

fn text_hash(dialect: Dialect, value: &str) -> String {
    match dialect {
        Dialect::Redshift => format!("CAST(OCTET_LENGTH({value}) AS VARCHAR(20)) || ':' || MD5({value})"),
        // Redshift's texts are in UTF-8, whatever the source's are in.
        Dialect::Source => {
            let utf8 = format!("convert_to({value}, 'UTF8')");
            format!("octet_length({utf8})::text || ':' || md5({utf8})")
        }
    }
}

fn bytes_hash(dialect: Dialect, value: &str) -> String {
    let hex = |bytes: String| match dialect {
        Dialect::Redshift => format!("MD5(TO_HEX({bytes}))"),
        Dialect::Source => format!("md5(encode({bytes}, 'hex'))"),
    };
    let piece = |from: u32| format!("SUBSTRING({value}, {}, {PIECE})", from + 1);
    // Most values are short: these cost no look at each of the pieces.
    let mut pieces = hex(piece(0));
    for from in (PIECE..MOST_BYTES).step_by(PIECE as usize) {
        let more = hex(piece(from));
        let _ = write!(pieces, " || CASE WHEN OCTET_LENGTH({value}) > {from} THEN {more} ELSE '' END");
    }
    format!(
        "CAST(OCTET_LENGTH({value}) AS VARCHAR(20)) || ':' || CASE WHEN OCTET_LENGTH({value}) <= {PIECE} THEN {} \
         ELSE MD5({pieces}) END",
        hex(value.to_owned())
    )
}

/// The steps of [`Form::Float`]. A finite number is `sign · y · 2^(64j + 4)` with `y` in [2⁻⁴, 2⁶⁰), of which 56 binary
/// digits behind the point hold all there is: multiplications by powers of two, and cutting at the point, are exact.
pub(super) struct Float;

impl Float {
    /// Half of the power of two that brings the value `x` into range; NULL for NULL, zero, NaN and infinities.
    pub(super) fn half_scale(x: &str) -> String {
        let double = |number: f64| format!("CAST('{number:e}' AS DOUBLE PRECISION)");
        let mut ladder = format!("CASE WHEN ABS({x}) > {} THEN NULL", double(f64::MAX));
        for window in (-15..=15).rev() {
            let from = double(2_f64.powi(64 * window));
            let _ = write!(ladder, " WHEN ABS({x}) >= {from} THEN {}", -(32 * window + 2));
        }
        // Below that a bound would be subnormal, which not everybody reads.
        let (up, from) = (double(2_f64.powi(128)), double(2_f64.powi(128 - 64 * 16)));
        let _ = write!(ladder, " WHEN ABS({x}) * {up} >= {from} THEN {}", 32 * 16 - 2);
        ladder.push_str(&format!(" WHEN ABS({x}) > 0 THEN {} END", 32 * 17 - 2));
        ladder
    }

    /// `y`
    pub(super) fn scaled(x: &str, half: &str) -> String {
        let power = format!("POWER(CAST(2 AS DOUBLE PRECISION), CAST({half} AS DOUBLE PRECISION))");
        format!("ABS({x}) * {power} * {power}")
    }

    /// The text.
    pub(super) fn text(x: &str, half: &str, scaled: &str) -> String {
        let whole = format!("FLOOR({scaled})");
        let digits = |integer: &str| format!("CAST(CAST({integer} AS BIGINT) AS VARCHAR(20))");
        // 2⁵⁶
        let rest = format!("({scaled} - {whole}) * CAST('72057594037927936' AS DOUBLE PRECISION)");
        format!(
            "CASE WHEN {x} = 0 THEN '0' WHEN {half} IS NULL AND {x} IS NOT NULL THEN 'x' \
             ELSE CASE WHEN {x} < 0 THEN '-' ELSE '' END || CAST({half} AS VARCHAR(20)) || ':' || {} || ':' || {} END",
            digits(&whole),
            digits(&rest)
        )
    }
}
