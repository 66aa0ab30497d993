//! Redshift's column types, as SQL text and back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A column type that re_dms creates in Redshift. Limits: `redshift.md`, 2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are Redshift's own
pub enum RedshiftType {
    Boolean,
    SmallInt,
    Integer,
    BigInt,
    Real,
    DoublePrecision,
    /// `precision` 1 to 38, `scale` 0 to 37 and at most `precision`, in decimal digits.
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// Length in bytes, 1 to 65,535.
    Varchar(u16),
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Super,
    /// Length in bytes, 1 to 16,777,216.
    Varbyte(u32),
    Geometry,
    Geography,
}

impl RedshiftType {
    /// The longest VARCHAR that a table's column may have.
    pub const VARCHAR_MAX: RedshiftType = RedshiftType::Varchar(u16::MAX);

    /// Whether everything that compares its values has them in one order: texts are equal when trailing blanks differ, floats
    /// have NaN and −0, bytes and SUPER have no order that is documented.
    #[must_use]
    pub fn has_one_order(self) -> bool {
        use RedshiftType as R;
        matches!(
            self,
            R::SmallInt
                | R::Integer
                | R::BigInt
                | R::Decimal { .. }
                | R::Date
                | R::Time
                | R::Timestamp
                | R::TimestampTz
        )
    }

    /// Whether every value of `wanted` arrives exact in a column of this type.
    #[must_use]
    pub fn holds(self, wanted: RedshiftType) -> bool {
        use RedshiftType as R;
        match (self, wanted) {
            (R::Varchar(found), R::Varchar(wanted)) => found >= wanted,
            (R::Varbyte(found), R::Varbyte(wanted)) => found >= wanted,
            (
                R::Decimal { precision: found_digits, scale: found_scale },
                R::Decimal { precision: wanted_digits, scale: wanted_scale },
            ) => {
                let whole = |digits: u8, scale: u8| i16::from(digits) - i16::from(scale);
                found_scale >= wanted_scale
                    && whole(found_digits, found_scale) >= whole(wanted_digits, wanted_scale)
            }
            (R::Integer | R::BigInt, R::SmallInt)
            | (R::BigInt, R::Integer)
            | (R::DoublePrecision, R::Real) => true,
            _ => self == wanted,
        }
    }
}

impl fmt::Display for RedshiftType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RedshiftType::Boolean => f.write_str("BOOLEAN"),
            RedshiftType::SmallInt => f.write_str("SMALLINT"),
            RedshiftType::Integer => f.write_str("INTEGER"),
            RedshiftType::BigInt => f.write_str("BIGINT"),
            RedshiftType::Real => f.write_str("REAL"),
            RedshiftType::DoublePrecision => f.write_str("DOUBLE PRECISION"),
            RedshiftType::Decimal { precision, scale } => write!(f, "DECIMAL({precision},{scale})"),
            RedshiftType::Varchar(bytes) => write!(f, "VARCHAR({bytes})"),
            RedshiftType::Date => f.write_str("DATE"),
            RedshiftType::Time => f.write_str("TIME"),
            RedshiftType::TimeTz => f.write_str("TIMETZ"),
            RedshiftType::Timestamp => f.write_str("TIMESTAMP"),
            RedshiftType::TimestampTz => f.write_str("TIMESTAMPTZ"),
            RedshiftType::Super => f.write_str("SUPER"),
            RedshiftType::Geometry => f.write_str("GEOMETRY"),
            RedshiftType::Geography => f.write_str("GEOGRAPHY"),
            RedshiftType::Varbyte(bytes) => write!(f, "VARBYTE({bytes})"),
        }
    }
}

/// The text is not a type that re_dms creates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a Redshift type that re_dms knows")]
pub struct ParseTypeError(String);

impl FromStr for RedshiftType {
    type Err = ParseTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = match text {
            "BOOLEAN" => Some(RedshiftType::Boolean),
            "SMALLINT" => Some(RedshiftType::SmallInt),
            "INTEGER" => Some(RedshiftType::Integer),
            "BIGINT" => Some(RedshiftType::BigInt),
            "REAL" => Some(RedshiftType::Real),
            "DOUBLE PRECISION" => Some(RedshiftType::DoublePrecision),
            "DATE" => Some(RedshiftType::Date),
            "TIME" => Some(RedshiftType::Time),
            "TIMETZ" => Some(RedshiftType::TimeTz),
            "TIMESTAMP" => Some(RedshiftType::Timestamp),
            "TIMESTAMPTZ" => Some(RedshiftType::TimestampTz),
            "SUPER" => Some(RedshiftType::Super),
            "GEOMETRY" => Some(RedshiftType::Geometry),
            "GEOGRAPHY" => Some(RedshiftType::Geography),
            _ => None,
        };
        plain.or_else(|| with_arguments(text)).ok_or_else(|| ParseTypeError(text.to_owned()))
    }
}

fn with_arguments(text: &str) -> Option<RedshiftType> {
    let (name, arguments) = text.strip_suffix(')')?.split_once('(')?;
    match name {
        "VARCHAR" => arguments.parse().ok().filter(|&n| n > 0).map(RedshiftType::Varchar),
        "VARBYTE" => {
            arguments.parse().ok().filter(|n| (1..=16_777_216).contains(n)).map(RedshiftType::Varbyte)
        }
        "DECIMAL" => {
            let (precision, scale) = arguments.split_once(',')?;
            let (precision, scale) = (precision.parse().ok()?, scale.parse().ok()?);
            let valid = (1..=38).contains(&precision) && scale <= 37 && scale <= precision;
            valid.then_some(RedshiftType::Decimal { precision, scale })
        }
        _ => None,
    }
}

impl Serialize for RedshiftType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RedshiftType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_the_round_trip() {
        let types = [
            RedshiftType::DoublePrecision,
            RedshiftType::VARCHAR_MAX,
            RedshiftType::Decimal { precision: 38, scale: 37 },
            RedshiftType::Varbyte(16_777_216),
            RedshiftType::Super,
            RedshiftType::Geometry,
            RedshiftType::Geography,
        ];
        for ty in types {
            assert_eq!(ty.to_string().parse(), Ok(ty));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let texts =
            ["varchar(1)", "VARCHAR(0)", "VARCHAR(65536)", "DECIMAL(39,0)", "DECIMAL(38,38)", "DECIMAL(2,3)"];
        for text in texts.iter().chain(&["VARCHAR(1); DROP TABLE t", "VARBYTE(16777217)", "TEXT", ""]) {
            assert!(text.parse::<RedshiftType>().is_err(), "{text:?} was taken");
        }
    }
}
