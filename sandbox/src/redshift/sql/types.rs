//! Redshift's column types with their limits, and what stands for each in PostgreSQL.

use std::fmt;

use super::SqlError;
use super::cursor::Cursor;
use super::lexer::{Kind, Token};

/// A type of Redshift's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnType {
    Boolean,
    SmallInt,
    Integer,
    BigInt,
    Real,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// Length in bytes, ASCII only.
    Char(u16),
    /// Length in bytes.
    Varchar(u16),
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Super,
    /// Length in bytes.
    Varbyte(u32),
}

impl ColumnType {
    /// Reads a type; whatever has no counterpart in Redshift does not exist.
    pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SqlError> {
        let name = match cursor.rest().first() {
            // In quotes PostgreSQL means others of its types: "char" is none of Redshift's.
            Some(Token { kind: Kind::Quoted(name), .. }) => {
                return Err(SqlError::Refused(format!("type \"{name}\" does not exist")));
            }
            Some(token) => token.shown(),
            None => return Err(cursor.syntax_error()),
        };
        cursor.next();
        let simple = match name.as_str() {
            "boolean" | "bool" => Some(Self::Boolean),
            "smallint" | "int2" => Some(Self::SmallInt),
            "integer" | "int" | "int4" => Some(Self::Integer),
            "bigint" | "int8" => Some(Self::BigInt),
            "real" | "float4" => Some(Self::Real),
            "float8" | "float" => Some(Self::Double),
            "double" => {
                cursor.expect(&["precision"])?;
                Some(Self::Double)
            }
            "date" => Some(Self::Date),
            "timetz" => Some(Self::TimeTz),
            "timestamptz" => Some(Self::TimestampTz),
            "super" => Some(Self::Super),
            _ => None,
        };
        if let Some(simple) = simple {
            refuse_argument(cursor)?;
            return Ok(simple);
        }
        match name.as_str() {
            "decimal" | "numeric" => decimal(cursor),
            "varchar" | "nvarchar" => length(cursor, "varchar", 256, 65_535).map(Self::Varchar),
            "text" => {
                refuse_argument(cursor)?;
                Ok(Self::Varchar(256))
            }
            "bpchar" => {
                refuse_argument(cursor)?;
                Ok(Self::Char(256))
            }
            "char" | "character" | "nchar" if !cursor.sees(&["varying"]) => {
                length(cursor, "char", 1, 4096).map(Self::Char)
            }
            "character" => {
                cursor.expect(&["varying"])?;
                length(cursor, "varchar", 256, 65_535).map(Self::Varchar)
            }
            "varbyte" | "varbinary" => varbyte(cursor),
            "binary" if cursor.eat(&["varying"]) => varbyte(cursor),
            "time" | "timestamp" => {
                refuse_argument(cursor)?;
                let zoned = cursor.eat(&["with", "time", "zone"]);
                if !zoned {
                    cursor.eat(&["without", "time", "zone"]);
                }
                Ok(match (name.as_str(), zoned) {
                    ("time", false) => Self::Time,
                    ("time", true) => Self::TimeTz,
                    (_, false) => Self::Timestamp,
                    (_, true) => Self::TimestampTz,
                })
            }
            "interval" | "hllsketch" | "geometry" | "geography" => {
                Err(SqlError::Unsupported(format!("the type {name}")))
            }
            "json" | "jsonb" | "uuid" | "bytea" | "money" | "xml" | "inet" | "cidr" | "hstore" | "serial"
            | "bigserial" | "bit" | "tsvector" => {
                Err(SqlError::Refused(format!("Column type \"{name}\" is not supported.")))
            }
            _ => Err(SqlError::Refused(format!("type \"{name}\" does not exist"))),
        }
    }

