//! What becomes of each of PostgreSQL's types; the built-in ones by OID (`pg_type.dat`).

use super::{ColumnRules, HASHED, JsonForm, RedshiftType, SourceType, TypeMapping, ValueClass};

/// The longest `bytea` that is loaded, in bytes: what every Redshift takes (`redshift.md`, 2.1).
const VARBYTE_BYTES: u32 = 1_024_000;

/// A key's VARCHAR has at least this many bytes: Redshift could never widen that of a primary key (`redshift.md`, 3.2).
const KEY_BYTES: u16 = 1024;

/// The type that the configuration asks for can't hold the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the type {wanted} does not hold what the source's type becomes by itself, {mapped} (hint: VARCHAR holds everything, \
     DECIMAL numbers, integers and DOUBLE PRECISION narrower ones, VARBYTE bytea)"
)]
pub struct OverrideError {
    /// The configuration's type.
    pub wanted: RedshiftType,
    /// The map's type.
    pub mapped: RedshiftType,
}

/// Maps a built-in type as the map has it without any rules. `modifier` is `pg_attribute.atttypmod`, -1 for none.
#[must_use]
pub fn map_type(oid: u32, modifier: i32) -> TypeMapping {
    map_source(&SourceType::of_oid(oid), modifier, None)
}

/// Maps a column: its type, its modifier, whether it is part of the key, and what the configuration says of it.
///
/// # Errors
/// If the configuration's type can't hold the source's.
pub fn map_column(
    ty: &SourceType,
    modifier: i32,
    key: bool,
    rules: &ColumnRules,
) -> Result<TypeMapping, OverrideError> {
    let (ty, modifier) = ty.behind_domains(modifier);
    let mut mapping = map_source(ty, modifier, rules.numeric_scale);
    if let Some(wanted) = rules.redshift
        && *ty != SourceType::Oid(HASHED)
    {
        return overridden(mapping, *ty == SourceType::Oid(1700), wanted);
    }
    if key
        && mapping.class == ValueClass::Text
        && let RedshiftType::Varchar(bytes) = mapping.redshift
    {
        mapping.redshift = RedshiftType::Varchar(bytes.max(KEY_BYTES));
    }
    Ok(mapping)
}

/// A type from the configuration over the map's.
fn overridden(
    mapping: TypeMapping,
    is_numeric: bool,
    wanted: RedshiftType,
) -> Result<TypeMapping, OverrideError> {
    use RedshiftType as R;
    use ValueClass as C;

    let integer_bytes = |ty| match ty {
        R::SmallInt => Some(2),
        R::Integer => Some(4),
        R::BigInt => Some(8),
        _ => None,
    };
    let is_integer = integer_bytes(mapping.redshift).is_some();
    let class = match (wanted, &mapping.class) {
        (R::Varchar(_), _) => C::Text,
        (R::Decimal { .. }, C::Numeric | C::Decimal) => C::Decimal,
        (R::Decimal { .. }, C::Text) if is_numeric => C::Decimal,
        (R::Decimal { .. }, C::Verbatim) if is_integer => C::Decimal,
        (R::DoublePrecision, C::Float) => C::Float,
        (R::Varbyte(_), C::Bytea) => C::Bytea,
        _ if wanted == mapping.redshift => mapping.class,
        _ if is_integer && integer_bytes(wanted) > integer_bytes(mapping.redshift) => C::Verbatim,
        _ => return Err(OverrideError { wanted, mapped: mapping.redshift }),
    };
    Ok(TypeMapping { redshift: wanted, class })
}

fn map_source(ty: &SourceType, modifier: i32, numeric_scale: Option<u8>) -> TypeMapping {
    let mapping = |redshift, class| TypeMapping { redshift, class };
    match ty {
        SourceType::Oid(oid) => built_in(*oid, modifier, numeric_scale),
        SourceType::Extension(name) => match name.as_str() {
            "hstore" => mapping(RedshiftType::Super, ValueClass::Hstore),
            "geometry" => mapping(RedshiftType::Geometry, ValueClass::Geometry),
            "geography" => mapping(RedshiftType::Geography, ValueClass::Geometry),
            _ => mapping(RedshiftType::VARCHAR_MAX, ValueClass::Text),
        },
        // A label has at most 63 bytes.
        SourceType::Enum => mapping(RedshiftType::Varchar(256), ValueClass::Text),
        SourceType::Range => mapping(RedshiftType::VARCHAR_MAX, ValueClass::Text),
        SourceType::Domain { .. } => {
            let (base, modifier) = ty.behind_domains(modifier);
            map_source(base, modifier, numeric_scale)
        }
        SourceType::Array { .. } | SourceType::Composite(_) => {
            mapping(RedshiftType::Super, ValueClass::Structure(json_form(ty)))
        }
    }
}

