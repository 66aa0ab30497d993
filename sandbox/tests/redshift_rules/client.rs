//! A Data API client of AWS's, as short as the cases want it.

use aws_sdk_redshiftdata::Client;
use aws_sdk_redshiftdata::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_redshiftdata::error::ProvideErrorMetadata;
use aws_sdk_redshiftdata::operation::describe_statement::DescribeStatementOutput;
use aws_sdk_redshiftdata::types::{Field, StatusString};

pub(crate) const DATABASE: &str = "warehouse";
pub(crate) const BUCKET: &str = "rules";

/// The clients of one stand-in.
pub(crate) struct Api {
    pub(crate) client: Client,
    pub(crate) s3: aws_sdk_s3::Client,
}

/// What a failed call says: the class and the text.
pub(crate) type Refusal = (String, String);

pub(crate) fn refusal<E: ProvideErrorMetadata>(error: &E) -> Refusal {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    (text(error.code()), text(error.message()))
}

impl Api {
    pub(crate) async fn of(endpoint: &str, aws_endpoint: &str) -> Self {
        let credentials = Credentials::new("test", "test", None, None, "tests");
        let config = aws_sdk_redshiftdata::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials.clone())
            .retry_config(RetryConfig::disabled())
            .build();
        let s3 = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(aws_endpoint)
            .region(Region::new("us-east-1"))
            .credentials_provider(credentials)
            .force_path_style(true)
            .build();
        let s3 = aws_sdk_s3::Client::from_conf(s3);
        let _ = s3.create_bucket().bucket(BUCKET).send().await;
        Self { client: Client::from_conf(config), s3 }
    }

    /// Runs one statement to its end. An error is its failure, or the request's.
    pub(crate) async fn run(&self, sql: &str) -> Result<DescribeStatementOutput, String> {
        let sent =
            self.client.execute_statement().sql(sql).database(DATABASE).workgroup_name("rules").send().await;
        let id = sent.map_err(|error| format!("{:?}", refusal(&error)))?.id.unwrap_or_default();
        self.ended(&id).await
    }

    pub(crate) async fn batch(&self, sqls: &[String]) -> Result<DescribeStatementOutput, String> {
        let request = self.client.batch_execute_statement().set_sqls(Some(sqls.to_vec()));
        let sent = request.database(DATABASE).workgroup_name("rules").send().await;
        let id = sent.map_err(|error| format!("{:?}", refusal(&error)))?.id.unwrap_or_default();
        self.ended(&id).await
    }

    /// Opens a session with a first statement.
    pub(crate) async fn session(&self, sql: &str) -> Result<String, String> {
        let request = self.client.execute_statement().sql(sql).database(DATABASE).workgroup_name("rules");
        let sent =
            request.session_keep_alive_seconds(60).send().await.map_err(|e| format!("{:?}", refusal(&e)))?;
        self.ended(sent.id().unwrap_or_default()).await?;
        sent.session_id.ok_or_else(|| "no session was opened".to_owned())
    }

    pub(crate) async fn in_session(
        &self,
        session: &str,
        sql: &str,
    ) -> Result<DescribeStatementOutput, String> {
        let sent = self.client.execute_statement().sql(sql).session_id(session).send().await;
        let id = sent.map_err(|error| format!("{:?}", refusal(&error)))?.id.unwrap_or_default();
        self.ended(&id).await
    }

    /// Begins a statement in a session and does not wait for it.
    pub(crate) async fn begin_in_session(&self, session: &str, sql: &str) -> Result<String, String> {
        let sent = self.client.execute_statement().sql(sql).session_id(session).send().await;
        Ok(sent.map_err(|error| format!("{:?}", refusal(&error)))?.id.unwrap_or_default())
    }

    pub(crate) async fn ended(&self, id: &str) -> Result<DescribeStatementOutput, String> {
        loop {
            let described = self.client.describe_statement().id(id).wait_time_seconds(10).send().await;
            let described = described.map_err(|error| format!("{:?}", refusal(&error)))?;
            match described.status() {
                Some(StatusString::Finished) => return Ok(described),
                Some(StatusString::Failed | StatusString::Aborted) => {
                    return Err(described.error().unwrap_or("no error is told").to_owned());
                }
                _ => {}
            }
        }
    }

    /// All rows, as one text: `1,a|2,NULL`.
    pub(crate) async fn rows(&self, sql: &str) -> Result<String, String> {
        let described = self.run(sql).await?;
        let result = self.client.get_statement_result().id(described.id()).send().await;
        let result = result.map_err(|error| format!("{:?}", refusal(&error)))?;
        let row = |row: &Vec<Field>| row.iter().map(text).collect::<Vec<_>>().join(",");
        Ok(result.records().iter().map(row).collect::<Vec<_>>().join("|"))
    }

    pub(crate) async fn put(&self, key: &str, body: Vec<u8>) {
        self.s3.put_object().bucket(BUCKET).key(key).body(body.into()).send().await.unwrap();
    }
}

fn text(field: &Field) -> String {
    match field {
        Field::BooleanValue(value) => value.to_string(),
        Field::DoubleValue(value) => value.to_string(),
        Field::LongValue(value) => value.to_string(),
        Field::StringValue(value) => value.clone(),
        Field::IsNull(_) => "NULL".to_owned(),
        other => format!("{other:?}"),
    }
}
