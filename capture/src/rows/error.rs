//! Values that can't be written.

/// A row that can't be written. Names table and column, never a value.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The text is not of the form that PostgreSQL prints this type in.
    #[error(
        "table {table}, column {column}: a value is not {expected} \
         (hint: the session's output settings must be re_dms's own; was a parameter overridden in the source's URL?)"
    )]
    Malformed {
        /// `schema.name` on the source.
        table: String,
        /// Name on the source.
        column: String,
        /// The form that it should have.
        expected: &'static str,
    },
    /// Redshift can't hold the value, and the column's policy is to stop.
    #[error(
        "table {table}, column {column}: Redshift can't hold a value, and {policy} is \"error\" there \
         (hint: choose another policy, or another type for the column, in [types] or in a [[columns]] entry; or change \
         the value on the source and exclude the table)"
    )]
    Refused {
        /// `schema.name` on the source.
        table: String,
        /// Name on the source.
        column: String,
        /// The policy's key in the configuration.
        policy: &'static str,
    },
    /// A key would arrive as another one, or as NULL.
    #[error(
        "table {table}, column {column}: a key's value has no exact form in Redshift \
         (hint: infinities, years above 9999, NaN, -0, arrays with bounds and texts beyond 65,535 bytes can't be keys \
         there; use another REPLICA IDENTITY or exclude the table)"
    )]
    KeyNotExact {
        /// `schema.name` on the source.
        table: String,
        /// Name on the source.
        column: String,
    },
    /// Not even the key columns alone fit into a row.
    #[error(
        "table {table}: a row's key is longer than the {limit} bytes of a row that Redshift loads \
         (hint: use another REPLICA IDENTITY or exclude the table)"
    )]
    KeyTooLong {
        /// `schema.name` on the source.
        table: String,
        /// The longest row, in bytes.
        limit: usize,
    },
    /// What COPY gave is not of its text format.
    #[error("table {table}: a row of its copy can't be read (hint: report this with the server's version)")]
    NotCopied {
        /// `schema.name` on the source.
        table: String,
    },
    /// The batch kept a row that has not what its operation needs.
    #[error(
        "table {table}: a row is not complete (hint: resync the table and report it: the batch is to blame)"
    )]
    Incomplete {
        /// `schema.name` on the source.
        table: String,
    },
    /// The compressor refused.
    #[error("a data file can't be compressed: {0} (hint: report this as a bug)")]
    Compression(String),
}
