//! What `make package` packs, of the programs that are tested here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use re_dms_capture::config::Config;
use re_dms_tests::binary;

use crate::links::wrong_links;
use crate::tools::{output, project};

/// The loader's package in this folder.
pub(crate) fn bootstrap_zip(folder: &Path) -> PathBuf {
    folder.join("bootstrap.zip")
}

/// Packs the programs into this folder.
pub(crate) fn pack(folder: &Path) -> Result<()> {
    let programs = binary("re_dms");
    let programs = programs.parent().unwrap_or(&programs);
    output(Command::new(project().join("tools/package")).arg(programs).arg(folder))?;
    Ok(())
}

#[test]
fn the_package_is_whole_and_always_the_same() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    pack(&first)?;
    pack(&second)?;
    let name = format!("re_dms-{}-linux-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let archive = format!("{name}.tar.gz");
    for file in [archive.as_str(), "bootstrap.zip"] {
        ensure!(
            std::fs::read(first.join(file))? == std::fs::read(second.join(file))?,
            "{file} is another one each time"
        );
    }

    output(Command::new("tar").arg("-xzf").arg(first.join(archive)).arg("-C").arg(folder.path()))?;
    let unpacked = folder.path().join(name);
    let version = output(Command::new(unpacked.join("bin/re_dms")).arg("--version"))?;
    assert_eq!(version.trim(), concat!("re_dms ", env!("CARGO_PKG_VERSION")));
    let config = Config::load(&unpacked.join("stream.toml"))?;
    assert_eq!(config.stream, "main");
    for file in ["systemd/re_dms@.service", "docs/operations.md", "docs/configuration.md", "LICENSE"] {
        ensure!(unpacked.join(file).is_file(), "{file} is not in the package");
    }
    let (wrong, count) = wrong_links(&unpacked)?;
    ensure!(wrong.is_empty() && count > 50, "links of the package lead nowhere:\n{}", wrong.join("\n"));
    Ok(())
}