    /// The type of a column in PostgreSQL's catalog.
    pub(crate) fn from_catalog(type_name: &str, length: Option<i32>, modifier: i32) -> Option<Self> {
        let length = length.unwrap_or(0);
        Some(match type_name {
            "bool" => Self::Boolean,
            "int2" => Self::SmallInt,
            "int4" => Self::Integer,
            "int8" => Self::BigInt,
            "float4" => Self::Real,
            "float8" => Self::Double,
            "numeric" => {
                let packed = modifier.checked_sub(4)?;
                let precision = u8::try_from(packed >> 16).ok()?;
                Self::Decimal { precision, scale: u8::try_from(packed & 0x7FF).ok()? }
            }
            "bpchar" => Self::Char(u16::try_from(modifier - 4).ok()?),
            "varchar" => Self::Varchar(u16::try_from(modifier - 4).ok()?),
            "date" => Self::Date,
            "time" => Self::Time,
            "timetz" => Self::TimeTz,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            "jsonb" => Self::Super,
            "bytea" => Self::Varbyte(u32::try_from(length).ok()?),
            _ => return None,
        })
    }

    /// PostgreSQL's type.
    pub(crate) fn postgres(self) -> String {
        match self {
            Self::Boolean => "boolean".to_owned(),
            Self::SmallInt => "smallint".to_owned(),
            Self::Integer => "integer".to_owned(),
            Self::BigInt => "bigint".to_owned(),
            Self::Real => "real".to_owned(),
            Self::Double => "double precision".to_owned(),
            Self::Decimal { precision, scale } => format!("numeric({precision},{scale})"),
            Self::Char(bytes) => format!("char({bytes})"),
            Self::Varchar(bytes) => format!("varchar({bytes})"),
            Self::Date => "date".to_owned(),
            Self::Time => "time".to_owned(),
            Self::TimeTz => "timetz".to_owned(),
            Self::Timestamp => "timestamp".to_owned(),
            Self::TimestampTz => "timestamptz".to_owned(),
            Self::Super => "jsonb".to_owned(),
            Self::Varbyte(_) => "bytea".to_owned(),
        }
    }

    /// A column constraint that keeps Redshift's length in bytes, which PostgreSQL counts in characters. Its name, unique
    /// by `tag`, tells the limit again when the constraint is broken or the catalog is read.
    pub(crate) fn length_check(self, column: &str, tag: &str) -> Option<String> {
        let column = super::quoted(column);
        Some(match self {
            Self::Varchar(bytes) => {
                format!("CONSTRAINT \"varchar_{bytes}_{tag}\" CHECK (octet_length({column}) <= {bytes})")
            }
            Self::Char(bytes) => format!(
                "CONSTRAINT \"ascii_{bytes}_{tag}\" CHECK (octet_length({column}::text) = char_length({column}::text)) \
                 CONSTRAINT \"char_{bytes}_{tag}\" CHECK (octet_length({column}) <= {bytes})"
            ),
            Self::Varbyte(bytes) => {
                format!("CONSTRAINT \"varbyte_{bytes}_{tag}\" CHECK (octet_length({column}) <= {bytes})")
            }
            _ => return None,
        })
    }

    /// Whether an empty field of a file is a value rather than NULL.
    pub(crate) fn is_character(self) -> bool {
        matches!(self, Self::Char(_) | Self::Varchar(_))
    }
}

/// As Redshift's load errors name it: `column_type`, `column_length`.
impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "bool",
            Self::SmallInt => "int2",
            Self::Integer => "int4",
            Self::BigInt => "int8",
            Self::Real => "float4",
            Self::Double => "float8",
            Self::Decimal { .. } => "numeric",
            Self::Char(_) => "char",
            Self::Varchar(_) => "varchar",
            Self::Date => "date",
            Self::Time => "time",
            Self::TimeTz => "timetz",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamptz",
            Self::Super => "super",
            Self::Varbyte(_) => "varbyte",
        })
    }
}

/// `timestamp(3)`, `integer(4)`: Redshift takes no modifier there.
fn refuse_argument(cursor: &Cursor<'_>) -> Result<(), SqlError> {
    if cursor.sees_symbol("(") { Err(SqlError::Syntax("(".to_owned())) } else { Ok(()) }
}

fn length(cursor: &mut Cursor<'_>, name: &str, default: u16, max: u16) -> Result<u16, SqlError> {
    if !cursor.eat_symbol("(") {
        return Ok(default);
    }
    let bytes = if cursor.eat(&["max"]) { u64::from(max) } else { cursor.integer()? };
    cursor.expect_symbol(")")?;
    match u16::try_from(bytes) {
        Ok(0) => Err(SqlError::Refused(format!("length for type {name} must be at least 1"))),
        Ok(bytes) if bytes <= max => Ok(bytes),
        _ => Err(SqlError::Refused(format!("length for type {name} cannot exceed {max}"))),
    }
}

