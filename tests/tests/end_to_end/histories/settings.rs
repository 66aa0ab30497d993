//! What the environment says about a run.

use std::time::Duration;

use anyhow::{Context, Result};
use re_dms_tests::history::Table;

/// A run's settings.
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) time: Duration,
    pub(super) rounds: u32,
    pub(super) calm: bool,
    tables: Option<Vec<String>>,
}

impl Settings {
    pub(super) fn from_env() -> Result<Self> {
        // Small enough to be typed.
        let any_seed = u64::from(rand::random::<u32>());
        let tables: Option<String> = variable("TABLES")?;
        Ok(Self {
            seed: variable("SEED")?.unwrap_or(any_seed),
            time: Duration::from_secs(variable("SECONDS")?.unwrap_or(45)),
            rounds: variable("ROUNDS")?.unwrap_or(10),
            calm: variable::<String>("CALM")?.is_some(),
            tables: tables.map(|tables| tables.split(',').map(|name| name.trim().to_owned()).collect()),
        })
    }

    /// Do the table's statements run?
    pub(super) fn keeps(&self, table: &Table) -> bool {
        self.tables.as_ref().is_none_or(|names| names.contains(&table.bare_name()))
    }
}

fn variable<T: std::str::FromStr>(name: &str) -> Result<Option<T>> {
    let name = format!("RE_DMS_HISTORY_{name}");
    let Some(value) = std::env::var(&name).ok().filter(|value| !value.is_empty()) else { return Ok(None) };
    let parsed = value.parse().ok().with_context(|| format!("{name} can't be {value:?}"))?;
    Ok(Some(parsed))
}
