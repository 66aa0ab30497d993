//! The order of keys, as PostgreSQL and Redshift both have it: by that a table is read anew range by range, and by that it is
//! told in which range a row of the stream lies.
//!
//! Only of types whose values have one order wherever they are compared, and whose texts show it. Texts compare by a
//! collation in PostgreSQL, and Redshift ignores blanks at their end: tables with such keys are read under one snapshot.

use re_dms_shared::manifest::{Column, KeyRange, Table};
use re_dms_shared::types::RedshiftType;

use crate::pgoutput::{Cell, Tuple};

/// How a table's keys are ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOrder {
    /// In the order in which they are compared: where the column is among the table's, and how its values are compared.
    columns: Vec<(usize, Kind)>,
}

/// How values of a type are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    /// A decimal with so many digits behind the point, in every text.
    Decimal(usize),
    /// The text's bytes: hexadecimal digits of one length.
    Uuid,
    /// The text's bytes, of years with four digits.
    Date,
}

/// Where a key lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(Vec<Value>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i128),
    Text(Box<[u8]>),
}

/// A [`KeyRange`] that keys can be compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// With whether that key is in it.
    from: Option<(Place, bool)>,
    to: Option<Place>,
}

impl KeyOrder {
    /// By these columns, called by their names on the source; none if they are not the table's key, or one of them has no order
    /// that both sides share.
    #[must_use]
    pub fn of(table: &Table, key: &[String]) -> Option<Self> {
        let of_table = table.columns.iter().filter(|column| column.key).count();
        let column = |name: &String| {
            let position = table.columns.iter().position(|column| column.key && column.name == *name)?;
            Some((position, Kind::of(&table.columns[position])?))
        };
        let columns: Vec<_> = key.iter().map(column).collect::<Option<_>>()?;
        let mut positions: Vec<_> = columns.iter().map(|(position, _)| *position).collect();
        positions.sort_unstable();
        positions.dedup();
        (!columns.is_empty() && positions.len() == of_table && key.len() == of_table)
            .then_some(Self { columns })
    }

    /// Whether a column of this type, with this modifier, may be part of such a key.
    #[must_use]
    pub fn is_known_for(type_oid: u32, modifier: i32) -> bool {
        match type_oid {
            INT2 | INT4 | INT8 | UUID | DATE | TIMESTAMP | TIMESTAMPTZ => true,
            NUMERIC => modifier >= 0,
            _ => false,
        }
    }

    /// Where a row lies, or its key alone if the other cells are not there; none if that can't be told.
    #[must_use]
    pub fn of_row(&self, row: Tuple<'_>) -> Option<Place> {
        let cells: Vec<_> = row.cells().collect();
        let value = |&(position, kind): &(usize, Kind)| match cells.get(position) {
            Some(Cell::Text(text)) => kind.value(text),
            _ => None,
        };
        self.columns.iter().map(value).collect::<Option<_>>().map(Place)
    }

    /// Where a row of texts lies; none if that can't be told.
    #[must_use]
    pub fn of_fields(&self, fields: &[Option<Box<[u8]>>]) -> Option<Place> {
        let value = |&(position, kind): &(usize, Kind)| kind.value(fields.get(position)?.as_deref()?);
        self.columns.iter().map(value).collect::<Option<_>>().map(Place)
    }

    /// The same for rows whose columns are elsewhere.
    #[must_use]
    pub fn at(self, place: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        let columns = self.columns.into_iter().map(|(position, kind)| Some((place(position)?, kind)));
        columns.collect::<Option<_>>().map(|columns| Self { columns })
    }

    /// A row's key as texts.
    #[must_use]
    pub fn texts(&self, row: Tuple<'_>) -> Option<Vec<String>> {
        let cells: Vec<_> = row.cells().collect();
        let text = |(position, _): &(usize, Kind)| match cells.get(*position) {
            Some(Cell::Text(text)) => String::from_utf8(text.to_vec()).ok(),
            _ => None,
        };
        self.columns.iter().map(text).collect()
    }

    /// Where a key lies, a text a column in the order's order; none if it is none of such a key.
    #[must_use]
    pub fn of_key(&self, key: &[String]) -> Option<Place> {
        let values = self.columns.iter().zip(key).map(|((_, kind), text)| kind.value(text.as_bytes()));
        let values: Option<Vec<_>> = values.collect();
        values.filter(|values| values.len() == key.len() && key.len() == self.columns.len()).map(Place)
    }

