//! Where the programs and the Python packages are.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Names the folder of `re_dms` and `bootstrap`, if they are not beside `sandbox`.
pub const BIN_DIR_VARIABLE: &str = "RE_DMS_BIN_DIR";

/// Names the virtual environment, if it is not the project's own.
pub const VENV_VARIABLE: &str = "RE_DMS_VENV";

/// A program of re_dms: `re_dms`, `bootstrap` or `sandbox`.
///
/// # Errors
/// It has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    let named = std::env::var_os(BIN_DIR_VARIABLE).map(PathBuf::from);
    let folder = named.or_else(|| {
        let own = std::env::current_exe().ok()?;
        // Test programs lie one folder deeper.
        own.ancestors().skip(1).take(2).find(|folder| folder.join(name).is_file()).map(Path::to_owned)
    });
    folder.map(|folder| folder.join(name)).filter(|path| path.is_file()).ok_or_else(|| Error::Missing {
        what: format!("the program {name} is not there"),
        hint: format!("run make build, or name the folder that holds it in {BIN_DIR_VARIABLE}"),
    })
}

/// The virtual environment that `make setup` made, if there is one: the project's, looked for upwards from this program
/// and from the working directory.
#[must_use]
pub fn venv() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VENV_VARIABLE) {
        return Some(PathBuf::from(named));
    }
    let starts = [std::env::current_exe().ok(), std::env::current_dir().ok()];
    let mut folders = starts.iter().flatten().flat_map(|start| start.ancestors());
    let is_ours =
        |folder: &&Path| folder.join(".venv/bin/python3").exists() && folder.join("Cargo.toml").is_file();
    folders.find(is_ours).map(|folder| folder.join(".venv"))
}

/// A program of the virtual environment.
///
/// # Errors
/// It is not installed.
pub fn venv_program(name: &str) -> Result<PathBuf> {
    let found = venv().map(|venv| venv.join("bin").join(name)).filter(|path| path.is_file());
    found.ok_or_else(|| Error::Missing {
        what: format!("the Python program {name} is not there"),
        hint: format!("run make setup, or name a virtual environment in {VENV_VARIABLE}"),
    })
}
