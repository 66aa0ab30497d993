//! Every class of value: what `COPY` gets, and what meets a policy.

use re_dms_shared::types::map_type;

use super::*;

const NULL_FIELD: &str = "\0";

fn column(type_oid: u32, type_modifier: i32) -> ColumnWriter {
    let mapping = map_type(type_oid, type_modifier);
    let column = Column {
        name: "c".to_owned(),
        attribute_number: None,
        type_oid,
        type_modifier,
        target_name: "c".to_owned(),
        redshift_type: mapping.redshift,
        key: false,
    };
    ColumnWriter::new(&column, &mapping.class, ColumnRules::default())
}

fn write(type_oid: u32, value: &str) -> Result<(String, Outcome), Failure> {
    let mut out = Vec::new();
    let outcome = column(type_oid, -1).write(value.as_bytes(), &mut Scratch::default(), &mut out)?;
    Ok((String::from_utf8(out).unwrap(), outcome))
}

fn assert_exact(type_oid: u32, value: &str, expected: &str) {
    assert_eq!(write(type_oid, value), Ok((expected.to_owned(), Outcome::EXACT)), "type {type_oid}");
}

fn assert_null(type_oid: u32, value: &str) {
    assert_eq!(write(type_oid, value), Ok((NULL_FIELD.to_owned(), Outcome::NULLED)), "type {type_oid}");
}

fn assert_refused(type_oid: u32, value: &str) {
    assert!(write(type_oid, value).is_err(), "type {type_oid} took {value}");
}

const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const INT8: u32 = 20;
const TEXT: u32 = 25;
const TID: u32 = 27;
const JSON: u32 = 114;
const FLOAT8: u32 = 701;
const MONEY: u32 = 790;
const INT4_ARRAY: u32 = 1007;
const TEXT_ARRAY: u32 = 1009;
const DATE: u32 = 1082;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;

#[test]
fn short_values_stay_as_they_are() {
    assert_exact(BOOL, "t", "t");
    assert_exact(INT8, "-9223372036854775808", "-9223372036854775808");
    assert_exact(TID, "(0,1)", "\"(0,1)\"");
}

#[test]
fn floats_have_no_nan_and_no_infinity() {
    for number in ["0", "-0", "1.5", "1e-05", "-1.7976931348623157e+308"] {
        assert_exact(FLOAT8, number, number);
    }
    for special in ["NaN", "Infinity", "-Infinity"] {
        assert_null(FLOAT8, special);
    }
    for other in ["", "-", "nan", "1,5", "0x1p3", " 1"] {
        assert_refused(FLOAT8, other);
    }
}

#[test]
fn numerics_with_a_precision_are_numbers() {
    let numeric = column(1700, ((10 << 16) | 2) + 4);
    let mut out = Vec::new();
    let mut write = |value: &[u8]| numeric.write(value, &mut Scratch::default(), &mut out);
    assert_eq!(write(b"-12345678.90"), Ok(Outcome::EXACT));
    assert_eq!(write(b"NaN"), Ok(Outcome::NULLED));
    assert_eq!(out, b"-12345678.90\0");
    assert_exact(1700, "NaN", "NaN"); // without a precision it is text
}

#[test]
fn money_loses_its_ornaments() {
    assert_exact(MONEY, "$1,234,567.89", "1234567.89");
    assert_exact(MONEY, "-$0.05", "-0.05");
    assert_refused(MONEY, "1.234,56 €");
    assert_refused(MONEY, "($1.00)");
}

#[test]
fn dates_outside_of_our_four_digit_years_are_null() {
    assert_exact(DATE, "2024-02-29", "2024-02-29");
    assert_exact(DATE, "0001-01-01", "0001-01-01");
    assert_exact(DATE, "9999-12-31", "9999-12-31");
    assert_exact(TIMESTAMP, "2024-02-29 23:59:59.123456", "2024-02-29 23:59:59.123456");
    assert_exact(TIMESTAMPTZ, "2024-02-29 23:59:59.1+00", "2024-02-29 23:59:59.1+00");
    assert_null(DATE, "infinity");
    assert_null(TIMESTAMPTZ, "-infinity");
    assert_null(DATE, "10000-01-01");
    assert_null(TIMESTAMP, "294276-12-31 23:59:59.999999");
    assert_null(DATE, "0044-03-15 BC");
    assert_null(TIMESTAMPTZ, "4713-01-01 00:00:00+00 BC");
    for other in ["02/29/2024", "29.02.2024", "Infinity", "", "24-01-01"] {
        assert_refused(DATE, other);
    }
}

#[test]
fn offsets_go_up_to_fifteen_hours() {
    const TIMETZ: u32 = 1266;
    for value in ["12:00:00+00", "24:00:00-14:59", "00:00:00.5+14:59:59"] {
        assert_exact(TIMETZ, value, value);
    }
    assert_null(TIMETZ, "00:00:00+15");
    assert_null(TIMETZ, "00:00:00-15:59");
}

#[test]
fn the_end_of_the_day_is_a_time_unless_somebody_says_otherwise() {
    const TIME: u32 = 1083;
    const TIMETZ: u32 = 1266;
    assert_exact(TIME, "24:00:00", "24:00:00");
    let with = |policy| ColumnRules { end_of_day: Some(policy), ..ColumnRules::default() };
    let saturated = |ty, value| with_rules(ty, with(Policy::Saturate), value).unwrap();
    assert_eq!(saturated(TIME, "24:00:00"), ("23:59:59.999999".to_owned(), Outcome::SATURATED));
    assert_eq!(saturated(TIMETZ, "24:00:00+02"), ("23:59:59.999999+02".to_owned(), Outcome::SATURATED));
    assert_eq!(saturated(TIMETZ, "24:00:00+15"), (NULL_FIELD.to_owned(), Outcome::NULLED));
    assert_eq!(with_rules(TIME, with(Policy::Null), "24:00:00").unwrap().1, Outcome::NULLED);
    let refused = with_rules(TIME, with(Policy::Error), "24:00:00");
    assert_eq!(refused, Err(Failure::Refused("types.end_of_day")));
    assert_eq!(with_rules(TIME, with(Policy::Error), "23:59:59").unwrap().0, "23:59:59");
}

