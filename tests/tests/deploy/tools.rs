//! The tools of `.venv-deploy` and `.venv`, and files of the project.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The project's folder.
pub(crate) fn project() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A file of the project.
pub(crate) fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(project().join(path)).with_context(|| format!("{path} can't be read"))
}

/// A tool of `.venv-deploy`, in the project's folder, told that it is not to talk to anybody.
pub(crate) fn tool(name: &str) -> Command {
    let folder =
        std::env::var_os("RE_DMS_DEPLOY_VENV").map_or_else(|| project().join(".venv-deploy"), PathBuf::from);
    let programs = folder.join("bin");
    let mut command = Command::new(programs.join(name));
    let mut path = vec![programs];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    // A folder with a colon in its name can't be in a path: then the tools find each other elsewhere, or say so.
    if let Ok(path) = std::env::join_paths(path) {
        command.env("PATH", path);
    }
    command.env("SAM_CLI_TELEMETRY", "0").env("AWS_DEFAULT_REGION", "us-east-1");
    command.current_dir(project());
    command
}

/// Python with the packages of `.venv`.
pub(crate) fn python() -> Command {
    let venv = std::env::var_os("RE_DMS_VENV").map_or_else(|| project().join(".venv"), PathBuf::from);
    let mut command = Command::new(venv.join("bin/python3"));
    command.current_dir(project());
    command
}

/// Runs it to its end; what it printed to stdout. No success is an error with all that it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = outcome(command)?;
    ensure!(output.status.success(), "{command:?} failed:\n{}", printed(&output));
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs it to its end, however that is.
pub(crate) fn outcome(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output();
    output.with_context(|| format!("{command:?} can't be started (hint: tools/setup tests)"))
}

/// All that it printed.
pub(crate) fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A template as JSON, its functions in their long form.
pub(crate) fn template(path: &str) -> Result<Value> {
    const AS_JSON: &str = "import json, sys
from samtranslator.yaml_helper import yaml_parse
print(json.dumps(yaml_parse(open(sys.argv[1]).read()), default=str))";
    Ok(serde_json::from_str(&output(tool("python3").args(["-c", AS_JSON, path]))?)?)
}
