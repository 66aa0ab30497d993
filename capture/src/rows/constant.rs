//! One value outside of a row: what rows from before have in a new column.

use re_dms_shared::manifest::Column;
use re_dms_shared::types::{ColumnRules, ValueClass};

use super::value::{ColumnWriter, Outcome, Scratch};

/// The text that a data file would have for a value, and whether it met a policy; no text if it becomes NULL.
pub type Constant = (Option<String>, bool);

/// A value as a data file would have it.
///
/// None for a value that is not of its type's form.
#[must_use]
pub fn constant(column: &Column, class: &ValueClass, rules: ColumnRules, value: &str) -> Option<Constant> {
    let mut field = Vec::new();
    let writer = ColumnWriter::new(column, class, rules);
    let outcome = writer.write(value.as_bytes(), &mut Scratch::default(), &mut field).ok()?;
    if outcome == Outcome::NULLED {
        return Some((None, true));
    }
    let text = String::from_utf8(field).ok()?;
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let text = quoted.map_or_else(|| text.clone(), |inner| inner.replace("\"\"", "\""));
    Some((Some(text), outcome != Outcome::EXACT))
}

#[cfg(test)]
mod tests {
    use re_dms_shared::types::map_type;

    use super::*;

    #[test]
    fn values_are_as_in_a_file_without_its_quotes() {
        let of = |type_oid, value: &str| {
            let redshift_type = map_type(type_oid, -1).redshift;
            let name = "c".to_owned();
            let target_name = name.clone();
            let column = Column {
                name,
                attribute_number: None,
                type_oid,
                type_modifier: -1,
                target_name,
                redshift_type,
                key: false,
            };
            constant(&column, &map_type(type_oid, -1).class, ColumnRules::default(), value)
        };
        let exact = |text: &str| Some((Some(text.to_owned()), false));
        assert_eq!(of(25, " a \"quoted\", text\n"), exact(" a \"quoted\", text\n"));
        assert_eq!(of(25, ""), exact(""));
        assert_eq!(of(25, "\"\""), exact("\"\""));
        assert_eq!(of(16, "t"), exact("t"));
        assert_eq!(of(17, "\\x00ff"), exact("00ff"));
        assert_eq!(of(1009, "{a,NULL}"), exact("[\"a\",null]"));
        assert_eq!(of(701, "NaN"), Some((None, true)));
        assert_eq!(of(1114, "infinity"), Some((None, true)));
        assert_eq!(of(790, "$1,234.50"), exact("1234.50"));
        assert_eq!(of(701, "no number"), None);
    }
}
