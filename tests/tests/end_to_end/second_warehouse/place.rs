//! Another warehouse beside a sandbox's, with a queue and a loader of its own: where a replay may go.

use std::collections::HashMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{Environment, FunctionCode, FunctionResponseType, Runtime};
use aws_sdk_sqs::types::QueueAttributeName;
use re_dms_sandbox::zip;
use re_dms_tests::{Aws, Sandbox, binary};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_postgres::{Client, NoTls};

/// Its name: of the database, the queue and the function.
const NAME: &str = "second";

/// A running one.
pub(super) struct SecondWarehouse {
    stand_in: Child,
    /// Its settings.
    _folder: TempDir,
    url: String,
    /// Its loader's queue.
    pub(super) queue_url: String,
}

impl SecondWarehouse {
    /// A database of the sandbox's warehouse with a stand-in of its own before it, and a function with a queue.
    pub(super) async fn beside(sandbox: &Sandbox, aws: &Aws) -> Result<Self> {
        sandbox.warehouse().await?.batch_execute(&format!("CREATE DATABASE {NAME}")).await?;
        let url = sandbox.text("warehouse_url")?;
        let url = format!("{}/{NAME}", url.rsplit_once('/').context("a URL has a database")?.0);
        let queue_url = queue(aws).await?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let folder = tempfile::tempdir()?;
        let settings = folder.path().join("redshift.json");
        let aws_endpoint = sandbox.text("aws_endpoint")?;
        let config = json!({"listen": address, "warehouse_url": url, "aws_endpoint": aws_endpoint});
        std::fs::write(&settings, config.to_string())?;
        let mut command = Command::new(binary("sandbox"));
        command.args(["redshift", "--config"]).arg(&settings).stdout(Stdio::null()).stderr(Stdio::null());
        let second = Self { stand_in: command.spawn()?, _folder: folder, url, queue_url };
        let started = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            ensure!(started.elapsed() < Duration::from_secs(30), "the second stand-in does not answer");
            sleep(Duration::from_millis(50)).await;
        }
        loader(aws, &second.queue_url, &format!("http://{address}")).await?;
        Ok(second)
    }

    /// Its database, as the superuser.
    pub(super) async fn client(&self) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for SecondWarehouse {
    fn drop(&mut self) {
        let _ = self.stand_in.kill();
        let _ = self.stand_in.wait();
    }
}

async fn queue(aws: &Aws) -> Result<String> {
    let attributes = [
        (QueueAttributeName::FifoQueue, "true".to_owned()),
        (QueueAttributeName::VisibilityTimeout, "30".to_owned()),
    ];
    let name = format!("{NAME}.fifo");
    let make = aws.sqs.create_queue().queue_name(&name);
    make.set_attributes(Some(HashMap::from(attributes))).send().await?;
    Ok(format!("{}/{name}", aws.queue_url.rsplit_once('/').context("a URL has a name")?.0))
}

/// As the sandbox's own, but for what it loads into.
async fn loader(aws: &Aws, queue_url: &str, redshift: &str) -> Result<()> {
    let asked = aws.sqs.get_queue_attributes().queue_url(queue_url);
    let asked = asked.attribute_names(QueueAttributeName::QueueArn).send().await?;
    let arn = asked.attributes().and_then(|all| all.get(&QueueAttributeName::QueueArn));
    let arn = arn.context("a queue has an ARN")?;
    let first = aws.lambda.get_function_configuration().function_name(&aws.function).send().await?;
    let mut variables = first.environment().and_then(|all| all.variables().cloned()).unwrap_or_default();
    variables.insert("RE_DMS_DATABASE".to_owned(), NAME.to_owned());
    variables.insert("AWS_ENDPOINT_URL_REDSHIFT_DATA".to_owned(), redshift.to_owned());
    let package = zip::executable("bootstrap", &std::fs::read(binary("bootstrap"))?)?;
    let code = FunctionCode::builder().zip_file(Blob::new(package)).build();
    let make = aws.lambda.create_function().function_name(NAME).runtime(Runtime::Providedal2023);
    let make = make.handler("bootstrap").role(first.role().unwrap_or_default()).timeout(30).memory_size(256);
    let environment = Environment::builder().set_variables(Some(variables)).build();
    make.environment(environment).code(code).send().await?;
    let trigger = aws.lambda.create_event_source_mapping().function_name(NAME).event_source_arn(arn);
    let trigger = trigger.function_response_types(FunctionResponseType::ReportBatchItemFailures);
    trigger.batch_size(10).send().await?;
    Ok(())
}
