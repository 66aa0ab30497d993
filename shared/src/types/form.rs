//! What has to be done to a value's text on its way to Redshift.

/// How PostgreSQL's text form of a value becomes the text that `COPY` reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValueClass {
    /// Taken as it is: booleans, integers, uuid, network addresses and the like, all short.
    Verbatim,
    /// Text of any length: longer than its column's bytes meets the policy.
    Text,
    /// `float4`, `float8`: NaN and infinities meet the policy.
    Float,
    /// `numeric` whose digits all have room: NaN and infinities meet the policy.
    Numeric,
    /// `numeric` that may have more digits than its column: those meet a policy, too.
    Decimal,
    /// `money`, printed as `-$1,234.56` with `lc_monetary = C`.
    Money,
    /// `date`: infinities, BC and years above 9999 meet the policy.
    Date,
    /// `timestamp`: as a date.
    Timestamp,
    /// `timestamptz`: as a date.
    TimestampTz,
    /// `timetz`: offsets that Redshift has not meet the policy.
    TimeTz,
    /// `bytea`, printed as `\x…`; its prefix goes.
    Bytea,
    /// `json`, `jsonb`: the text is JSON already.
    Json,
    /// `hstore`: becomes a JSON object of strings.
    Hstore,
    /// PostGIS's types, printed as EWKB in hex: longer than Redshift's limit meets the policy.
    Geometry,
    /// An array or a composite: becomes a JSON array or object.
    Structure(JsonForm),
}

/// How a value within an array or a composite becomes JSON: as PostgreSQL's own `to_jsonb` makes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JsonForm {
    /// `t` and `f`.
    Boolean,
    /// A JSON number.
    Integer,
    /// A JSON number if it is finite, else a string.
    Number,
    /// A JSON string of PostgreSQL's text.
    Text,
    /// `timestamp`: a string with a `T` between date and time.
    Timestamp,
    /// `timestamptz`, printed in UTC: as `timestamp`, the offset with minutes.
    TimestampTz,
    /// JSON within JSON.
    Json,
    /// A JSON object of strings.
    Hstore,
    /// A JSON array, in as many dimensions as the value has.
    Array {
        /// Each element.
        element: Box<JsonForm>,
        /// What PostgreSQL puts between elements.
        delimiter: u8,
    },
    /// A JSON object: each attribute's name and form.
    Composite(Vec<(String, JsonForm)>),
}

impl JsonForm {
    /// Whether equal texts in Redshift mean equal values here, and the other way round.
    pub(super) fn can_be_key(&self) -> bool {
        match self {
            JsonForm::Boolean
            | JsonForm::Integer
            | JsonForm::Text
            | JsonForm::Timestamp
            | JsonForm::TimestampTz => true,
            // Inner arrays may have bounds, which JSON has not.
            JsonForm::Array { element, .. } => {
                !matches!(**element, JsonForm::Array { .. }) && element.can_be_key()
            }
            JsonForm::Number | JsonForm::Json | JsonForm::Hstore | JsonForm::Composite(_) => false,
        }
    }
}
