//! PostgreSQL's built-in types, by OID (`pg_type.dat`), and what becomes of each.

use super::{RedshiftType, TypeMapping};

/// How PostgreSQL's text form of a value becomes the text that `COPY` reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueClass {
    /// Taken as it is: booleans, integers, uuid, network addresses and the like, all short.
    Verbatim,
    /// Text of any length: longer than its column's bytes meets the policy.
    Text,
    /// `float4`, `float8`: NaN and infinities meet the policy.
    Float,
    /// `numeric` with a precision: NaN and infinities meet the policy.
    Numeric,
    /// `money`, printed as `-$1,234.56` with `lc_monetary = C`.
    Money,
    /// `date`, `timestamp`, `timestamptz`: infinities, BC and years above 9999 meet the policy.
    DateTime,
    /// `bytea`, printed as `\x…`; its prefix goes.
    Bytea,
    /// `json`, `jsonb`: the text is JSON already.
    Json,
    /// An array: becomes a JSON array.
    Array(ElementClass),
}

/// How one element of an array becomes JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementClass {
    /// `t` and `f`.
    Boolean,
    /// A JSON number if it is finite.
    Number,
    /// A JSON string.
    Text,
    /// JSON within JSON.
    Json,
}

/// The longest `bytea` that is loaded, in bytes: what every Redshift takes (`redshift.md`, 2.1).
const VARBYTE_BYTES: u32 = 1_024_000;

/// Maps a column's type. `modifier` is `pg_attribute.atttypmod`, -1 for none.
#[must_use]
pub fn map_type(oid: u32, modifier: i32) -> TypeMapping {
    use ElementClass as E;
    use RedshiftType as R;
    use ValueClass as C;

    let mapping = |redshift, class| TypeMapping { redshift, class };
    let text = |bytes| mapping(R::Varchar(bytes), C::Verbatim);
    match oid {
        16 => mapping(R::Boolean, C::Verbatim),
        21 => mapping(R::SmallInt, C::Verbatim),
        23 => mapping(R::Integer, C::Verbatim),
        20 => mapping(R::BigInt, C::Verbatim),
        700 => mapping(R::Real, C::Float),
        701 => mapping(R::DoublePrecision, C::Float),
        1700 => numeric(modifier),
        790 => mapping(R::Decimal { precision: 19, scale: 2 }, C::Money),
        // bpchar, varchar: at most four bytes a character
        1042 | 1043 => mapping(R::Varchar(character_bytes(modifier)), C::Text),
        // "char", name
        18 => text(4),
        19 => text(256),
        17 => mapping(R::Varbyte(VARBYTE_BYTES), C::Bytea),
        1082 => mapping(R::Date, C::DateTime),
        1083 => mapping(R::Time, C::Verbatim),
        1266 => mapping(R::TimeTz, C::Verbatim),
        1114 => mapping(R::Timestamp, C::DateTime),
        1184 => mapping(R::TimestampTz, C::DateTime),
        1186 => text(256), // interval
        2950 => text(36),  // uuid
        // inet, cidr, macaddr, macaddr8
        869 | 650 => text(64),
        829 | 774 => text(32),
        // oid and its family of 32-bit numbers without a name: xid, cid
        26 | 28 | 29 => mapping(R::BigInt, C::Verbatim),
        3220 => text(17), // pg_lsn
        5069 => text(20), // xid8
        27 => text(32),   // tid
        114 | 3802 => mapping(R::Super, C::Json),
        // arrays
        1000 => mapping(R::Super, C::Array(E::Boolean)),
        1005 | 1007 | 1016 | 1021 | 1022 | 1231 | 1028 => mapping(R::Super, C::Array(E::Number)),
        // text, varchar, bpchar, name, uuid, date, timestamp, timestamptz, time, timetz, interval, inet, cidr, macaddr
        1009 | 1015 | 1014 | 1003 | 2951 | 1182 | 1115 | 1185 | 1183 | 1270 | 1187 | 1041 | 651 | 1040 => {
            mapping(R::Super, C::Array(E::Text))
        }
        199 | 3807 => mapping(R::Super, C::Array(E::Json)),
        _ => mapping(R::VARCHAR_MAX, C::Text),
    }
}

/// `numeric(p,s)` is exact as DECIMAL where that has room; anything else is exact as text.
fn numeric(modifier: i32) -> TypeMapping {
    let as_text = TypeMapping { redshift: RedshiftType::VARCHAR_MAX, class: ValueClass::Text };
    if modifier < 4 {
        return as_text;
    }
    // numeric's modifier: precision in the upper half, an 11-bit signed scale in the lower, both offset by VARHDRSZ
    let packed = modifier - 4;
    let precision = (packed >> 16) & 0xFFFF;
    let scale = ((packed & 0x7FF) ^ 1024) - 1024;
    // A negative scale rounds to tens, hundreds…: more digits before the point. A scale above the precision means
    // zeros behind it.
    let digits = if scale < 0 { precision - scale } else { precision.max(scale) };
    let scale = scale.max(0);
    // DECIMAL(19,s) is held in 64 bits and clips at 9,223,372,036,854,775,807.
    let digits = if digits == 19 { 20 } else { digits };
    match (u8::try_from(digits), u8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale @ 0..=37)) => {
            TypeMapping { redshift: RedshiftType::Decimal { precision, scale }, class: ValueClass::Numeric }
        }
        _ => as_text,
    }
}

/// Bytes for `char(n)` or `varchar(n)`; the modifier is n + 4, or -1 for no limit.
fn character_bytes(modifier: i32) -> u16 {
    let characters = modifier - 4;
    if characters < 1 { u16::MAX } else { u16::try_from(characters.saturating_mul(4)).unwrap_or(u16::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric_modifier(precision: i32, scale: i32) -> i32 {
        ((precision << 16) | (scale & 0x7FF)) + 4
    }

    #[test]
    fn numerics_keep_every_digit() {
        let redshift = |p, s| map_type(1700, numeric_modifier(p, s)).redshift.to_string();
        assert_eq!(redshift(18, 4), "DECIMAL(18,4)");
        assert_eq!(redshift(19, 4), "DECIMAL(20,4)", "64-bit storage would clip");
        assert_eq!(redshift(38, 37), "DECIMAL(38,37)");
        assert_eq!(redshift(38, 38), "VARCHAR(65535)", "scale 38 is out of range");
        assert_eq!(redshift(39, 2), "VARCHAR(65535)");
        assert_eq!(redshift(5, -2), "DECIMAL(7,0)", "negative scale");
        assert_eq!(redshift(3, 5), "DECIMAL(5,5)", "scale above precision");
        assert_eq!(map_type(1700, -1).redshift.to_string(), "VARCHAR(65535)", "no precision: exact as text");
    }

    #[test]
    fn characters_become_bytes() {
        assert_eq!(map_type(1043, 10 + 4).redshift, RedshiftType::Varchar(40));
        assert_eq!(map_type(1043, -1).redshift, RedshiftType::VARCHAR_MAX);
        assert_eq!(map_type(1042, 20_000 + 4).redshift, RedshiftType::VARCHAR_MAX);
    }

    #[test]
    fn the_unknown_travels_as_text() {
        assert_eq!(
            map_type(999_999, -1),
            TypeMapping { redshift: RedshiftType::VARCHAR_MAX, class: ValueClass::Text }
        );
    }
}
