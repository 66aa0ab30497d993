//! When are two values of one column the same? As exact as Redshift can tell them apart, which its `=` alone does not:
//! it ignores trailing blanks of VARCHARs (`redshift.md`, 2.1), takes −0 for 0, and knows no NULL.
//!
//! Only equality of expressions, each about one side, so that joins can be hash joins; the one exception has another
//! such condition beside it.

use re_dms_shared::types::RedshiftType;

/// Conditions for a column that is NULL on neither side: a key's. Values that `=` takes for the same although they are
/// not, other than by blanks, are no keys (the capture refuses them).
pub(super) fn same_key_value(ty: RedshiftType, ours: &str, theirs: &str) -> Vec<String> {
    let both = |form: fn(&str) -> String| format!("{} = {}", form(ours), form(theirs));
    match ty {
        RedshiftType::Varchar(_) => vec![both(str::to_owned), both(|c| format!("LEN({c})"))],
        RedshiftType::Varbyte(_) => vec![both(str::to_owned), both(|c| format!("OCTET_LENGTH({c})"))],
        RedshiftType::Super => vec![both(serialized)],
        _ => vec![both(str::to_owned)],
    }
}

/// Conditions for any column: NULL is the same as NULL.
pub(super) fn same_value(ty: RedshiftType, ours: &str, theirs: &str) -> Vec<String> {
    use RedshiftType as R;
    let both = |form: &dyn Fn(&str) -> String| format!("{} = {}", form(ours), form(theirs));
    let or = |value: &str| both(&|c| format!("COALESCE({c}, {value})"));
    // Tells NULL from the value that stands for it.
    let presence = || both(&|c| format!("NVL2({c}, 1, 0)"));
    // Long values are not copied to compare them: a length of -1 is NULL's alone.
    let bytes = |ours: &str, theirs: &str| {
        let length = |c: &str| format!("COALESCE(OCTET_LENGTH({c}), -1)");
        vec![
            format!("{} = {}", length(ours), length(theirs)),
            format!("({ours} = {theirs} OR {ours} IS NULL)"),
        ]
    };
    match ty {
        R::Boolean => vec![both(&|c| format!("CASE WHEN {c} IS NULL THEN 2 WHEN {c} THEN 1 ELSE 0 END"))],
        R::SmallInt | R::Integer | R::BigInt | R::Decimal { .. } => vec![or("0"), presence()],
        R::Real | R::DoublePrecision => {
            vec![or("0"), both(&|c| binary(&format!("COALESCE({c}, 0)"))), presence()]
        }
        R::Varchar(_) => vec![or("''"), both(&|c| format!("COALESCE(LEN({c}), -1)"))],
        R::Date => vec![or("CAST('2000-01-01' AS DATE)"), presence()],
        R::Time => vec![or("CAST('00:00:00' AS TIME)"), presence()],
        R::TimeTz => vec![or("CAST('00:00:00+00' AS TIMETZ)"), presence()],
        R::Timestamp => vec![or("CAST('2000-01-01 00:00:00' AS TIMESTAMP)"), presence()],
        R::TimestampTz => vec![or("CAST('2000-01-01 00:00:00+00' AS TIMESTAMPTZ)"), presence()],
        R::Varbyte(_) => bytes(ours, theirs),
        R::Super => bytes(&serialized(ours), &serialized(theirs)),
        R::Geometry | R::Geography => bytes(&ewkb(ours), &ewkb(theirs)),
    }
}

/// What to GROUP BY so that the same values, and only they, are together.
pub(super) fn group(ty: RedshiftType, column: &str) -> Vec<String> {
    use RedshiftType as R;
    match ty {
        R::Varchar(_) => vec![column.to_owned(), format!("LEN({column})")],
        R::Real | R::DoublePrecision => vec![column.to_owned(), binary(column)],
        R::Super => vec![serialized(column)],
        R::Geometry | R::Geography => vec![ewkb(column)],
        _ => vec![column.to_owned()],
    }
}

/// A number from the bytes of a float, which differ between −0 and 0. Of one width, since a target's column may be
/// wider than the segment's.
fn binary(float: &str) -> String {
    format!("FNV_HASH(CAST({float} AS DOUBLE PRECISION))")
}

/// A shape's bytes, as they were loaded.
fn ewkb(column: &str) -> String {
    format!("ST_AsEWKB({column})")
}

/// As JSON text, and unlike JSON_SERIALIZE without a VARCHAR's limit.
fn serialized(column: &str) -> String {
    format!("JSON_SERIALIZE_TO_VARBYTE({column})")
}
