//! The type map: PostgreSQL's types to Redshift's, the same for DDL, CSV and verification.
//!
//! A type is known by its OID and modifier alone; whatever is not listed here travels as text into `VARCHAR(65535)`.

#[cfg(test)]
mod docs_test;
mod map;
mod redshift_type;

pub use map::{ElementClass, ValueClass, map_type};
pub use redshift_type::{ParseTypeError, RedshiftType};

/// How a PostgreSQL type arrives in Redshift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeMapping {
    /// The column's type in Redshift.
    pub redshift: RedshiftType,
    /// How PostgreSQL's text form becomes the text that `COPY` reads.
    pub class: ValueClass,
}
