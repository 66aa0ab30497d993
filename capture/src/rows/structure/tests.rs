use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn convert(literal: &str, form: &JsonForm) -> Result<String, Failure> {
    let mut out = Vec::new();
    push_json(literal.as_bytes(), form, &mut Vec::new(), &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn array(element: JsonForm) -> JsonForm {
    JsonForm::Array { element: Box::new(element), delimiter: b',' }
}

fn of(literal: &str, element: JsonForm) -> String {
    convert(literal, &array(element)).unwrap()
}

#[test]
fn elements_become_json_by_their_form() {
    assert_eq!(of("{}", JsonForm::Number), "[]");
    assert_eq!(of("{1,NULL,-3.50,NaN,-Infinity}", JsonForm::Number), r#"[1,null,-3.50,"NaN","-Infinity"]"#);
    assert_eq!(of("{12345678901234567890.123456789,1e-07}", JsonForm::Number), {
        "[12345678901234567890.123456789,1e-07]"
    });
    assert_eq!(of("{t,f,NULL}", JsonForm::Boolean), "[true,false,null]");
    assert_eq!(of(r#"{a,"b c","",NULL,"NULL","x\"y\\z"}"#, JsonForm::Text), {
        r#"["a","b c","",null,"NULL","x\"y\\z"]"#
    });
    assert_eq!(of("{\"line\nbreak\t\u{1}\"}", JsonForm::Text), r#"["line\nbreak\t\u0001"]"#);
    assert_eq!(of(r#"{"{\"a\": [1, 2]}","\"text\"",7}"#, JsonForm::Json), r#"[{"a": [1, 2]},"text",7]"#);
}

#[test]
fn times_are_in_iso_8601_as_to_jsonb_has_them() {
    assert_eq!(
        of(r#"{"2024-02-29 23:59:59.1+00",infinity,"0044-03-15 00:00:00+00 BC"}"#, JsonForm::TimestampTz),
        r#"["2024-02-29T23:59:59.1+00:00","infinity","0044-03-15T00:00:00+00:00 BC"]"#
    );
    assert_eq!(of(r#"{"2024-02-29 23:59:59",-infinity}"#, JsonForm::Timestamp), {
        r#"["2024-02-29T23:59:59","-infinity"]"#
    });
}

#[test]
fn dimensions_nest_and_bounds_go() {
    assert_eq!(of("{{1,2},{3,NULL}}", JsonForm::Integer), "[[1,2],[3,null]]");
    assert_eq!(of("[0:2]={1,2,3}", JsonForm::Integer), "[1,2,3]");
    assert_eq!(of("[-1:0][2:3]={{a,b},{c,d}}", JsonForm::Text), r#"[["a","b"],["c","d"]]"#);
    let boxes = JsonForm::Array { element: Box::new(JsonForm::Text), delimiter: b';' };
    assert_eq!(convert("{(1,1),(0,0);(2,2),(0,0)}", &boxes).unwrap(), r#"["(1,1),(0,0)","(2,2),(0,0)"]"#);
}

fn composite(fields: &[(&str, JsonForm)]) -> JsonForm {
    JsonForm::Composite(fields.iter().map(|(name, form)| ((*name).to_owned(), form.clone())).collect())
}

#[test]
fn composites_become_objects() {
    let form = composite(&[("n", JsonForm::Number), ("s", JsonForm::Text), ("b", JsonForm::Boolean)]);
    assert_eq!(convert("(1.50,abc,t)", &form).unwrap(), r#"{"n":1.50,"s":"abc","b":true}"#);
    assert_eq!(convert("(,,)", &form).unwrap(), r#"{"n":null,"s":null,"b":null}"#);
    assert_eq!(
        convert(r#"(-1,"say ""hi"", \\ (now)",f)"#, &form).unwrap(),
        r#"{"n":-1,"s":"say \"hi\", \\ (now)","b":false}"#
    );
    assert_eq!(convert(r#"(,"",)"#, &form).unwrap(), r#"{"n":null,"s":"","b":null}"#);
    let nested = array(composite(&[("inner", form), ("tags", array(JsonForm::Text))]));
    assert_eq!(
        convert(r#"{"(\"(1,\"\"a b\"\",)\",\"{x,\"\"y,z\"\"}\")",NULL}"#, &nested).unwrap(),
        r#"[{"inner":{"n":1,"s":"a b","b":null},"tags":["x","y,z"]},null]"#
    );
    for literal in ["", "(1,a)", "(1,a,t", "1,a,t)", "(1,a,t))", "(1,a,t,)", "(1,\"a,t)"] {
        let form = composite(&[("n", JsonForm::Number), ("s", JsonForm::Text), ("b", JsonForm::Boolean)]);
        assert!(convert(literal, &form).is_err(), "{literal} was taken");
    }
}

#[test]
fn hstore_becomes_an_object_of_strings() {
    let hstore = |literal: &str| convert(literal, &JsonForm::Hstore);
    assert_eq!(hstore("").unwrap(), "{}");
    assert_eq!(
        hstore(r#""a"=>"1", "b \"q\""=>NULL, "c"=>"x\\y, \"z\""=>"NULL""#),
        Err(HSTORE),
        "no comma between"
    );
    assert_eq!(
        hstore(r#""a"=>"1", "b \"q\""=>NULL, "c"=>"x\\y, \"z\"", "d"=>"NULL""#).unwrap(),
        r#"{"a":"1","b \"q\"":null,"c":"x\\y, \"z\"","d":"NULL"}"#
    );
    for literal in ["a=>1", r#""a""#, r#""a"=>"#, r#""a"=>null"#, r#""a"=>"1","b"=>"2""#] {
        assert!(hstore(literal).is_err(), "{literal} was taken");
    }
}

#[test]
fn anything_else_is_refused() {
    let numbers = array(JsonForm::Number);
    for literal in
        ["", "1", "{", "{1", "{1,", "{1,}", "{,1}", "{}}", "{}{}", "{1}2", "{{1}{2}}", "[0:1]", "{x}"]
    {
        assert!(convert(literal, &numbers).is_err(), "{literal} was taken");
    }
    assert!(convert("{NaN}", &array(JsonForm::Integer)).is_err());
    assert!(convert("{\"open", &array(JsonForm::Text)).is_err());
    assert!(convert("{\"open\\", &array(JsonForm::Text)).is_err());
    assert!(convert("{true}", &array(JsonForm::Boolean)).is_err());
}

/// As `array_out` prints it, every element in quotes.
fn literal_of(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Array(items) => format!("{{{}}}", items.iter().map(literal_of).collect::<Vec<_>>().join(",")),
        Value::String(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        other => other.to_string(),
    }
}

/// As `record_out` prints it, every field in quotes.
fn record_of(fields: &[Option<String>]) -> String {
    let field = |field: &Option<String>| match field {
        None => String::new(),
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\"")),
    };
    format!("({})", fields.iter().map(field).collect::<Vec<_>>().join(","))
}

proptest! {
    #[test]
    fn any_text_survives(rows in prop::collection::vec(prop::collection::vec(any::<Option<String>>(), 0..4), 0..4)) {
        let expected = json!(rows);
        let json = convert(&literal_of(&expected), &array(JsonForm::Text)).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), expected);
    }

    #[test]
    fn any_array_of_records_survives(rows in prop::collection::vec(any::<[Option<String>; 2]>(), 0..4)) {
        let form = array(composite(&[("a", JsonForm::Text), ("b \"", JsonForm::Text)]));
        let records: Vec<String> = rows.iter().map(|row| record_of(row)).collect();
        let expected: Vec<Value> = rows.iter().map(|[a, b]| json!({"a": a, "b \"": b})).collect();
        let json = convert(&literal_of(&json!(records)), &form).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), json!(expected));
    }

    #[test]
    fn any_bytes_are_taken_or_refused(literal: Vec<u8>) {
        let form = array(composite(&[("a", JsonForm::Text), ("b", array(JsonForm::Hstore))]));
        for form in [&form, &JsonForm::Hstore, &array(JsonForm::Text)] {
            let _ = push_json(&literal, form, &mut Vec::new(), &mut Vec::new());
        }
    }
}
