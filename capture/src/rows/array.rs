//! PostgreSQL's array literals as JSON arrays.

use re_dms_shared::types::ElementClass;

use super::json::{self, MAX_STRING_BYTES};
use super::value::{Malformed, Outcome, cut, is_finite_number, is_special_number};

const MALFORMED: Malformed = Malformed("an array literal");

/// Where the parser stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// Behind an opening brace, or at the very start.
    Opening,
    Comma,
    Value,
}

/// Writes the array as JSON. Bounds (`[0:2]={…}`) are left out: JSON has none. `buffer` is for elements with escapes.
pub(super) fn push_json(
    literal: &[u8],
    class: ElementClass,
    buffer: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<Outcome, Malformed> {
    let mut outcome = Outcome::EXACT;
    let mut rest = without_bounds(literal)?;
    let mut depth = 0_usize;
    let mut at = At::Opening;
    while let Some((&byte, after)) = rest.split_first() {
        (at, rest) = match (byte, at) {
            (b'{', At::Opening | At::Comma) => {
                depth += 1;
                out.push(b'[');
                (At::Opening, after)
            }
            // An element, a comma or a second array outside of all braces.
            _ if depth == 0 => return Err(MALFORMED),
            (b'}', At::Opening | At::Value) => {
                depth -= 1;
                out.push(b']');
                (At::Value, after)
            }
            (b',', At::Value) => {
                out.push(b',');
                (At::Comma, after)
            }
            (b'"', At::Opening | At::Comma) => {
                let after = unquote(after, buffer)?;
                push_element(buffer, class, &mut outcome, out)?;
                (At::Value, after)
            }
            (_, At::Opening | At::Comma) => {
                let length = rest.iter().position(|byte| matches!(byte, b',' | b'}')).ok_or(MALFORMED)?;
                let (element, after) = rest.split_at(length);
                if element.is_empty() {
                    return Err(MALFORMED);
                }
                if element.eq_ignore_ascii_case(b"NULL") {
                    out.extend_from_slice(b"null");
                } else {
                    push_element(element, class, &mut outcome, out)?;
                }
                (At::Value, after)
            }
            _ => return Err(MALFORMED),
        };
    }
    if depth == 0 && at == At::Value { Ok(outcome) } else { Err(MALFORMED) }
}

fn without_bounds(literal: &[u8]) -> Result<&[u8], Malformed> {
    if literal.first() != Some(&b'[') {
        return Ok(literal);
    }
    let end = literal.iter().position(|&byte| byte == b'=').ok_or(MALFORMED)?;
    Ok(&literal[end + 1..])
}

/// Takes the element whose opening quote is just before `text` to `buffer`; returns what follows it.
fn unquote<'a>(text: &'a [u8], buffer: &mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    buffer.clear();
    let mut rest = text;
    loop {
        let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).ok_or(MALFORMED)?;
        buffer.extend_from_slice(&rest[..plain]);
        if rest[plain] == b'"' {
            return Ok(&rest[plain + 1..]);
        }
        let (&escaped, after) = rest[plain + 1..].split_first().ok_or(MALFORMED)?;
        buffer.push(escaped);
        rest = after;
    }
}

fn push_element(
    element: &[u8],
    class: ElementClass,
    outcome: &mut Outcome,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    match class {
        ElementClass::Boolean => match element {
            b"t" => out.extend_from_slice(b"true"),
            b"f" => out.extend_from_slice(b"false"),
            _ => return Err(Malformed("an array of booleans")),
        },
        ElementClass::Number if is_finite_number(element) => out.extend_from_slice(element),
        ElementClass::Number if is_special_number(element) => push_null(outcome, out),
        ElementClass::Number => return Err(Malformed("an array of numbers")),
        ElementClass::Text => {
            let kept = cut(element, MAX_STRING_BYTES);
            outcome.truncated |= kept.len() < element.len();
            json::push_string(kept, out);
        }
        ElementClass::Json if json::is_loadable(element) => out.extend_from_slice(element),
        ElementClass::Json => push_null(outcome, out),
    }
    Ok(())
}

