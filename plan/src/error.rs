//! Why a segment can't be planned, and what to do about it.

use super::{Purpose, STATEMENT_BYTES};

/// Why there is no plan. None of these goes away by trying again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The manifest contradicts itself.
    #[error("the manifest's step {step} ({table}): {problem}")]
    Manifest {
        /// The step's number.
        step: u32,
        /// Its target.
        table: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The target's column can't hold what arrives.
    #[error("{table}: column {column} is {found} in Redshift and {wanted} in the segment")]
    ColumnType {
        /// The target.
        table: String,
        /// Its column.
        column: String,
        /// The type in Redshift.
        found: String,
        /// The type in the manifest.
        wanted: String,
    },
    /// Redshift would refuse to drop what views read.
    #[error("{table}: {what} can't be dropped, since {} read it", views.join(", "))]
    Views {
        /// The target.
        table: String,
        /// The table or the column.
        what: String,
        /// The views, with their schemas.
        views: Vec<String>,
    },
    /// Something else has the name already.
    #[error("{table}: {what} is to be called {name}, and there is one of that name")]
    NameTaken {
        /// The target.
        table: String,
        /// The table or the column.
        what: String,
        /// Its new name.
        name: String,
    },
    /// A table takes its name from another one, or leaves it to another one, and that one waits.
    #[error("{table} and {other}, which is quarantined, exchange names")]
    Linked {
        /// The target.
        table: String,
        /// The one that waits.
        other: String,
    },
    /// A change of its definition waits for approval.
    #[error("{table}: a change of its definition waits for approval")]
    Held {
        /// The target.
        table: String,
    },
    /// A table is being read anew, and not all of its rows are there.
    #[error("{table} is being read anew")]
    BeingRead {
        /// The target.
        table: String,
    },
    /// A table so wide that its statements are refused.
    #[error(
        "{table}: {purpose} takes a statement of {bytes} bytes, and the Data API takes {STATEMENT_BYTES}"
    )]
    TooLong {
        /// The target.
        table: String,
        /// What the statement is for.
        purpose: Purpose,
        /// Its length.
        bytes: usize,
    },
}

impl PlanError {
    /// The target that is to blame, where it is the target and not the segment.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        match self {
            PlanError::Manifest { .. } => None,
            PlanError::ColumnType { table, .. }
            | PlanError::Views { table, .. }
            | PlanError::NameTaken { table, .. }
            | PlanError::TooLong { table, .. } => Some(table),
            // It is in quarantine already.
            PlanError::Linked { .. } | PlanError::Held { .. } | PlanError::BeingRead { .. } => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            PlanError::Manifest { .. } => {
                "the segment was written wrong: report it with its manifest.json, which holds no row values"
                    .into()
            }
            PlanError::ColumnType { table, column, wanted, .. } => {
                format!(
                    "give {table}'s column {column} the type {wanted}, or rename the table: a missing one is created"
                )
            }
            PlanError::Views { .. } => "drop these views, or make them again WITH NO SCHEMA BINDING".into(),
            PlanError::NameTaken { table, name, .. } => {
                format!("rename or drop {name} of {table} in Redshift")
            }
            PlanError::Linked { other, .. } => {
                format!("end what {other} waits for (`re_dms tables list`): both come back together")
            }
            PlanError::Held { table } => {
                format!("look at it with `re_dms plan`, then `re_dms tables approve {table}`")
            }
            PlanError::BeingRead { .. } => {
                "it comes back by itself once its rows are there: `re_dms tables list` shows how far it is"
                    .into()
            }
            PlanError::TooLong { purpose: Purpose::Keep | Purpose::Remove, .. } => {
                "give the table a primary key: all of its columns have to be compared without one".into()
            }
            PlanError::TooLong { .. } => "exclude some of the table's columns from the stream".into(),
        }
    }
}
