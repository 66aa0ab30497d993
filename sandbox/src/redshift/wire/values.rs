//! Values on the wire: types by their numbers in Redshift, texts, and the binary forms that drivers ask for.

use bytes::{BufMut, BytesMut};
use jiff::civil::{Date, DateTime};
use tokio_postgres::types::Type;

use super::frames::put_text;
use crate::redshift::results::ResultColumn;

/// SUPER and VARBYTE, which PostgreSQL has not.
const SUPER: u32 = 4000;
const VARBYTE: u32 = 6551;

/// The parts of `RowDescription` for a column.
pub(super) fn describe(column: &ResultColumn, binary: bool, out: &mut BytesMut) {
    put_text(out, &column.name);
    out.put_i32(0);
    out.put_i16(0);
    let (oid, length, modifier) = match column.column_type {
        Type::JSONB => (SUPER, -1, -1),
        Type::BYTEA => (VARBYTE, -1, -1),
        Type::TEXT | Type::UNKNOWN => (Type::VARCHAR.oid(), -1, -1),
        Type::BOOL => (Type::BOOL.oid(), 1, -1),
        Type::INT2 => (Type::INT2.oid(), 2, -1),
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID => (column.column_type.oid(), 4, -1),
        Type::INT8 | Type::FLOAT8 | Type::TIMESTAMP | Type::TIMESTAMPTZ => (column.column_type.oid(), 8, -1),
        ref other => (other.oid(), -1, column.modifier),
    };
    out.put_u32(oid);
    out.put_i16(length);
    out.put_i32(modifier);
    out.put_i16(i16::from(binary));
}

/// One value with its length. None if it has no binary form here.
pub(super) fn put_value(text: &str, column: &ResultColumn, binary: bool, out: &mut BytesMut) -> Option<()> {
    let text = column.text(text);
    let start = out.len();
    out.put_i32(0);
    if binary {
        put_binary(&text, &column.column_type, out)?;
    } else {
        out.put_slice(text.as_bytes());
    }
    let length = i32::try_from(out.len() - start - 4).ok()?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Some(())
}

fn put_binary(text: &str, column_type: &Type, out: &mut BytesMut) -> Option<()> {
    match *column_type {
        Type::BOOL => out.put_u8(u8::from(text == "t")),
        Type::INT2 => out.put_i16(text.parse().ok()?),
        Type::INT4 => out.put_i32(text.parse().ok()?),
        Type::INT8 => out.put_i64(text.parse().ok()?),
        Type::OID => out.put_u32(text.parse().ok()?),
        Type::FLOAT4 => out.put_f32(text.parse().ok()?),
        Type::FLOAT8 => out.put_f64(text.parse().ok()?),
        Type::TIMESTAMP => out.put_i64(microseconds(text)?),
        Type::TIMESTAMPTZ => out.put_i64(microseconds(text.strip_suffix("+00")?)?),
        Type::TIMETZ => {
            let (time, zone) = text.split_at(text.find(['+', '-'])?);
            out.put_i64(microseconds(&format!("2000-01-01 {time}"))?);
            // Seconds west of Greenwich.
            let hours: i32 = zone.get(..3)?.parse().ok()?;
            let minutes: i32 = zone.get(4..).map_or(Some(0), |minutes| minutes.parse().ok())?;
            out.put_i32(-(hours * 3600 + hours.signum() * minutes * 60));
        }
        Type::VARCHAR | Type::TEXT | Type::UNKNOWN | Type::BPCHAR | Type::NAME | Type::CHAR => {
            out.put_slice(text.as_bytes());
        }
        _ => return None,
    }
    Some(())
}

/// Since 2000, from the server's text. Years before the first and after 9999 have none.
fn microseconds(text: &str) -> Option<i64> {
    let at: DateTime = text.parse().ok()?;
    let epoch = Date::constant(2000, 1, 1).to_datetime(jiff::civil::Time::midnight());
    at.duration_since(epoch).as_micros().try_into().ok()
}

