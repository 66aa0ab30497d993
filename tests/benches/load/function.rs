//! The function's process, with the environment that Lambda and `template.yaml` give it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::services::Services;

/// A running function; killed when it goes out of scope.
pub(crate) struct Function {
    process: Child,
    started: Instant,
}

impl Function {
    pub(crate) fn start(program: &Path, services: &Services) -> Result<Self> {
        let endpoint = services.endpoint();
        let started = Instant::now();
        let process = Command::new(program)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", services.authority())
            .env("AWS_LAMBDA_FUNCTION_NAME", "re_dms-loader")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "g")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "s")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("RE_DMS_DATABASE", "dev")
            .env("RE_DMS_WORKGROUP", "bench")
            .env("RE_DMS_S3_PATH_STYLE", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .context("the loader can't be started")?;
        Ok(Self { process, started })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Time on a processor so far, of all threads.
    pub(crate) fn cpu_ms(&self) -> Result<u64> {
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let told = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            let on_cpu = told.split_whitespace().next().context("a schedstat line")?;
            nanoseconds += on_cpu.parse::<u64>()?;
        }
        Ok(nanoseconds / 1_000_000)
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
