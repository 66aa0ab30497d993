//! Load errors with Redshift's numbers (`redshift.md`, 1.8), and the row that `sys_load_error_detail` keeps of one.

/// A load error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    ExtraColumns = 1202,
    MissingColumns = 1203,
    ExceedsLength = 1204,
    Date = 1205,
    Timestamp = 1206,
    Digit = 1207,
    Float = 1208,
    Decimal = 1209,
    Boolean = 1210,
    MissingData = 1213,
    DelimiterNotFound = 1214,
    InvalidChar = 1215,
    InvalidInputLine = 1216,
    NulByte = 1218,
    InvalidUtf8 = 1220,
    IntegerOverflow = 1222,
    DataType = 1223,
    Json = 1224,
}

/// What is wrong with one field or record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldError {
    pub(super) code: Code,
    /// Redshift's words; may quote a value as Redshift does, so it goes to the error tables only.
    pub(super) reason: String,
    /// Position of the column in COPY's list, if it is about one.
    pub(super) column: Option<usize>,
    /// Byte in the field.
    pub(super) position: usize,
    /// The field.
    pub(super) raw: Vec<u8>,
}

impl FieldError {
    pub(super) fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), column: None, position: 0, raw: Vec::new() }
    }

    pub(super) fn at(mut self, position: usize) -> Self {
        self.position = position;
        self
    }

    pub(super) fn in_column(mut self, column: usize, raw: &[u8]) -> Self {
        self.column = Some(column);
        self.raw = raw.to_vec();
        self
    }
}

/// A row of `sys_load_error_detail` and `stl_load_errors`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoadErrorRow {
    pub(crate) table: String,
    pub(crate) file: String,
    pub(crate) line: i64,
    pub(crate) column_name: String,
    pub(crate) column_type: String,
    pub(crate) column_length: String,
    pub(crate) position: i32,
    pub(crate) code: i32,
    pub(crate) reason: String,
    pub(crate) raw_line: String,
    pub(crate) raw_field: String,
}

/// Text for a column of limited length: no NUL bytes, cut at a character.
pub(super) fn shortened(bytes: &[u8], limit: usize) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\\0").chars().take(limit).collect()
}
