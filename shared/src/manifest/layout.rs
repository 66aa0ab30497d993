//! How a table's rows lie in Redshift, where the configuration says more than AUTO. It counts when the table is made.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::types::RedshiftType;

/// Distribution, order, compression, and what is declared. Columns are called by their names in Redshift.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layout {
    /// Over the slices.
    #[serde(skip_serializing_if = "Distribution::is_auto")]
    pub distribution: Distribution,
    /// `COMPOUND SORTKEY`; empty for AUTO.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sort_key: Vec<String>,
    /// `ENCODE` of single columns. One is enough to take the table out of `ENCODE AUTO`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub encodings: BTreeMap<String, Encoding>,
    /// The key's columns are declared as primary key, and so not nullable.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub primary_key: bool,
}

impl Layout {
    /// Whether it is what Redshift does by itself.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        *self == Self::default()
    }
}

/// `DISTSTYLE` and `DISTKEY`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Redshift's choice.
    #[default]
    Auto,
    /// In turns.
    Even,
    /// A copy on every node.
    All,
    /// By a column's value.
    Key(String),
}

impl Distribution {
    fn is_auto(&self) -> bool {
        *self == Distribution::Auto
    }
}

/// A column's compression (`redshift.md`, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // the names are Redshift's own
pub enum Encoding {
    Az64,
    Bytedict,
    Delta,
    Delta32k,
    Lzo,
    Mostly8,
    Mostly16,
    Mostly32,
    Raw,
    Runlength,
    Text255,
    Text32k,
    Zstd,
}

const NAMES: [(Encoding, &str); 13] = [
    (Encoding::Az64, "az64"),
    (Encoding::Bytedict, "bytedict"),
    (Encoding::Delta, "delta"),
    (Encoding::Delta32k, "delta32k"),
    (Encoding::Lzo, "lzo"),
    (Encoding::Mostly8, "mostly8"),
    (Encoding::Mostly16, "mostly16"),
    (Encoding::Mostly32, "mostly32"),
    (Encoding::Raw, "raw"),
    (Encoding::Runlength, "runlength"),
    (Encoding::Text255, "text255"),
    (Encoding::Text32k, "text32k"),
    (Encoding::Zstd, "zstd"),
];

impl Encoding {
    /// Whether Redshift takes it for columns of the type.
    #[must_use]
    pub fn takes(self, ty: RedshiftType) -> bool {
        use RedshiftType as R;
        let number = matches!(ty, R::SmallInt | R::Integer | R::BigInt | R::Decimal { .. });
        let moment = matches!(ty, R::Date | R::Timestamp | R::TimestampTz);
        let text = matches!(ty, R::Varchar(_));
        let float = matches!(ty, R::Real | R::DoublePrecision);
        match self {
            Encoding::Raw => true,
            Encoding::Az64 => number || moment,
            Encoding::Delta => number || moment,
            Encoding::Delta32k => (number && ty != R::SmallInt) || moment,
            Encoding::Lzo => number || moment || text || ty == R::Super,
            Encoding::Mostly8 => number,
            Encoding::Mostly16 => number && ty != R::SmallInt,
            Encoding::Mostly32 => matches!(ty, R::BigInt | R::Decimal { .. }),
            Encoding::Bytedict => number || moment || text || float,
            Encoding::Runlength => number || moment || text || float || ty == R::Boolean,
            Encoding::Text255 | Encoding::Text32k => text,
            Encoding::Zstd => number || moment || text || float || matches!(ty, R::Boolean | R::Super),
        }
    }

    /// Whether a VARCHAR with it can't be widened any more.
    #[must_use]
    pub fn keeps_from_widening(self) -> bool {
        matches!(self, Encoding::Bytedict | Encoding::Runlength | Encoding::Text255 | Encoding::Text32k)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(encoding, _)| encoding == self);
        f.write_str(name.map_or("raw", |(_, name)| name))
    }
}

/// The text is no encoding of Redshift's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no encoding: there are {}", NAMES.map(|(_, name)| name).join(", "))]
pub struct ParseEncodingError;

impl FromStr for Encoding {
    type Err = ParseEncodingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        found.map(|(encoding, _)| *encoding).ok_or(ParseEncodingError)
    }
}

/// Whether a column of the type can be a DISTKEY or in a SORTKEY (`redshift.md`, 2.1).
#[must_use]
pub fn can_be_layout_key(ty: RedshiftType) -> bool {
    !matches!(
        ty,
        RedshiftType::Super | RedshiftType::Varbyte(_) | RedshiftType::Geometry | RedshiftType::Geography
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_survive_text_and_json() {
        for (encoding, name) in NAMES {
            assert_eq!(name.to_uppercase().parse(), Ok(encoding));
            assert_eq!(encoding.to_string(), name);
            assert_eq!(serde_json::to_string(&encoding).unwrap(), format!("\"{name}\""));
        }
        assert!("gzip".parse::<Encoding>().unwrap_err().to_string().contains("text32k, zstd"));
    }

    #[test]
    fn encodings_know_their_types() {
        let takes = |encoding: Encoding, ty: &str| encoding.takes(ty.parse().unwrap());
        assert!(takes(Encoding::Az64, "DECIMAL(10,2)") && !takes(Encoding::Az64, "VARCHAR(10)"));
        assert!(takes(Encoding::Zstd, "SUPER") && !takes(Encoding::Zstd, "VARBYTE(10)"));
        assert!(takes(Encoding::Mostly16, "INTEGER") && !takes(Encoding::Mostly16, "SMALLINT"));
        assert!(takes(Encoding::Text255, "VARCHAR(10)") && !takes(Encoding::Text255, "BIGINT"));
        assert!(takes(Encoding::Raw, "GEOMETRY"));
    }

    #[test]
    fn what_says_nothing_is_not_written() {
        assert_eq!(serde_json::to_string(&Layout::default()).unwrap(), "{}");
        let layout = Layout { distribution: Distribution::Key("a".into()), ..Layout::default() };
        let json = serde_json::to_string(&layout).unwrap();
        assert_eq!(json, r#"{"distribution":{"key":"a"}}"#);
        assert_eq!(serde_json::from_str::<Layout>(&json).unwrap(), layout);
    }
}