fn push_null(outcome: &mut Outcome, out: &mut Vec<u8>) {
    outcome.nulled = true;
    out.extend_from_slice(b"null");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn convert(literal: &str, class: ElementClass) -> Result<(String, Outcome), Malformed> {
        let mut out = Vec::new();
        let outcome = push_json(literal.as_bytes(), class, &mut Vec::new(), &mut out)?;
        Ok((String::from_utf8(out).unwrap(), outcome))
    }

    fn exact(literal: &str, class: ElementClass) -> String {
        let (json, outcome) = convert(literal, class).unwrap();
        assert_eq!(outcome, Outcome::EXACT);
        json
    }

    #[test]
    fn elements_become_json_by_their_class() {
        assert_eq!(exact("{}", ElementClass::Number), "[]");
        assert_eq!(exact("{1,NULL,-3.50}", ElementClass::Number), "[1,null,-3.50]");
        assert_eq!(exact("{12345678901234567890.123456789,1e-07}", ElementClass::Number), {
            "[12345678901234567890.123456789,1e-07]"
        });
        assert_eq!(exact("{t,f,NULL}", ElementClass::Boolean), "[true,false,null]");
        assert_eq!(exact(r#"{a,"b c","",NULL,"NULL","x\"y\\z"}"#, ElementClass::Text), {
            r#"["a","b c","",null,"NULL","x\"y\\z"]"#
        });
        assert_eq!(exact("{\"line\nbreak\t\u{1}\"}", ElementClass::Text), r#"["line\nbreak\t\u0001"]"#);
        assert_eq!(
            exact(r#"{"{\"a\": [1, 2]}","\"text\"",7}"#, ElementClass::Json),
            r#"[{"a": [1, 2]},"text",7]"#
        );
    }

    #[test]
    fn dimensions_nest_and_bounds_go() {
        assert_eq!(exact("{{1,2},{3,NULL}}", ElementClass::Number), "[[1,2],[3,null]]");
        assert_eq!(exact("[0:2]={1,2,3}", ElementClass::Number), "[1,2,3]");
        assert_eq!(exact("[-1:0][2:3]={{a,b},{c,d}}", ElementClass::Text), r#"[["a","b"],["c","d"]]"#);
    }

    #[test]
    fn elements_without_a_form_meet_the_policy() {
        let number = |literal| convert(literal, ElementClass::Number).unwrap();
        assert_eq!(number("{1,NaN,-Infinity}"), ("[1,null,null]".to_owned(), Outcome::NULLED));
        let (json, outcome) = convert(&format!("{{{}}}", "ä".repeat(40_000)), ElementClass::Text).unwrap();
        assert_eq!((json.len(), outcome), (65_534 + 4, Outcome::TRUNCATED));
        let (json, outcome) = convert(r#"{"\"\\u0000\"",1}"#, ElementClass::Json).unwrap();
        assert_eq!((json.as_str(), outcome), ("[null,1]", Outcome::NULLED));
    }

    #[test]
    fn anything_else_is_refused() {
        for literal in
            ["", "1", "{", "{1", "{1,", "{1,}", "{,1}", "{}}", "{}{}", "{1}2", "{{1}{2}}", "[0:1]", "{x}"]
        {
            assert!(convert(literal, ElementClass::Number).is_err(), "{literal} was taken");
        }
        assert!(convert("{\"open", ElementClass::Text).is_err());
        assert!(convert("{\"open\\", ElementClass::Text).is_err());
        assert!(convert("{true}", ElementClass::Boolean).is_err());
    }

    /// As `array_out` prints it, every element in quotes.
    fn literal_of(value: &Value) -> String {
        match value {
            Value::Null => "NULL".to_owned(),
            Value::Array(items) => {
                format!("{{{}}}", items.iter().map(literal_of).collect::<Vec<_>>().join(","))
            }
            Value::String(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn any_text_survives(rows in prop::collection::vec(prop::collection::vec(any::<Option<String>>(), 0..4), 0..4)) {
            let expected = json!(rows);
            let (json, outcome) = convert(&literal_of(&expected), ElementClass::Text).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), expected);
            prop_assert_eq!(outcome, Outcome::EXACT);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(literal: Vec<u8>) {
            let _ = push_json(&literal, ElementClass::Text, &mut Vec::new(), &mut Vec::new());
        }
    }
}
