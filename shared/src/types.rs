//! The type map: PostgreSQL's types to Redshift's, the same for DDL, CSV and verification.
//!
//! A [`SourceType`] is what the source's catalog says of a column's type, [`ColumnRules`] what the configuration says of
//! the column; [`map_column`] makes of both how it arrives. What nobody knows travels as text into `VARCHAR(65535)`.

pub mod catalog;
#[cfg(test)]
mod docs_test;
mod form;
mod map;
mod redshift_type;
mod rules;
mod source_type;

pub use form::{JsonForm, ValueClass};
pub use map::{OverrideError, map_column, map_type};
pub use redshift_type::{ParseTypeError, RedshiftType};
pub use rules::{ColumnRules, Policy, RuleError, SuperNull};
pub use source_type::{Field, HASHED, SourceType};

/// How a column arrives in Redshift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeMapping {
    /// The column's type in Redshift.
    pub redshift: RedshiftType,
    /// How PostgreSQL's text form becomes the text that `COPY` reads.
    pub class: ValueClass,
}

impl TypeMapping {
    /// Whether values tell rows apart in Redshift as they do in PostgreSQL. `timetz` loses its zone there, what becomes
    /// of the numbers within a SUPER is Redshift's affair, and digits that are cut off are gone.
    #[must_use]
    pub fn can_be_key(&self) -> bool {
        match &self.class {
            ValueClass::Json | ValueClass::Hstore | ValueClass::Decimal | ValueClass::Geometry => false,
            ValueClass::Structure(form) => form.can_be_key(),
            _ => self.redshift != RedshiftType::TimeTz,
        }
    }
}
