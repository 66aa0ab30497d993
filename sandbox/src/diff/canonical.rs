//! A value's common text form: SQL expressions for both sides that give equal text exactly for values that are equal
//! after the declared policies. The source's expression does to a value what the policy does (NULL instead of what
//! Redshift has no value for, text cut at a character's end); the warehouse's only prints.

use re_dms_shared::types::{Policy, RedshiftType, ValueClass};

use super::catalog::SourceColumn;

/// Longest string within a SUPER, in bytes (`redshift.md`, 2.1).
const SUPER_STRING_BYTES: u32 = 65_535;

/// The names that PostgreSQL has for the types that the stand-in may use for a Redshift type.
pub(super) fn expected_types(redshift: RedshiftType) -> &'static [&'static str] {
    match redshift {
        RedshiftType::Boolean => &["bool"],
        RedshiftType::SmallInt => &["int2"],
        RedshiftType::Integer => &["int4"],
        RedshiftType::BigInt => &["int8"],
        RedshiftType::Real => &["float4"],
        RedshiftType::DoublePrecision => &["float8"],
        RedshiftType::Decimal { .. } => &["numeric"],
        RedshiftType::Varchar(_) => &["text", "varchar"],
        RedshiftType::Date => &["date"],
        RedshiftType::Time => &["time"],
        RedshiftType::TimeTz => &["timetz"],
        RedshiftType::Timestamp => &["timestamp"],
        RedshiftType::TimestampTz => &["timestamptz"],
        RedshiftType::Super => &["jsonb"],
        RedshiftType::Varbyte(_) => &["bytea"],
        RedshiftType::Geometry => &["geometry"],
        RedshiftType::Geography => &["geography"],
    }
}

/// The longest value of a GEOMETRY or GEOGRAPHY, in bytes.
const GEOMETRY_BYTES: u32 = 1_048_447;

/// `c` is the quoted column on the source.
pub(super) fn source(column: &SourceColumn, c: &str) -> String {
    if let Some(hash) = &column.hash {
        return hash.expression(&printed(c));
    }
    match &column.mapping.class {
        ValueClass::Verbatim => verbatim(column, c),
        ValueClass::Text => {
            let text = if is_character(column.type_oid) { format!("{c}::text") } else { printed(c) };
            match (column.mapping.redshift, column.rules.long_text) {
                (RedshiftType::Varchar(bytes), Policy::Truncate) => untrailed(column, &cut(&text, bytes)),
                (RedshiftType::Varchar(_), Policy::Quarantine) => untrailed(column, &text),
                (RedshiftType::Varchar(bytes), _) => {
                    let text = untrailed(column, &text);
                    let utf8 = format!("convert_to({text}, 'UTF8')");
                    format!("CASE WHEN octet_length({utf8}) <= {bytes} THEN {text} END")
                }
                _ => text,
            }
        }
        ValueClass::Float => {
            format!("CASE WHEN {c} NOT IN ('NaN', 'Infinity', '-Infinity') THEN {c}::text END")
        }
        ValueClass::Numeric => format!("trim_scale(NULLIF({c}, 'NaN'))::text"),
        ValueClass::Decimal => decimal(column, &format!("{c}::numeric")),
        ValueClass::Money => format!("trim_scale(NULLIF({c}::numeric, -92233720368547758.08))::text"),
        ValueClass::Date => date(column, c, "9999-12-31"),
        ValueClass::Timestamp => date(column, c, "9999-12-31 23:59:59.999999"),
        ValueClass::TimestampTz => date(column, c, "9999-12-31 23:59:59.999999+00"),
        ValueClass::TimeTz => {
            format!(
                "CASE WHEN abs(extract(timezone FROM {c})) < 15 * 3600 THEN ({c} AT TIME ZONE 'UTC')::text END"
            )
        }
        ValueClass::Bytea => match column.mapping.redshift {
            RedshiftType::Varbyte(bytes) => {
                format!("CASE WHEN octet_length({c}) BETWEEN 1 AND {bytes} THEN encode({c}, 'hex') END")
            }
            _ => format!("encode({c}, 'hex')"),
        },
        ValueClass::Geometry => {
            format!("CASE WHEN octet_length({c}::text) / 2 <= {GEOMETRY_BYTES} THEN {c}::text END")
        }
        ValueClass::Json => {
            within_super(&format!("(CASE WHEN {c}::text !~* '{NO_CHARACTER}' THEN {c}::jsonb END)"))
        }
        ValueClass::Hstore | ValueClass::Structure(_) => within_super(&format!("to_jsonb({c})")),
    }
}

