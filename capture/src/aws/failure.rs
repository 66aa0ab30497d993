//! What AWS's SDK says of a failure, in words: the service's own, or the chain of causes. Its own text would be followed by a
//! dump of its structures, which nobody can read.

use std::error::Error;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// What happened, with the service's id of the request if it has one.
pub(crate) fn words<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let id = |name| Some(error.raw_response()?.headers().get(name)?.to_owned());
    let id = id("x-amz-request-id").or_else(|| id("x-amzn-requestid"));
    let id = id.map_or_else(String::new, |id| format!(" (request {id})"));
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}{id}"),
        (Some(code), None) => format!("{code}{id}"),
        _ => chain(error) + &id,
    }
}

/// What to do, where the failure says so; else `usual`.
pub(crate) fn hint(words: &str, usual: &str) -> String {
    if words.contains("region must be set") || words.contains("region was not") {
        "set aws.region, or AWS_REGION in the environment".to_owned()
    } else if words.contains("loading credentials") || words.contains("CredentialsNotLoaded") {
        "give the machine a role, or credentials in the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID and the like)"
            .to_owned()
    } else {
        usual.to_owned()
    }
}

/// Each cause once, from the outermost on.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.iter().any(|before| before.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Cause(&'static str, Option<Box<Cause>>);

    impl fmt::Display for Cause {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Cause {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn causes_are_told_once_and_hints_fit() {
        let inner = Cause("timed out", None);
        let error =
            Cause("dispatch failure: timed out", Some(Box::new(Cause("connector", Some(Box::new(inner))))));
        assert_eq!(chain(&error), "dispatch failure: timed out: connector");
        assert!(hint("other: A region must be set when sending requests", "x").contains("aws.region"));
        assert!(
            hint("an error occurred while loading credentials: no providers", "x").contains("AWS_PROFILE")
        );
        assert_eq!(hint("timed out", "the network"), "the network");
    }
}
