//! The role, as Ansible reads it and would run it here.

use anyhow::{Result, ensure};

use crate::tools::{outcome, output, printed, project, tool};

#[test]
fn the_linter_finds_nothing_in_the_role() -> Result<()> {
    output(
        tool("ansible-lint")
            .args(["--offline", "--strict", "--nocolor"])
            .current_dir(project().join("infra/ansible")),
    )?;
    Ok(())
}

#[test]
fn a_dry_run_would_change_what_the_role_says_and_shows_no_secret() -> Result<()> {
    let mut command = tool("ansible-playbook");
    command.args([
        "--check",
        "--diff",
        "--inventory",
        "tests/tests/deploy/ansible/hosts.yml",
        "infra/ansible/re_dms.yml",
    ]);
    let run = outcome(command.env("ANSIBLE_NOCOLOR", "1"))?;
    let told = printed(&run);
    ensure!(run.status.success() && told.contains("failed=0"), "{told}");
    for expected in [
        "ExecStart=/usr/local/bin/re_dms run",
        "/etc/re_dms/main.toml",
        "/etc/re_dms/orders.toml",
        "\"file_path\": \"/var/log/re_dms/orders.metrics\"",
        "StandardOutput=append:/var/log/re_dms/%i.metrics",
    ] {
        ensure!(told.contains(expected), "no {expected} in\n{told}");
    }
    ensure!(!told.contains("a planted secret"), "{told}");
    Ok(())
}
