//! The systemd unit, as systemd reads it. What the program tells a supervisor is heard in `image`.

use anyhow::{Context, Result, ensure};

use crate::tools::{outcome, output, project};
use std::process::Command;

const UNIT: &str = "infra/systemd/re_dms@.service";

#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() -> Result<()> {
    let mut command = Command::new("systemd-analyze");
    if outcome(command.arg("--version")).is_err() {
        // tools/setup says so as well, and installs it where it may.
        println!("systemd-analyze is not here: nothing was checked");
        return Ok(());
    }
    // A machine with nothing on it but the unit and the files that it names.
    let root = tempfile::tempdir()?;
    for (file, place) in [
        ("/bin/true", "usr/local/bin/re_dms"),
        ("docs/operations.md", "usr/share/doc/re_dms/operations.md"),
        (UNIT, "etc/systemd/system/re_dms@.service"),
    ] {
        let place = root.path().join(place);
        std::fs::create_dir_all(place.parent().context("a file has a folder")?)?;
        std::fs::copy(project().join(file), place)?;
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--recursive-errors=no", "--root"]).arg(root.path()).arg("re_dms@main.service");
    let verified = outcome(&mut verify)?;
    let told = crate::tools::printed(&verified);
    // The rest of systemd's own units is not on that machine.
    let told: Vec<&str> = told.lines().filter(|line| !line.contains("sysinit.target not found")).collect();
    ensure!(verified.status.success() && told.is_empty(), "{told:#?}");

    let mut security = Command::new("systemd-analyze");
    let rated =
        output(security.args(["security", "--offline=true", "--no-pager"]).arg(project().join(UNIT)))?;
    let level =
        rated.lines().find_map(|line| line.split_once("Overall exposure level for ")?.1.split_once(": "));
    let level: f64 = level.and_then(|(_, level)| level.split(' ').next()).context("a level")?.parse()?;
    ensure!(level < 2.0, "the exposure level is {level}:\n{rated}");
    Ok(())
}
