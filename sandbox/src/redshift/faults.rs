//! Faults on demand: slow, throttling, failing, paused, full, and answers that get lost after the work was done. Set by
//! configuration and, while it runs, by `POST /_standin/faults` with the same shape as JSON; `PATCH` changes some of them,
//! `GET` tells what is left.

use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::catalog::Failure;
use super::lock;

/// What goes wrong next. Every count falls by one each time; what is no count stays until it is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultSettings {
    /// Every statement, each of a batch, takes this much longer.
    pub latency_ms: u64,
    /// Every commit takes this much longer.
    pub commit_latency_ms: u64,
    /// This many requests are answered by ThrottlingException.
    pub throttle_requests: u32,
    /// Requests to refuse before anything is done.
    pub refuse_requests: RefuseRequests,
    /// Executions to fail.
    pub fail_executions: FailExecutions,
    /// Answers to lose.
    pub lose_answers: LoseAnswers,
    /// This many commits end in 1023, with nothing done.
    pub conflict_commits: u32,
    /// Nothing that takes room succeeds.
    pub disk_full: bool,
    /// Every COPY fails with this text: its role is not attached, may not read the bucket, or not use its key.
    pub fail_copies: Option<String>,
    /// The state of the cluster.
    pub cluster: Cluster,
}

/// What the cluster is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cluster {
    /// At work.
    #[default]
    Available,
    /// Paused: every statement fails.
    Paused,
    /// Being resized: read-only.
    Resizing,
}

/// Requests to ExecuteStatement and BatchExecuteStatement that are refused before anything is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RefuseRequests {
    /// How many.
    pub count: u32,
    /// How.
    pub by: RequestFault,
}

/// The error that a request is refused with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestFault {
    /// InternalServerException, HTTP 500.
    #[default]
    InternalError,
    /// ActiveStatementsExceededException.
    ActiveStatements,
    /// ActiveSessionsExceededException.
    ActiveSessions,
    /// DatabaseConnectionException, HTTP 500.
    DatabaseConnection,
}

/// Executions that end as FAILED.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailExecutions {
    /// How many.
    pub count: u32,
    /// The error's text, in place of a lost connection's.
    pub error: Option<String>,
    /// Fail after the commit: the outcome is FAILED although everything was done.
    pub after_commit: bool,
}

/// Answers to ExecuteStatement and BatchExecuteStatement that get lost once the statement has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoseAnswers {
    /// How many.
    pub count: u32,
    /// What the caller gets instead.
    pub by: Loss,
}

/// How an answer gets lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The connection breaks.
    #[default]
    Connection,
    /// HTTP 500, InternalServerException.
    InternalError,
}

/// The faults of a running stand-in.
#[derive(Debug, Default)]
pub(super) struct Faults {
    settings: Mutex<FaultSettings>,
}

impl Faults {
    pub(super) fn new(settings: FaultSettings) -> Self {
        Self { settings: Mutex::new(settings) }
    }

    pub(super) fn current(&self) -> FaultSettings {
        lock(&self.settings).clone()
    }

    pub(super) fn replace(&self, settings: FaultSettings) {
        *lock(&self.settings) = settings;
    }

    pub(super) fn latency(&self) -> Duration {
        Duration::from_millis(lock(&self.settings).latency_ms)
    }

    pub(super) fn commit_latency(&self) -> Duration {
        Duration::from_millis(lock(&self.settings).commit_latency_ms)
    }

    pub(super) fn throttle(&self) -> bool {
        take_one(&mut lock(&self.settings).throttle_requests)
    }

    pub(super) fn conflict_on_commit(&self) -> bool {
        take_one(&mut lock(&self.settings).conflict_commits)
    }

    pub(super) fn refuse_request(&self) -> Option<RequestFault> {
        let mut settings = lock(&self.settings);
        let by = settings.refuse_requests.by;
        take_one(&mut settings.refuse_requests.count).then_some(by)
    }

    /// Why no statement can be run now, or none that `changes` something.
    pub(super) fn refusal(&self, changes: bool) -> Result<(), Failure> {
        let settings = lock(&self.settings);
        match settings.cluster {
            Cluster::Paused => return Err("The cluster is paused".into()),
            Cluster::Resizing if changes => {
                return Err(
                    "cannot execute the statement in a read-only transaction: the cluster is resizing".into(),
                );
            }
            Cluster::Resizing | Cluster::Available => {}
        }
        if settings.disk_full && changes {
            return Err("Disk Full DETAIL: error: Disk Full code: 1016".into());
        }
        Ok(())
    }

    pub(super) fn fail_copy(&self) -> Result<(), Failure> {
        lock(&self.settings).fail_copies.clone().map_or(Ok(()), |error| Err(error.into()))
    }

    /// The error of an execution that is to fail, and whether only after its commit.
    pub(super) fn fail_execution(&self) -> Option<(String, bool)> {
        let mut settings = lock(&self.settings);
        let fail = &mut settings.fail_executions;
        if !take_one(&mut fail.count) {
            return None;
        }
        let error = fail.error.clone().unwrap_or_else(|| "connection to the database was lost".to_owned());
        Some((error, fail.after_commit))
    }

    pub(super) fn lose_answer(&self) -> Option<Loss> {
        let mut settings = lock(&self.settings);
        let loss = settings.lose_answers.by;
        take_one(&mut settings.lose_answers.count).then_some(loss)
    }
}

fn take_one(count: &mut u32) -> bool {
    let any = *count > 0;
    *count = count.saturating_sub(1);
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_run_out() {
        let settings: FaultSettings = serde_json::from_str(
            r#"{"throttle_requests":1,"lose_answers":{"count":1,"by":"internal_error"},"fail_executions":{"count":1,"after_commit":true}}"#,
        )
        .unwrap();
        let faults = Faults::new(settings);
        assert_eq!((faults.throttle(), faults.throttle()), (true, false));
        assert_eq!((faults.lose_answer(), faults.lose_answer()), (Some(Loss::InternalError), None));
        assert!(faults.fail_execution().is_some_and(|(_, after_commit)| after_commit));
        assert_eq!(faults.fail_execution(), None);
        assert!(serde_json::from_str::<FaultSettings>(r#"{"latency":1}"#).is_err());
    }

    #[test]
    fn a_cluster_that_is_resized_is_read_only() {
        let faults = Faults::new(FaultSettings { cluster: Cluster::Resizing, ..FaultSettings::default() });
        assert_eq!((faults.refusal(false).is_ok(), faults.refusal(true).is_ok()), (true, false));
        faults.replace(FaultSettings { cluster: Cluster::Paused, ..FaultSettings::default() });
        assert!(faults.refusal(false).is_err());
    }
}