/// An escape in JSON that stands for no character that can be stored: NUL, or half a surrogate pair. The type `json` lets
/// them through. A backslash before it, if there is one, must be half of an escaped one.
const NO_CHARACTER: &str = r"(?<!\\)(\\\\)*(\\u0000|\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f][0-9a-f]{2})|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2})";

/// What has no room in the column is its nearest value, or NULL; under the policy `error` it does not arrive.
fn decimal(column: &SourceColumn, number: &str) -> String {
    let RedshiftType::Decimal { precision, scale } = column.mapping.redshift else {
        return format!("trim_scale({number})::text");
    };
    let digits = |count: u8| "9".repeat(count.into());
    let largest = format!("{}.{}", digits(precision - scale), digits(scale));
    match column.rules.inexact {
        Policy::Saturate => format!(
            "CASE WHEN {number} NOT IN ('NaN', 'Infinity', '-Infinity') \
             THEN trim_scale(LEAST(GREATEST(round({number}, {scale}), -0{largest}), 0{largest}))::text END"
        ),
        _ => format!(
            "CASE WHEN abs({number}) <= 0{largest} AND {number} = round({number}, {scale}) \
             THEN trim_scale({number})::text END"
        ),
    }
}

/// Comparison with the infinities comes out right: they are outside.
fn date(column: &SourceColumn, c: &str, last: &str) -> String {
    match column.rules.date {
        Policy::Saturate => format!("LEAST(GREATEST({c}, '0001-01-01'), '{last}')::text"),
        _ => format!("CASE WHEN {c} >= '0001-01-01' AND {c} < '10000-01-01' THEN {c}::text END"),
    }
}

/// `c` is the quoted column in the warehouse, of one of the [`expected_types`].
pub(super) fn target(column: &SourceColumn, c: &str) -> String {
    match &column.mapping.class {
        ValueClass::TimeTz => format!("({c} AT TIME ZONE 'UTC')::text"),
        ValueClass::Text => untrailed(column, &format!("{c}::text")),
        ValueClass::Numeric | ValueClass::Decimal | ValueClass::Money => format!("trim_scale({c})::text"),
        ValueClass::Bytea => format!("encode({c}, 'hex')"),
        _ => format!("{c}::text"),
    }
}

fn verbatim(column: &SourceColumn, c: &str) -> String {
    match column.mapping.redshift {
        RedshiftType::Varchar(_) => printed(c),
        _ => format!("{c}::text"),
    }
}

/// What the type's output function prints, which a cast to text does not always give (`inet`).
fn printed(c: &str) -> String {
    // A composite value with a NULL in it "is not null" only for num_nulls.
    format!("CASE WHEN num_nulls({c}) = 0 THEN format('%s', {c}) END")
}

/// text, char(n), varchar(n)
fn is_character(type_oid: u32) -> bool {
    matches!(type_oid, 25 | 1042 | 1043)
}

/// Padding of `char(n)` is not part of the value.
fn untrailed(column: &SourceColumn, text: &str) -> String {
    if column.type_oid == 1042 { format!("rtrim({text}, ' ')") } else { text.to_owned() }
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

/// JSON as text; NULL if one of its strings is longer than a SUPER's may be.
fn within_super(json: &str) -> String {
    let strings = format!("jsonb_path_query({json}, '$.** ? (@.type() == \"string\")')");
    format!(
        "CASE WHEN octet_length({json}::text) > {SUPER_STRING_BYTES} AND EXISTS (SELECT FROM {strings} AS s \
         WHERE octet_length(s #>> '{{}}') > {SUPER_STRING_BYTES}) THEN NULL ELSE {json}::text END"
    )
}
