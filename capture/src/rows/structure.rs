//! PostgreSQL's literals of arrays, composites and hstore as JSON, as its own `to_jsonb` would make it.

use re_dms_shared::types::JsonForm;

use super::json::push_string;
use super::number;
use super::value::Failure;

const ARRAY: Failure = Failure::Malformed("an array literal");
const COMPOSITE: Failure = Failure::Malformed("a composite literal");
const HSTORE: Failure = Failure::Malformed("an hstore literal");

/// Writes the value as JSON. Bounds of arrays (`[0:2]={…}`) are left out: JSON has none. `buffer` is for elements with
/// escapes.
pub(super) fn push_json(
    value: &[u8],
    form: &JsonForm,
    buffer: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    match form {
        JsonForm::Boolean => match value {
            b"t" => out.extend_from_slice(b"true"),
            b"f" => out.extend_from_slice(b"false"),
            _ => return Err(Failure::Malformed("a boolean")),
        },
        JsonForm::Integer | JsonForm::Number if number::is_finite(value) => out.extend_from_slice(value),
        JsonForm::Number if number::is_special(value) => push_string(value, out),
        JsonForm::Integer | JsonForm::Number => return Err(Failure::Malformed("a number")),
        JsonForm::Text => push_string(value, out),
        JsonForm::Timestamp | JsonForm::TimestampTz => push_timestamp(value, form, out),
        JsonForm::Json => out.extend_from_slice(value),
        JsonForm::Hstore => push_hstore(value, &mut Vec::new(), out)?,
        JsonForm::Array { element, delimiter } => push_array(value, element, *delimiter, buffer, out)?,
        JsonForm::Composite(fields) => push_composite(value, fields, buffer, out)?,
    }
    Ok(())
}

/// `2024-02-29 23:59:59+00` as `2024-02-29T23:59:59+00:00`.
fn push_timestamp(value: &[u8], form: &JsonForm, out: &mut Vec<u8>) {
    let start = out.len();
    push_string(value, out);
    if let Some(blank) = out[start..].iter().position(|&byte| byte == b' ') {
        out[start + blank] = b'T';
    }
    if *form == JsonForm::TimestampTz
        && let Some(sign) = out[start..].iter().position(|&byte| byte == b'+')
    {
        let minutes = (start + sign + 3).min(out.len());
        out.splice(minutes..minutes, *b":00");
    }
}

/// Where the parser of an array stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Behind an opening brace, or at the very start.
    Opening,
    Delimiter,
    Value,
}

fn push_array(
    literal: &[u8],
    form: &JsonForm,
    delimiter: u8,
    buffer: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut rest = without_bounds(literal)?;
    let mut depth = 0_usize;
    let mut at = At::Opening;
    while let Some((&byte, after)) = rest.split_first() {
        (at, rest) = match (byte, at) {
            (b'{', At::Opening | At::Delimiter) => {
                depth += 1;
                out.push(b'[');
                (At::Opening, after)
            }
            // An element, a delimiter or a second array outside of all braces.
            _ if depth == 0 => return Err(ARRAY),
            (b'}', At::Opening | At::Value) => {
                depth -= 1;
                out.push(b']');
                (At::Value, after)
            }
            (byte, At::Value) if byte == delimiter => {
                out.push(b',');
                (At::Delimiter, after)
            }
            (b'"', At::Opening | At::Delimiter) => {
                let after = unquote(after, buffer, ARRAY)?;
                push_element(buffer, form, out)?;
                (At::Value, after)
            }
            (_, At::Opening | At::Delimiter) => {
                let ends = |byte: &u8| *byte == delimiter || *byte == b'}';
                let (element, after) = rest.split_at(rest.iter().position(ends).ok_or(ARRAY)?);
                if element.is_empty() {
                    return Err(ARRAY);
                }
                if element.eq_ignore_ascii_case(b"NULL") {
                    out.extend_from_slice(b"null");
                } else {
                    push_element(element, form, out)?;
                }
                (At::Value, after)
            }
            _ => return Err(ARRAY),
        };
    }
    if depth == 0 && at == At::Value { Ok(()) } else { Err(ARRAY) }
}