    /// None if a bound is none of such a key.
    #[must_use]
    pub fn span(&self, range: &KeyRange) -> Option<Span> {
        let from = match &range.from {
            Some(from) => Some((self.of_key(&from.key)?, from.included)),
            None => None,
        };
        let to = match &range.to {
            Some(to) => Some(self.of_key(to)?),
            None => None,
        };
        Some(Span { from, to })
    }
}

impl Place {
    /// Whether no other key lies between: known of integers alone.
    #[must_use]
    pub fn is_followed_by(&self, next: &Place) -> bool {
        match (self.0.as_slice(), next.0.as_slice()) {
            ([Value::Number(one)], [Value::Number(other)]) => one.checked_add(1) == Some(*other),
            _ => false,
        }
    }
}

impl Span {
    /// Whether a key lies in it.
    #[must_use]
    pub fn contains(&self, place: &Place) -> bool {
        let begun =
            self.from.as_ref().is_none_or(|(from, included)| place > from || (*included && place == from));
        begun && self.to.as_ref().is_none_or(|to| place <= to)
    }
}

const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const DATE: u32 = 1082;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;

impl Kind {
    fn of(column: &Column) -> Option<Self> {
        use RedshiftType as R;
        match (column.type_oid, column.redshift_type) {
            (INT2 | INT4 | INT8, R::SmallInt | R::Integer | R::BigInt) => Some(Kind::Integer),
            // Without a scale of its own a value may have any.
            (NUMERIC, R::Decimal { scale, .. }) if column.type_modifier >= 0 => {
                Some(Kind::Decimal(usize::from(scale)))
            }
            (UUID, R::Varchar(_)) => Some(Kind::Uuid),
            (DATE, R::Date) | (TIMESTAMP, R::Timestamp) | (TIMESTAMPTZ, R::TimestampTz) => Some(Kind::Date),
            _ => None,
        }
    }

