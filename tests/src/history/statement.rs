//! A statement of a history, and how it is told from others when a failure is narrowed down.

use super::model::TableId;
use super::tables::Table;

/// SQL for one session to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    text: Text,
    /// Does PostgreSQL refuse it?
    pub fails: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    /// Begins and ends of transactions, and whatever else touches no table of the schema.
    Control(String),
    /// Of one table.
    Of(TableId, String),
    Truncate {
        tables: Vec<TableId>,
        options: &'static str,
    },
}

impl Statement {
    pub(super) fn control(sql: impl Into<String>) -> Self {
        Self { text: Text::Control(sql.into()), fails: false }
    }

    pub(super) fn of(table: TableId, sql: impl Into<String>) -> Self {
        Self { text: Text::Of(table, sql.into()), fails: false }
    }

    pub(super) fn truncate(tables: Vec<TableId>, options: &'static str) -> Self {
        Self { text: Text::Truncate { tables, options }, fails: false }
    }

    pub(super) fn that_fails(self) -> Self {
        Self { fails: true, ..self }
    }

    /// Its text, if it concerns tables that `keep` takes. The others' rows don't depend on it.
    #[must_use]
    pub fn sql(&self, all: &[Table], keep: impl Fn(&Table) -> bool) -> Option<String> {
        match &self.text {
            Text::Control(sql) => Some(sql.clone()),
            Text::Of(table, sql) => keep(&all[*table]).then(|| sql.clone()),
            Text::Truncate { tables, options } => {
                let kept: Vec<&str> = tables
                    .iter()
                    .map(|&table| &all[table])
                    .filter(|table| keep(table))
                    .map(|table| table.name)
                    .collect();
                (!kept.is_empty()).then(|| format!("TRUNCATE {}{options}", kept.join(", ")))
            }
        }
    }
}