/// As PostgreSQL's `to_jsonb` sees it.
fn json_form(ty: &SourceType) -> JsonForm {
    match ty {
        SourceType::Oid(oid) => match oid {
            16 => JsonForm::Boolean,
            20 | 21 | 23 => JsonForm::Integer,
            700 | 701 | 1700 => JsonForm::Number,
            114 | 3802 => JsonForm::Json,
            1114 => JsonForm::Timestamp,
            1184 => JsonForm::TimestampTz,
            _ => JsonForm::Text,
        },
        SourceType::Extension(name) if name == "hstore" => JsonForm::Hstore,
        SourceType::Extension(_) | SourceType::Enum | SourceType::Range => JsonForm::Text,
        SourceType::Domain { base, .. } => json_form(base),
        SourceType::Array { element, delimiter } => {
            JsonForm::Array { element: Box::new(json_form(element)), delimiter: *delimiter }
        }
        SourceType::Composite(fields) => JsonForm::Composite(
            fields.iter().map(|field| (field.name.clone(), json_form(&field.ty))).collect(),
        ),
    }
}

fn built_in(oid: u32, modifier: i32, numeric_scale: Option<u8>) -> TypeMapping {
    use RedshiftType as R;
    use ValueClass as C;

    let mapping = |redshift, class| TypeMapping { redshift, class };
    let text = |bytes| mapping(R::Varchar(bytes), C::Verbatim);
    match oid {
        HASHED => text(64),
        16 => mapping(R::Boolean, C::Verbatim),
        21 => mapping(R::SmallInt, C::Verbatim),
        23 => mapping(R::Integer, C::Verbatim),
        20 => mapping(R::BigInt, C::Verbatim),
        700 => mapping(R::Real, C::Float),
        701 => mapping(R::DoublePrecision, C::Float),
        1700 => numeric(modifier, numeric_scale),
        790 => mapping(R::Decimal { precision: 19, scale: 2 }, C::Money),
        // bpchar, varchar: at most four bytes a character
        1042 | 1043 => mapping(R::Varchar(character_bytes(modifier)), C::Text),
        // "char", name
        18 => text(4),
        19 => text(256),
        17 => mapping(R::Varbyte(VARBYTE_BYTES), C::Bytea),
        1082 => mapping(R::Date, C::Date),
        1083 => mapping(R::Time, C::Verbatim),
        1266 => mapping(R::TimeTz, C::TimeTz),
        1114 => mapping(R::Timestamp, C::Timestamp),
        1184 => mapping(R::TimestampTz, C::TimestampTz),
        1186 => text(256), // interval
        2950 => text(36),  // uuid
        // inet, cidr, macaddr, macaddr8
        869 | 650 => text(64),
        829 | 774 => text(32),
        // bit(n), bit varying(n): the modifier is n
        1560 | 1562 => {
            let bits = u16::try_from(modifier).ok().filter(|&bits| bits > 0).unwrap_or(u16::MAX);
            mapping(R::Varchar(bits), C::Text)
        }
        // oid and its family of 32-bit numbers without a name: xid, cid
        26 | 28 | 29 => mapping(R::BigInt, C::Verbatim),
        3220 => text(17), // pg_lsn
        5069 => text(20), // xid8
        27 => text(32),   // tid
        // ranges with bounds of limited length: int4, int8, date; timestamp, timestamptz
        3904 | 3926 | 3912 => text(64),
        3908 | 3910 => text(128),
        // geometric types of up to four numbers of up to 24 characters: point; line, lseg, box, circle
        600 => text(64),
        628 | 601 | 603 | 718 => text(128),
        114 | 3802 => mapping(R::Super, C::Json),
        _ => mapping(R::VARCHAR_MAX, C::Text),
    }
}

