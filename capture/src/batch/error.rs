//! Changes that can't be right.

/// A change that does not fit its table or what the batch holds of it. Names the table, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The row and the table's shape disagree.
    #[error(
        "table {table}: a row has {found} columns where its shape has {expected} \
         (hint: the stream's Relation messages were not followed; restart the capture)"
    )]
    ColumnCount {
        /// `schema.name` on the source.
        table: String,
        /// The shape's columns.
        expected: usize,
        /// The row's columns.
        found: usize,
    },
    /// A cell that must be there is not.
    #[error(
        "table {table}: the value of column {column} was not sent with {what} \
         (hint: resync the table; if it happens again, report it with the server's version)"
    )]
    MissingValue {
        /// `schema.name` on the source.
        table: String,
        /// Name on the source.
        column: String,
        /// The change.
        what: &'static str,
    },
    /// An update or delete that no row can be found for.
    #[error(
        "table {table}: it has no key, and {what} came without the whole row that it changes \
         (hint: ALTER TABLE … REPLICA IDENTITY FULL, for a partitioned table on itself and on each partition, or a \
         primary key; then resync the table)"
    )]
    NoIdentity {
        /// `schema.name` on the source.
        table: String,
        /// The change.
        what: &'static str,
    },
    /// A row came to a key that has one.
    #[error(
        "table {table}: {what} brings a second row with one key \
         (hint: give the table a primary key that is not deferrable; if it has one, resync the table)"
    )]
    DuplicateKey {
        /// `schema.name` on the source.
        table: String,
        /// The change.
        what: &'static str,
    },
    /// An update of a row that is gone.
    #[error(
        "table {table}: an update of a row that an earlier change took away \
         (hint: give the table a primary key that is not deferrable; if it has one, resync the table)"
    )]
    UpdateOfDeleted {
        /// `schema.name` on the source.
        table: String,
    },
}
