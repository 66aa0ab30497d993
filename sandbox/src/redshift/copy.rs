//! COPY from S3, done for real: manifests, gzip, CSV and every rule for fields, into a table of the warehouse.

mod columns;
mod csv;
mod datetime;
mod decoder;
mod json;
mod load;
mod load_error;
mod manifest;
mod objects;
mod value;

pub(crate) use load::{CopyError, copy};
pub(crate) use load_error::LoadErrorRow;
pub(crate) use objects::Objects;