/// `numeric(p,s)` is exact as DECIMAL where that has room; anything else is exact as text, or as near as the configured
/// scale allows.
fn numeric(modifier: i32, numeric_scale: Option<u8>) -> TypeMapping {
    let without_room = match numeric_scale {
        None => TypeMapping { redshift: RedshiftType::VARCHAR_MAX, class: ValueClass::Text },
        Some(scale) => TypeMapping {
            redshift: RedshiftType::Decimal { precision: 38, scale },
            class: ValueClass::Decimal,
        },
    };
    if modifier < 4 {
        return without_room;
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
        _ => without_room,
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
        let text = TypeMapping { redshift: RedshiftType::VARCHAR_MAX, class: ValueClass::Text };
        assert_eq!(map_type(999_999, -1), text);
        assert_eq!(map_source(&SourceType::Extension("ltree".to_owned()), -1, None), text);
    }

    #[test]
    fn domains_are_what_they_are_based_on() {
        let amount =
            SourceType::Domain { base: Box::new(SourceType::Oid(1700)), modifier: numeric_modifier(9, 2) };
        let outer = SourceType::Domain { base: Box::new(amount), modifier: -1 };
        let mapping = map_column(&outer, -1, false, &ColumnRules::default()).unwrap();
        assert_eq!(mapping.redshift.to_string(), "DECIMAL(9,2)");
        let list = SourceType::Domain { base: Box::new(SourceType::of_oid(1007)), modifier: -1 };
        let mapping = map_column(&list, -1, false, &ColumnRules::default()).unwrap();
        assert_eq!(mapping, map_type(1007, -1));
    }

    #[test]
    fn extensions_are_known_by_name() {
        let redshift =
            |name: &str| map_source(&SourceType::Extension(name.to_owned()), -1, None).redshift.to_string();
        assert_eq!(redshift("hstore"), "SUPER");
        assert_eq!(redshift("geometry"), "GEOMETRY");
        assert_eq!(redshift("geography"), "GEOGRAPHY");
    }

    #[test]
    fn keys_are_generous() {
        let rules = ColumnRules::default();
        let redshift =
            |oid, modifier| map_column(&SourceType::Oid(oid), modifier, true, &rules).unwrap().redshift;
        assert_eq!(redshift(1043, 10 + 4), RedshiftType::Varchar(KEY_BYTES));
        assert_eq!(redshift(1043, 500 + 4), RedshiftType::Varchar(2000));
        assert_eq!(redshift(2950, -1), RedshiftType::Varchar(36), "can't get longer");
    }

    #[test]
    fn the_configuration_may_want_another_type() {
        let with = |oid, wanted: &str| {
            let rules = ColumnRules { redshift: Some(wanted.parse().unwrap()), ..ColumnRules::default() };
            map_column(&SourceType::of_oid(oid), -1, false, &rules).map(|mapping| mapping.class)
        };
        assert_eq!(with(1700, "DECIMAL(20,4)"), Ok(ValueClass::Decimal));
        assert_eq!(with(23, "DECIMAL(10,0)"), Ok(ValueClass::Decimal));
        assert_eq!(with(23, "BIGINT"), Ok(ValueClass::Verbatim));
        assert_eq!(with(1082, "VARCHAR(20)"), Ok(ValueClass::Text));
        assert_eq!(with(17, "VARBYTE(100)"), Ok(ValueClass::Bytea));
        assert_eq!(with(HASHED, "BIGINT"), Ok(ValueClass::Verbatim), "a hash stays one");
        for (oid, wanted) in
            [(20, "INTEGER"), (25, "DECIMAL(5,0)"), (25, "SUPER"), (16, "INTEGER"), (701, "REAL")]
        {
            assert!(with(oid, wanted).is_err(), "{oid} as {wanted}");
        }
    }

    #[test]
    fn a_numeric_without_precision_may_have_a_scale() {
        let rules = ColumnRules { numeric_scale: Some(9), ..ColumnRules::default() };
        let map = |modifier| map_column(&SourceType::Oid(1700), modifier, false, &rules).unwrap();
        assert_eq!(map(-1).redshift.to_string(), "DECIMAL(38,9)");
        assert_eq!(map(numeric_modifier(50, 2)).class, ValueClass::Decimal);
        assert_eq!(map(numeric_modifier(18, 4)).redshift.to_string(), "DECIMAL(18,4)");
        assert!(!map(-1).can_be_key(), "digits may be lost");
    }
}