    /// None if the text is not of the form that shows its order.
    fn value(self, text: &[u8]) -> Option<Value> {
        match self {
            Kind::Integer => std::str::from_utf8(text).ok()?.parse().ok().map(Value::Number),
            Kind::Decimal(scale) => {
                let text = std::str::from_utf8(text).ok()?;
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                let is_number = fraction.bytes().all(|byte| byte.is_ascii_digit());
                let digits = (fraction.len() == scale && is_number).then(|| format!("{whole}{fraction}"))?;
                digits.parse().ok().map(Value::Number)
            }
            Kind::Uuid => {
                let is_digit =
                    |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte) || *byte == b'-';
                (text.len() == 36 && text.iter().all(is_digit)).then(|| Value::Text(text.into()))
            }
            Kind::Date => {
                let is_of_form = |byte: &u8| byte.is_ascii_digit() || b"-: .+".contains(byte);
                let has_year =
                    text.len() >= 10 && text[..4].iter().all(u8::is_ascii_digit) && text[4] == b'-';
                (has_year && text.iter().all(is_of_form)).then(|| Value::Text(text.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use re_dms_shared::manifest::{KeyBound, Layout};

    use super::*;

    fn table(columns: &[(&str, u32, i32, &str, bool)]) -> Table {
        let column = |(name, type_oid, type_modifier, ty, key): &(&str, u32, i32, &str, bool)| Column {
            name: (*name).to_owned(),
            attribute_number: None,
            type_oid: *type_oid,
            type_modifier: *type_modifier,
            target_name: (*name).to_owned(),
            redshift_type: ty.parse().unwrap(),
            key: *key,
        };
        Table {
            schema: "s".into(),
            name: "t".into(),
            oid: 1,
            target_schema: "s".into(),
            target_name: "t".into(),
            columns: columns.iter().map(column).collect(),
            kept: Vec::new(),
            layout: Layout::default(),
        }
    }

    fn row(cells: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        Tuple::encode(cells.iter().map(|cell| Cell::Text(cell.as_bytes())), &mut out);
        out
    }

    fn order(ty: (u32, i32, &str), texts: &[&str]) {
        let table = table(&[("v", 25, -1, "VARCHAR(10)", false), ("k", ty.0, ty.1, ty.2, true)]);
        let order = KeyOrder::of(&table, &["k".to_owned()]).unwrap();
        let places: Vec<_> = texts
            .iter()
            .map(|text| {
                order.of_row(Tuple::from_checked(&row(&["x", text]))).unwrap_or_else(|| panic!("{text}"))
            })
            .collect();
        assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{texts:?}");
    }

    #[test]
    fn keys_lie_as_postgresql_orders_them() {
        order((INT8, -1, "BIGINT"), &["-9223372036854775808", "-10", "-9", "0", "9", "10"]);
        order((NUMERIC, 0, "DECIMAL(38,2)"), &["-1000.00", "-0.01", "0.00", "0.10", "9.99", "10.00"]);
        order(
            (UUID, -1, "VARCHAR(36)"),
            &[
                "00000000-0000-0000-0000-00000000000a",
                "9fffffff-0000-0000-0000-000000000000",
                "a0000000-0000-0000-0000-000000000000",
            ],
        );
        order(
            (TIMESTAMPTZ, -1, "TIMESTAMPTZ"),
            &[
                "0999-01-01 00:00:00+00",
                "2024-01-01 00:00:00+00",
                "2024-01-01 00:00:00.05+00",
                "2024-01-01 00:00:00.5+00",
                "2024-01-01 00:00:01+00",
            ],
        );
    }

    #[test]
    fn what_has_no_common_order_is_no_place() {
        let with = |ty: u32, modifier: i32, redshift: &str| {
            KeyOrder::of(&table(&[("k", ty, modifier, redshift, true)]), &["k".to_owned()])
        };
        assert_eq!(with(25, -1, "VARCHAR(10)"), None);
        assert_eq!(with(INT4, -1, "VARCHAR(10)"), None, "of another type by the configuration");
        assert_eq!(with(NUMERIC, -1, "DECIMAL(38,10)"), None);
        let place =
            |order: Option<KeyOrder>, text: &str| order.unwrap().of_row(Tuple::from_checked(&row(&[text])));
        assert_eq!(place(with(NUMERIC, 0, "DECIMAL(4,2)"), "NaN"), None);
        assert_eq!(place(with(NUMERIC, 0, "DECIMAL(4,2)"), "1.5"), None);
        assert_eq!(place(with(DATE, -1, "DATE"), "0044-03-15 BC"), None);
        assert_eq!(place(with(DATE, -1, "DATE"), "infinity"), None);
        assert_eq!(place(with(TIMESTAMP, -1, "TIMESTAMP"), "10000-01-01 00:00:00"), None);
        let two = table(&[("a", INT4, -1, "INTEGER", true), ("b", INT4, -1, "INTEGER", true)]);
        let key = |names: &[&str]| {
            KeyOrder::of(&two, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert!(key(&["b", "a"]).is_some());
        assert_eq!((key(&["a"]), key(&["a", "a"]), key(&[])), (None, None, None));
    }

    #[test]
    fn a_range_has_what_lies_between_its_bounds() {
        let two = table(&[("a", INT4, -1, "INTEGER", true), ("b", INT4, -1, "INTEGER", true)]);
        let order = KeyOrder::of(&two, &["b".to_owned(), "a".to_owned()]).unwrap();
        let key = |b: i32, a: i32| vec![b.to_string(), a.to_string()];
        let range = |from: Option<(Vec<String>, bool)>, to: Option<Vec<String>>| {
            let from = from.map(|(key, included)| KeyBound { key, included });
            order.span(&KeyRange { from, to }).unwrap()
        };
        let has = |span: &Span, a: &str, b: &str| {
            span.contains(&order.of_row(Tuple::from_checked(&row(&[a, b]))).unwrap())
        };
        let span = range(Some((key(1, 5), false)), Some(key(3, 2)));
        assert!(!has(&span, "5", "1") && has(&span, "6", "1") && has(&span, "-9", "2"));
        assert!(has(&span, "2", "3") && !has(&span, "3", "3") && !has(&span, "0", "4"));
        assert!(has(&range(Some((key(1, 5), true)), None), "5", "1"));
        assert!(has(&range(None, None), "0", "0"));
        let point = order.span(&KeyRange::of_key(key(2, 2))).unwrap();
        assert!(has(&point, "2", "2") && !has(&point, "3", "2") && !has(&point, "1", "2"));
        assert_eq!(order.span(&KeyRange::of_key(vec!["1".into()])), None);
        assert_eq!(order.span(&KeyRange::of_key(vec!["1".into(), "x".into()])), None);
    }
}