/// A parameter's text, from its type's binary form.
pub(super) fn parameter(bytes: &[u8], oid: u32, binary: bool) -> Option<String> {
    if !binary || is_text(oid) {
        return String::from_utf8(bytes.to_vec()).ok().filter(|text| !text.contains('\0'));
    }
    Some(match Type::from_oid(oid)? {
        Type::BOOL => (if *bytes.first()? == 0 { "f" } else { "t" }).to_owned(),
        Type::INT2 => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        Type::INT4 => i32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        Type::INT8 => i64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        Type::FLOAT4 => f32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        Type::FLOAT8 => f64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        Type::TIMESTAMP => moment(i64::from_be_bytes(bytes.try_into().ok()?))?,
        Type::TIMESTAMPTZ => {
            format!("{}+00", moment(i64::from_be_bytes(bytes.try_into().ok()?))?)
        }
        _ => return None,
    })
}

fn is_text(oid: u32) -> bool {
    [0, Type::UNKNOWN.oid(), Type::TEXT.oid(), Type::VARCHAR.oid(), Type::BPCHAR.oid()].contains(&oid)
}

fn moment(microseconds: i64) -> Option<String> {
    let epoch = Date::constant(2000, 1, 1).to_datetime(jiff::civil::Time::midnight());
    let at = epoch.checked_add(jiff::SignedDuration::from_micros(microseconds)).ok()?;
    Some(at.to_string().replace('T', " "))
}

/// How a parameter of a type stands in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As a string whose type the server infers.
    Text,
    Number,
    /// Cast to this type of Redshift's.
    Cast(&'static [&'static str]),
}

pub(super) fn form(oid: u32) -> Option<Form> {
    if is_text(oid) {
        return Some(Form::Text);
    }
    Some(match Type::from_oid(oid)? {
        Type::NUMERIC => Form::Number,
        Type::BOOL => Form::Cast(&["boolean"]),
        Type::INT2 => Form::Cast(&["smallint"]),
        Type::INT4 => Form::Cast(&["integer"]),
        Type::INT8 => Form::Cast(&["bigint"]),
        Type::FLOAT4 => Form::Cast(&["real"]),
        Type::FLOAT8 => Form::Cast(&["double", "precision"]),
        Type::DATE => Form::Cast(&["date"]),
        Type::TIME => Form::Cast(&["time"]),
        Type::TIMESTAMP => Form::Cast(&["timestamp"]),
        Type::TIMESTAMPTZ => Form::Cast(&["timestamptz"]),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(text: &str, column_type: Type) -> Option<Vec<u8>> {
        let mut out = BytesMut::new();
        let column = ResultColumn { name: String::new(), column_type, modifier: -1 };
        put_value(text, &column, true, &mut out)?;
        Some(out[4..].to_vec())
    }

    #[test]
    fn what_goes_out_in_binary_comes_back() {
        for (text, column_type) in [
            ("t", Type::BOOL),
            ("-32768", Type::INT2),
            ("2147483647", Type::INT4),
            ("-9223372036854775808", Type::INT8),
            ("0.5", Type::FLOAT4),
            ("-1.25", Type::FLOAT8),
            ("2024-02-29 12:34:56.789012", Type::TIMESTAMP),
            ("1999-12-31 23:59:59+00", Type::TIMESTAMPTZ),
        ] {
            let bytes = binary(text, column_type.clone()).unwrap();
            assert_eq!(parameter(&bytes, column_type.oid(), true).as_deref(), Some(text), "{column_type}");
        }
        assert_eq!(binary("12:00:00+05:30", Type::TIMETZ).unwrap()[8..], (-19_800_i32).to_be_bytes());
        assert_eq!(binary("1", Type::NUMERIC), None);
        assert_eq!(parameter(b"a\0", Type::TEXT.oid(), false), None);
    }
}
