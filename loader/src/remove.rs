//! The loader's part of `re_dms destroy`: one transaction that drops what is named, and an answer on S3, whatever it comes to.

use re_dms_plan::remove::statements;
use re_dms_shared::remove::{FORMAT, MOST_TABLES, RemoveAnswer, RemoveFailure, RemoveRequest};

use crate::apply::{self, Loader};
use crate::deadline::Deadline;
use crate::error::{LoadError, Retry};
use crate::objects::Objects;
use crate::receipt::loaded_by;
use crate::runner::{End, Runner};
use crate::statements::{Sql, Statements, Submission};

impl<A: Statements, O: Objects> Loader<A, O> {
    /// Removes what the request names, and answers.
    ///
    /// # Errors
    /// If this invocation can't see its end, or the answer can't be written: the same request finds the same transaction.
    pub async fn remove_and_answer(
        &self,
        request: &RemoveRequest,
        deadline: Deadline,
    ) -> Result<(), LoadError> {
        apply::check_stream(&request.stream)?;
        let failure = match self.remove_all(request, deadline).await {
            Ok(()) => None,
            Err(error) if error.retry() == Retry::Now => return Err(error),
            Err(error) => Some(RemoveFailure { what: error.to_string(), hint: error.hint() }),
        };
        let answer = RemoveAnswer { format: FORMAT, answered_by: loaded_by(), failure };
        let json = serde_json::json!(answer).to_string().into_bytes();
        self.objects.put_if_absent(&request.bucket, &request.answer_key, json).await
    }

    async fn remove_all(&self, request: &RemoveRequest, deadline: Deadline) -> Result<(), LoadError> {
        if request.tables.len() > MOST_TABLES {
            return Err(LoadError::Message { reason: format!("it names more than {MOST_TABLES} tables") });
        }
        let statements = statements(request);
        if statements.is_empty() {
            return Ok(());
        }
        let submission = Submission {
            sql: Sql::Batch(statements),
            name: format!("re_dms/{}/remove", request.stream),
            token: Some(format!("remove-{}", request.id)),
        };
        match Runner::new(&self.api, deadline).run(&submission).await? {
            End::Finished(_) => Ok(()),
            End::Failed(description) => {
                let part = description.parts.iter().find_map(|part| part.error.clone());
                let words = part.or(description.error).unwrap_or_default();
                Err(LoadError::of_statement("removing what the stream left", &words))
            }
        }
    }
}
