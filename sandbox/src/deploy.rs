//! What `template.yaml` makes on AWS, made in the local one: bucket, queues, the loader's function and its trigger.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fs;
use std::path::PathBuf;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{Environment, FunctionCode, FunctionResponseType, Runtime};
use aws_sdk_sqs::types::QueueAttributeName;

use re_dms_shared::manifest::sha256_hex;

use crate::capture_config::CREDENTIAL;
use crate::error::{Error, Part, Result};
use crate::ministack::REGION;
use crate::processes::OWNER_VARIABLE;
use crate::state::Folder;
use crate::zip;

/// The bucket of the segments.
pub const BUCKET: &str = "re-dms-sandbox";
/// The loader.
pub const FUNCTION: &str = "re_dms-loader";
/// The database that the stand-in serves.
pub const DATABASE: &str = "warehouse";

const SEGMENTS: &str = "re_dms-segments.fifo";
const DEAD_SEGMENTS: &str = "re_dms-segments-dead.fifo";
const ACKS: &str = "re_dms-acks";
const ROLE: &str = "arn:aws:iam::000000000000:role/re_dms-loader";

/// The function's time limit and, as AWS wants it no shorter, the queue's visibility time-out, in seconds: short, so that
/// the message of a loader that was killed comes back soon.
const TIMEOUT: i32 = 30;
/// Seconds until an acknowledgement comes back that a capture took, or was given though it was killed while it asked.
const ACKS_BACK_AFTER: i32 = 3;
/// Deliveries before a message goes to the dead-letter queue.
const DELIVERIES: i32 = 20;
/// Segments a function is given at once.
const BATCH: i32 = 10;

/// What is deployed where.
#[derive(Debug)]
pub struct Deployment<'a> {
    /// The sandbox.
    pub folder: &'a Folder,
    /// The local AWS.
    pub aws_endpoint: String,
    /// The stand-in.
    pub redshift_data_endpoint: String,
    /// The loader's program.
    pub bootstrap: PathBuf,
}

/// What was deployed.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// The FIFO queue of staged segments.
    pub queue_url: String,
    /// The queue of acknowledgements.
    pub ack_queue_url: String,
}

/// Settings of every AWS client of the sandbox.
async fn sdk_config(endpoint: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new(CREDENTIAL, CREDENTIAL, None, None, "sandbox"))
        .load()
        .await
}

