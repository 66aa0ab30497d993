//! Answers in pages.

use serde_json::{Value, json};

use super::error::ApiError;

/// One page of what was found, as the answer's `member`. `limit` is what was asked for (0 and none: as many as may be) and
/// how many that may be at most. A token is the number of entries before the page.
pub(super) fn page(
    member: &str,
    found: Vec<Value>,
    (limit, most): (Option<u64>, u64),
    token: Option<&str>,
) -> Result<Value, ApiError> {
    let limit = limit.filter(|limit| *limit > 0).unwrap_or(most);
    if limit > most {
        return Err(ApiError::validation(format!("MaxResults must be between 0 and {most}")));
    }
    let start = token.unwrap_or("0").parse();
    let start: usize = start.map_err(|_| ApiError::validation("NextToken is invalid"))?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let total = found.len();
    let page: Vec<Value> = found.into_iter().skip(start).take(limit).collect();
    let next = start + page.len();
    let mut answer = json!({ member: page });
    if let (true, Some(members)) = (next < total, answer.as_object_mut()) {
        members.insert("NextToken".to_owned(), json!(next.to_string()));
    }
    Ok(answer)
}