/// What is nested has a buffer of its own: `element` may be the one of the level above.
fn push_element(element: &[u8], form: &JsonForm, out: &mut Vec<u8>) -> Result<(), Failure> {
    push_json(element, form, &mut Vec::new(), out)
}

fn without_bounds(literal: &[u8]) -> Result<&[u8], Failure> {
    if literal.first() != Some(&b'[') {
        return Ok(literal);
    }
    let end = literal.iter().position(|&byte| byte == b'=').ok_or(ARRAY)?;
    Ok(&literal[end + 1..])
}

/// Takes the text whose opening quote is just before `text` to `buffer`, backslashes undone; returns what follows it.
fn unquote<'a>(text: &'a [u8], buffer: &mut Vec<u8>, failure: Failure) -> Result<&'a [u8], Failure> {
    buffer.clear();
    let mut rest = text;
    loop {
        let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or(failure)?;
        buffer.extend_from_slice(&rest[..plain]);
        if rest[plain] == b'"' {
            return Ok(&rest[plain + 1..]);
        }
        let (&escaped, after) = rest[plain + 1..].split_first().ok_or(failure)?;
        buffer.push(escaped);
        rest = after;
    }
}

fn push_composite(
    literal: &[u8],
    fields: &[(String, JsonForm)],
    buffer: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut rest = literal.strip_prefix(b"(").ok_or(COMPOSITE)?;
    out.push(b'{');
    for (position, (name, form)) in fields.iter().enumerate() {
        if position > 0 {
            out.push(b',');
            rest = rest.strip_prefix(b",").ok_or(COMPOSITE)?;
        }
        push_string(name.as_bytes(), out);
        out.push(b':');
        if let Some(after) = rest.strip_prefix(b"\"") {
            rest = unquote_field(after, buffer)?;
            push_element(buffer, form, out)?;
        } else {
            let length = rest.iter().position(|byte| matches!(byte, b',' | b')')).ok_or(COMPOSITE)?;
            let (field, after) = rest.split_at(length);
            rest = after;
            if field.is_empty() {
                out.extend_from_slice(b"null");
            } else {
                push_element(field, form, out)?;
            }
        }
    }
    out.push(b'}');
    if rest == b")" { Ok(()) } else { Err(COMPOSITE) }
}

/// As [`unquote`], with quotes doubled instead of escaped.
fn unquote_field<'a>(text: &'a [u8], buffer: &mut Vec<u8>) -> Result<&'a [u8], Failure> {
    let mut rest = unquote(text, buffer, COMPOSITE)?;
    let mut part = Vec::new();
    while let Some(after) = rest.strip_prefix(b"\"") {
        rest = unquote(after, &mut part, COMPOSITE)?;
        buffer.push(b'"');
        buffer.append(&mut part);
    }
    Ok(rest)
}

/// Writes `"key"=>"value", "other"=>NULL` as a JSON object.
pub(super) fn push_hstore(literal: &[u8], buffer: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Failure> {
    let mut rest = literal;
    out.push(b'{');
    while !rest.is_empty() {
        if rest.len() < literal.len() {
            rest = rest.strip_prefix(b", ").ok_or(HSTORE)?;
            out.push(b',');
        }
        rest = unquote(rest.strip_prefix(b"\"").ok_or(HSTORE)?, buffer, HSTORE)?;
        push_string(buffer, out);
        out.push(b':');
        rest = rest.strip_prefix(b"=>").ok_or(HSTORE)?;
        if let Some(after) = rest.strip_prefix(b"\"") {
            rest = unquote(after, buffer, HSTORE)?;
            push_string(buffer, out);
        } else {
            rest = rest.strip_prefix(b"NULL").ok_or(HSTORE)?;
            out.extend_from_slice(b"null");
        }
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests;