impl Deployment<'_> {
    /// Makes what is missing and brings the rest up to date.
    ///
    /// # Errors
    /// The local AWS refuses something.
    pub async fn deploy(&self) -> Result<Deployed> {
        let config = sdk_config(&self.aws_endpoint).await;
        self.bucket(&config).await?;
        let sqs = aws_sdk_sqs::Client::new(&config);
        let (queue_url, queue_arn) = self.segment_queue(&sqs).await?;
        let soon = (QueueAttributeName::VisibilityTimeout, ACKS_BACK_AFTER.to_string());
        let ack_queue_url = self.queue(&sqs, ACKS, &[soon]).await?;
        self.function(&aws_sdk_lambda::Client::new(&config), &queue_arn).await?;
        Ok(Deployed { queue_url, ack_queue_url })
    }

    /// Changes whenever another deployment would differ.
    ///
    /// # Errors
    /// The program or the folder's `loader.json` can't be read.
    pub fn fingerprint(&self) -> Result<String> {
        let program = fs::read(&self.bootstrap).map_err(Error::file("could not read", &self.bootstrap))?;
        let mut variables: Vec<_> = self.function_environment()?.into_iter().collect();
        variables.sort();
        Ok(sha256_hex(&[program, format!("{variables:?}").into_bytes()].concat()))
    }

    async fn bucket(&self, config: &SdkConfig) -> Result<()> {
        let settings = aws_sdk_s3::config::Builder::from(config).force_path_style(true).build();
        let s3 = aws_sdk_s3::Client::from_conf(settings);
        if s3.head_bucket().bucket(BUCKET).send().await.is_ok() {
            return Ok(());
        }
        s3.create_bucket().bucket(BUCKET).send().await.map_err(self.refused("no bucket could be made"))?;
        Ok(())
    }

    async fn segment_queue(&self, sqs: &aws_sdk_sqs::Client) -> Result<(String, String)> {
        use QueueAttributeName as Name;

        let fifo = (Name::FifoQueue, "true".to_owned());
        let dead_url = self.queue(sqs, DEAD_SEGMENTS, std::slice::from_ref(&fifo)).await?;
        let dead_arn = self.queue_arn(sqs, &dead_url).await?;
        let redrive = serde_json::json!({ "deadLetterTargetArn": dead_arn, "maxReceiveCount": DELIVERIES });
        let attributes = [
            fifo,
            (Name::VisibilityTimeout, TIMEOUT.to_string()),
            (Name::RedrivePolicy, redrive.to_string()),
        ];
        let url = self.queue(sqs, SEGMENTS, &attributes).await?;
        let arn = self.queue_arn(sqs, &url).await?;
        Ok((url, arn))
    }

    async fn queue(
        &self,
        sqs: &aws_sdk_sqs::Client,
        name: &str,
        attributes: &[(QueueAttributeName, String)],
    ) -> Result<String> {
        let attributes: HashMap<_, _> = attributes.iter().cloned().collect();
        let request = sqs.create_queue().queue_name(name).set_attributes(Some(attributes));
        let made = request.send().await.map_err(self.refused("no queue could be made"))?;
        // The local AWS may have another port than last time, and keeps the old one in what it tells.
        let path = made.queue_url().unwrap_or_default().splitn(4, '/').nth(3).unwrap_or_default().to_owned();
        Ok(format!("{}/{path}", self.aws_endpoint))
    }

    async fn queue_arn(&self, sqs: &aws_sdk_sqs::Client, url: &str) -> Result<String> {
        let request = sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::QueueArn);
        let answer = request.send().await.map_err(self.refused("a queue has no attributes"))?;
        let arn = answer.attributes().and_then(|map| map.get(&QueueAttributeName::QueueArn));
        arn.cloned().ok_or_else(|| self.failed("a queue has no ARN".into()))
    }

    async fn function(&self, lambda: &aws_sdk_lambda::Client, queue_arn: &str) -> Result<()> {
        let program = fs::read(&self.bootstrap).map_err(Error::file("could not read", &self.bootstrap))?;
        let package = zip::executable("bootstrap", &program)
            .map(Blob::new)
            .map_err(Error::file("could not pack", &self.bootstrap))?;
        let environment = Environment::builder().set_variables(Some(self.function_environment()?)).build();
        if lambda.get_function().function_name(FUNCTION).send().await.is_ok() {
            let code = lambda.update_function_code().function_name(FUNCTION).zip_file(package);
            code.send().await.map_err(self.refused("the function's code could not be replaced"))?;
            let settings = lambda.update_function_configuration().function_name(FUNCTION).timeout(TIMEOUT);
            let settings = settings.environment(environment);
            settings.send().await.map_err(self.refused("the function could not be configured"))?;
        } else {
            let request = lambda.create_function().function_name(FUNCTION).runtime(Runtime::Providedal2023);
            let request = request.handler("bootstrap").role(ROLE).timeout(TIMEOUT).memory_size(256);
            let request = request.environment(environment);
            let request = request.code(FunctionCode::builder().zip_file(package).build());
            request.send().await.map_err(self.refused("the function could not be made"))?;
        }
        self.trigger(lambda, queue_arn).await
    }

    async fn trigger(&self, lambda: &aws_sdk_lambda::Client, queue_arn: &str) -> Result<()> {
        let known = lambda.list_event_source_mappings().function_name(FUNCTION).event_source_arn(queue_arn);
        let known = known.send().await.map_err(self.refused("the triggers could not be listed"))?;
        if !known.event_source_mappings().is_empty() {
            return Ok(());
        }
        let request = lambda.create_event_source_mapping().function_name(FUNCTION);
        let request = request.event_source_arn(queue_arn).batch_size(BATCH);
        let request = request.function_response_types(FunctionResponseType::ReportBatchItemFailures);
        request.send().await.map_err(self.refused("the trigger could not be made"))?;
        Ok(())
    }

    fn function_environment(&self) -> Result<HashMap<String, String>> {
        let variables = [
            ("RE_DMS_DATABASE", DATABASE),
            ("RE_DMS_WORKGROUP", "sandbox"),
            ("RE_DMS_COPY_ROLE", "default"),
            ("RE_DMS_S3_PATH_STYLE", "true"),
            ("RE_DMS_LOG", "info"),
            ("AWS_ENDPOINT_URL", &self.aws_endpoint),
            ("AWS_ENDPOINT_URL_REDSHIFT_DATA", &self.redshift_data_endpoint),
            (OWNER_VARIABLE, &self.folder.root().display().to_string()),
        ];
        let own = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Ok(own.chain(self.further_variables()?).collect())
    }

    fn further_variables(&self) -> Result<HashMap<String, String>> {
        let path = self.folder.loader_variables();
        if !path.exists() {
            return Ok(HashMap::new());
        }
        let json = fs::read(&path).map_err(Error::file("could not read", &path))?;
        let broken = |error: serde_json::Error| {
            self.failed(format!("{} is no object of texts: {error}", path.display()))
        };
        serde_json::from_slice(&json).map_err(broken)
    }

    fn refused<E: StdError>(&self, what: &'static str) -> impl Fn(E) -> Error {
        move |error| self.failed(format!("{what}: {}", aws_sdk_s3::error::DisplayErrorContext(&error)))
    }

    fn failed(&self, message: String) -> Error {
        Error::Part { part: Part::Aws, message, log: Some(self.folder.log(Part::Aws)) }
    }
}
