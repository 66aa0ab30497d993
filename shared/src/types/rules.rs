//! What the configuration says of a column: another type, and policies for values that Redshift can't hold.

use super::RedshiftType;

/// What becomes of a value that Redshift can't hold. Whatever it is, it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// NULL arrives.
    Null,
    /// A text is cut at a character's end.
    Truncate,
    /// The nearest value that Redshift holds arrives.
    Saturate,
    /// The value goes to Redshift as it is, which refuses it: the table stands still, and the others go on.
    Quarantine,
    /// The capture stops: somebody has to decide.
    Error,
}

/// How files say that a SUPER column is NULL. Redshift's documents say it of all other types only (`redshift.md`, 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SuperNull {
    /// As everywhere: by what COPY's NULL AS names.
    #[default]
    Mark,
    /// By an empty field, which is no JSON.
    Empty,
}

/// The rules of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ColumnRules {
    /// Another type in Redshift than the map's.
    pub redshift: Option<RedshiftType>,
    /// The scale of `DECIMAL(38,s)` for a `numeric` that no DECIMAL surely holds; none for text, which is exact.
    pub numeric_scale: Option<u8>,
    /// Digits that have no room in such a DECIMAL, before or behind the point: null, saturate (rounds, too), error.
    pub inexact: Policy,
    /// NaN and infinities of floats and numerics: null, error.
    pub nan: Policy,
    /// Infinities, BC and years above 9999 of dates and timestamps: null, saturate, error.
    pub date: Policy,
    /// 24:00:00 of `time` and `timetz`, which Redshift's documentation has and COPY's does not speak of: null, saturate (the
    /// last microsecond of the day), error; none for as it is.
    pub end_of_day: Option<Policy>,
    /// Text that is longer than its column: truncate, null, error.
    pub long_text: Policy,
    /// `bytea` that is longer than its column, and PostGIS's values: null, error.
    pub long_bytes: Policy,
    /// What is beyond SUPER's limits: null, error.
    pub json: Policy,
    /// How NULL is written, if the column is a SUPER.
    pub super_null: SuperNull,
}

impl Default for ColumnRules {
    fn default() -> Self {
        Self {
            redshift: None,
            numeric_scale: None,
            inexact: Policy::Error,
            nan: Policy::Null,
            date: Policy::Null,
            end_of_day: None,
            long_text: Policy::Truncate,
            long_bytes: Policy::Null,
            json: Policy::Null,
            super_null: SuperNull::Mark,
        }
    }
}

/// A rule that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is no such rule.
    #[error(
        "is no rule: there are type, numeric_scale, inexact_numeric, nan, date, end_of_day, long_text, long_bytes, \
         json and super_null"
    )]
    Unknown,
    /// It does not take this value.
    #[error("must be {0}")]
    Value(&'static str),
}

impl ColumnRules {
    /// Sets one rule by its name in the configuration.
    ///
    /// # Errors
    /// If there is no such rule, or it does not take the value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), RuleError> {
        use Policy::{Error, Null, Quarantine, Saturate, Truncate};
        let one_of = |policies: &[Policy], told: &'static str| {
            let named = match value {
                "null" => Some(Null),
                "truncate" => Some(Truncate),
                "saturate" => Some(Saturate),
                "quarantine" => Some(Quarantine),
                "error" => Some(Error),
                _ => None,
            };
            named.filter(|policy| policies.contains(policy)).ok_or(RuleError::Value(told))
        };
        match name {
            "type" => {
                let parsed = value.to_ascii_uppercase().replace(", ", ",").parse();
                self.redshift = Some(parsed.map_err(|_| {
                    RuleError::Value(
                        "a type of Redshift's as re_dms writes it, such as VARCHAR(100) or DECIMAL(20,4)",
                    )
                })?);
            }
            "numeric_scale" => {
                let scale = value.parse().ok().filter(|scale| *scale <= 37);
                self.numeric_scale = Some(scale.ok_or(RuleError::Value("a number from 0 to 37"))?);
            }
            "inexact_numeric" => {
                self.inexact = one_of(&[Error, Null, Saturate], "error, null or saturate")?;
            }
            "nan" => self.nan = one_of(&[Null, Error], "null or error")?,
            "date" => self.date = one_of(&[Null, Saturate, Error], "null, saturate or error")?,
            "end_of_day" if value == "exact" => self.end_of_day = None,
            "end_of_day" => {
                let policy = one_of(&[Null, Saturate, Error], "exact, null, saturate or error")?;
                self.end_of_day = Some(policy);
            }
            "long_text" => {
                let policies = [Truncate, Null, Quarantine, Error];
                self.long_text = one_of(&policies, "truncate, null, quarantine or error")?;
            }
            "long_bytes" => self.long_bytes = one_of(&[Null, Error], "null or error")?,
            "json" => self.json = one_of(&[Null, Error], "null or error")?,
            "super_null" => {
                self.super_null = match value {
                    "mark" => SuperNull::Mark,
                    "empty" => SuperNull::Empty,
                    _ => return Err(RuleError::Value("mark or empty")),
                };
            }
            _ => return Err(RuleError::Unknown),
        }
        Ok(())
    }
}