fn with_rules(type_oid: u32, rules: ColumnRules, value: &str) -> Result<(String, Outcome), Failure> {
    let writer = ColumnWriter { rules, ..column(type_oid, -1) };
    let mut out = Vec::new();
    let outcome = writer.write(value.as_bytes(), &mut Scratch::default(), &mut out)?;
    Ok((String::from_utf8(out).unwrap(), outcome))
}

#[test]
fn policies_decide() {
    let error = Policy::Error;
    let rules = ColumnRules {
        nan: error,
        date: error,
        long_text: error,
        long_bytes: error,
        json: error,
        ..ColumnRules::default()
    };
    let long = "x".repeat(65_536);
    for (type_oid, value, key) in [
        (FLOAT8, "NaN", "types.nan"),
        (DATE, "infinity", "types.date"),
        (TEXT, long.as_str(), "types.long_text"),
        (BYTEA, "\\x", "types.long_bytes"),
        (JSON, r#""\u0000""#, "types.json"),
        (TEXT_ARRAY, &format!("{{{long}}}"), "types.json"),
    ] {
        assert_eq!(with_rules(type_oid, rules, value), Err(Failure::Refused(key)), "type {type_oid}");
    }
    let rules = ColumnRules { date: Policy::Saturate, long_text: Policy::Null, ..ColumnRules::default() };
    let near = |type_oid, value: &str| with_rules(type_oid, rules, value).unwrap();
    assert_eq!(near(DATE, "infinity"), ("9999-12-31".to_owned(), Outcome::SATURATED));
    assert_eq!(near(DATE, "0044-03-15 BC"), ("0001-01-01".to_owned(), Outcome::SATURATED));
    assert_eq!(near(TIMESTAMP, "-infinity"), ("0001-01-01 00:00:00".to_owned(), Outcome::SATURATED));
    let last = "9999-12-31 23:59:59.999999+00";
    assert_eq!(near(TIMESTAMPTZ, "20000-01-01 00:00:00+00"), (last.to_owned(), Outcome::SATURATED));
    assert_eq!(near(TEXT, &long), (NULL_FIELD.to_owned(), Outcome::NULLED));
    let rules = ColumnRules { long_text: Policy::Quarantine, ..ColumnRules::default() };
    assert_eq!(with_rules(TEXT, rules, &long), Ok((long, Outcome::EXACT)), "COPY refuses it");
}

#[test]
fn bytea_is_bare_hex_unless_empty_or_too_long() {
    assert_null(BYTEA, "\\x"); // an empty field is NULL to COPY anyway: counted, at least
    assert_exact(BYTEA, "\\x00ff", "00ff");
    let hex = |bytes: usize| format!("\\x{}", "ab".repeat(bytes));
    assert_eq!(write(BYTEA, &hex(1_024_000)).unwrap().1, Outcome::EXACT);
    assert_null(BYTEA, &hex(1_024_001));
    assert_refused(BYTEA, "\\000\\001");
}

#[test]
fn long_text_is_cut_between_characters() {
    let cut_to = |value: &str| {
        let (text, outcome) = write(TEXT, value).unwrap();
        (text.len(), outcome)
    };
    assert_eq!(cut_to(&"x".repeat(65_535)), (65_535, Outcome::EXACT));
    assert_eq!(cut_to(&"x".repeat(65_536)), (65_535, Outcome::TRUNCATED));
    assert_eq!(cut_to(&"ä".repeat(32_768)), (65_534, Outcome::TRUNCATED));
    assert_eq!(cut_to(&"€".repeat(30_000)), (65_535, Outcome::TRUNCATED));
    assert_eq!(cut_to(&"😀".repeat(16_384)), (65_532, Outcome::TRUNCATED));
    assert_eq!(cut("äö".as_bytes(), 3), "ä".as_bytes());
    assert_eq!(cut("äö".as_bytes(), 1), b"");
}

#[test]
fn varchar_has_room_for_its_characters() {
    let varchar = column(1043, 3 + 4);
    let mut out = Vec::new();
    assert_eq!(varchar.write("😀😀😀".as_bytes(), &mut Scratch::default(), &mut out), Ok(Outcome::EXACT));
    let bpchar = column(1042, 5 + 4);
    assert_eq!(bpchar.write(b"ab   ", &mut Scratch::default(), &mut out), Ok(Outcome::EXACT));
    assert_eq!(out, "😀😀😀\"ab   \"".as_bytes());
}

#[test]
fn json_stays_as_it_is_or_is_null() {
    assert_exact(JSON, r#"{"a": "b, c"}"#, r#""{""a"": ""b, c""}""#);
    assert_exact(JSON, "null", "null");
    assert_null(JSON, r#"["\u0000"]"#);
}

#[test]
fn arrays_become_json() {
    assert_exact(INT4_ARRAY, "{{1,2},{3,4}}", "\"[[1,2],[3,4]]\"");
    assert_exact(TEXT_ARRAY, r#"{a,"b\"c"}"#, r#""[""a"",""b\""c""]""#);
    assert_null(INT4_ARRAY, &format!("{{{}1}}", "1,".repeat(MAX_ROW_BYTES / 2)));
    assert_refused(INT4_ARRAY, "{1");
}