fn varbyte(cursor: &mut Cursor<'_>) -> Result<ColumnType, SqlError> {
    const MAX: u64 = 16_777_216;
    if !cursor.eat_symbol("(") {
        return Ok(ColumnType::Varbyte(64_000));
    }
    let bytes = cursor.integer()?;
    cursor.expect_symbol(")")?;
    match u32::try_from(bytes) {
        Ok(short @ 1..) if bytes <= MAX => Ok(ColumnType::Varbyte(short)),
        _ => Err(SqlError::Refused(format!("length for type varbyte must be between 1 and {MAX}"))),
    }
}

fn decimal(cursor: &mut Cursor<'_>) -> Result<ColumnType, SqlError> {
    let (mut precision, mut scale) = (18, 0);
    if cursor.eat_symbol("(") {
        precision = cursor.integer()?;
        if cursor.eat_symbol(",") {
            if cursor.eat_symbol("-") {
                let negative = cursor.integer()?;
                return Err(SqlError::Refused(format!("DECIMAL scale -{negative} must be between 0 and 37")));
            }
            scale = cursor.integer()?;
        }
        cursor.expect_symbol(")")?;
    }
    if !(1..=38).contains(&precision) {
        return Err(SqlError::Refused(format!("DECIMAL precision {precision} must be between 1 and 38")));
    }
    if scale > 37 {
        return Err(SqlError::Refused(format!("DECIMAL scale {scale} must be between 0 and 37")));
    }
    if scale > precision {
        return Err(SqlError::Refused(format!(
            "DECIMAL scale {scale} must be between 0 and precision {precision}"
        )));
    }
    let small = |number| u8::try_from(number).map_err(|_| cursor.syntax_error());
    Ok(ColumnType::Decimal { precision: small(precision)?, scale: small(scale)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redshift::sql::tokens;

    fn parse(text: &str) -> Result<ColumnType, SqlError> {
        let tokens = tokens(text)?;
        let mut cursor = Cursor::new(&tokens);
        let parsed = ColumnType::parse(&mut cursor)?;
        cursor.expect_end()?;
        Ok(parsed)
    }

    #[test]
    fn lengths_default_as_in_redshift() {
        assert_eq!(parse("TEXT"), Ok(ColumnType::Varchar(256)));
        assert_eq!(parse("VARCHAR"), Ok(ColumnType::Varchar(256)));
        assert_eq!(parse("VARCHAR(MAX)"), Ok(ColumnType::Varchar(65_535)));
        assert_eq!(parse("DECIMAL"), Ok(ColumnType::Decimal { precision: 18, scale: 0 }));
        assert_eq!(parse("CHAR"), Ok(ColumnType::Char(1)));
        assert_eq!(parse("VARBYTE"), Ok(ColumnType::Varbyte(64_000)));
        assert_eq!(parse("timestamp with time zone"), Ok(ColumnType::TimestampTz));
    }

    #[test]
    fn every_type_of_the_type_map_is_known() {
        for oid in [16, 21, 23, 20, 700, 701, 1700, 790, 1043, 17, 1082, 1083, 1266, 1114, 1184, 3802, 25] {
            let name = re_dms_shared::types::map_type(oid, -1).redshift.to_string();
            assert!(parse(&name).is_ok(), "{name}");
        }
    }

    #[test]
    fn limits_hold() {
        let cases = [
            ("DECIMAL(39,0)", "DECIMAL precision 39 must be between 1 and 38"),
            ("DECIMAL(38,38)", "DECIMAL scale 38 must be between 0 and 37"),
            ("DECIMAL(5,-2)", "DECIMAL scale -2 must be between 0 and 37"),
            ("VARCHAR(65536)", "length for type varchar cannot exceed 65535"),
            ("CHAR(4097)", "length for type char cannot exceed 4096"),
            ("TIMESTAMP(3)", "syntax error at or near \"(\""),
            ("JSONB", "Column type \"jsonb\" is not supported."),
            ("tsrange", "type \"tsrange\" does not exist"),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), error, "{text}");
        }
        assert!(parse("INTEGER[]").is_err());
    }
}
