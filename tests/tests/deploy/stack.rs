//! `sam build` and `sam deploy` against the local AWS, with IAM's policies evaluated; then the pipeline runs on what the
//! template made: its bucket, its queues, its function under its role, the capture as a user with its policy.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use re_dms_tests::Sandbox;
use re_dms_tests::workload::Workload;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::tools::{output, python, tool};

const STACK: &str = "acme";

#[tokio::test]
async fn the_pipeline_runs_on_what_the_template_made() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut sandbox = Sandbox::up()?;
    // The sandbox's own function has to have one, who may do nothing.
    ask::<Value>(sandbox.text("aws_endpoint")?, &["role", "re_dms-loader"])?;
    sandbox.evaluate_iam()?;
    let build = folder.path().join("build");
    build_by_sam(&build)?;
    let parameters = ["Database=warehouse", "Workgroup=sandbox", "AlarmEmail=dba@example.com"];
    let stack = Stack::deploy(&sandbox, &build, STACK, &parameters)?;
    stack.check_resources()?;

    // Where the function finds what is not in the local AWS.
    let outside = json!({
        "AWS_ENDPOINT_URL": stack.endpoint,
        "AWS_ENDPOINT_URL_REDSHIFT_DATA": sandbox.text("redshift_data_endpoint")?,
        "RE_DMS_S3_PATH_STYLE": "true",
    });
    let function = stack.output("LoaderFunctionName")?;
    stack.ask::<Value>(&["tell_function", function, &outside.to_string(), "acme-segments.fifo"])?;

    let capture = stack.capture_user()?;
    stack.check_rights(&capture, sandbox.text("bucket")?)?;
    let config = format!(
        "[s3]\nbucket = \"{}\"\n[queues]\nsegments_url = \"{}\"\nacks_url = \"{}\"\n\
         [aws]\naccess_key_id = \"{}\"\nsecret_access_key = \"{}\"\n",
        stack.output("SegmentBucketName")?,
        stack.output("SegmentQueueUrl")?,
        stack.output("AckQueueUrl")?,
        capture.id,
        capture.secret,
    );
    sandbox.new_stream("deployed", &config)?;
    let mut workload = Workload::start(sandbox.source().await?, 7).await?;
    workload.transactions(100).await?;
    sandbox.wait_and_compare()?;

    // All of it went through the stack's bucket, and its function wrote its receipts there.
    let bucket = stack.output("SegmentBucketName")?;
    let listed: Value = stack.request("s3", "list_objects_v2", &json!({ "Bucket": bucket }))?;
    let keys: Vec<&str> =
        listed["Contents"].as_array().into_iter().flatten().filter_map(|o| o["Key"].as_str()).collect();
    for end in ["/manifest.json", "/loaded.json"] {
        ensure!(
            keys.iter().any(|key| key.starts_with("re_dms/deployed/") && key.ends_with(end)),
            "no {end}: {keys:?}"
        );
    }

    // A right that is missing need not stop anything: what is tried again in vain is only told.
    let log = std::fs::read_to_string(sandbox.text("capture_log")?)?;
    ensure!(!log.contains("AccessDenied"), "{log}");

    // The loader as `make package` zips it takes over.
    crate::package::pack(folder.path())?;
    let package = crate::package::bootstrap_zip(folder.path());
    stack.ask::<Value>(&["replace_function", function, &package.display().to_string()])?;
    workload.transactions(50).await?;
    sandbox.wait_and_compare()?;

    the_other_choices_make_a_stack(&sandbox, &build)?;
    sandbox.down()
}

/// A stack with all that the first one does without, as far as the local AWS can make it.
fn the_other_choices_make_a_stack(sandbox: &Sandbox, build: &Path) -> Result<()> {
    let bucket = format!("ExistingBucket={}", sandbox.text("bucket")?);
    let parameters = [
        "Database=warehouse",
        "Cluster=main",
        "DbUser=loader",
        "CopyRole=default",
        &bucket,
        "KmsKeyArn=arn:aws:kms:us-east-1:000000000000:key/1234",
        "CaptureImage=team/re_dms:1.0",
        "CaptureSourceUrl=postgres://re_dms@db:5432/app",
        "CapturePasswordArn=arn:aws:secretsmanager:us-east-1:000000000000:secret:source-123456",
        "CaptureSubnets=subnet-11111111,subnet-22222222",
        "CaptureSecurityGroups=sg-11111111",
    ];
    let stack = Stack::deploy(sandbox, build, "other", &parameters)?;
    assert_eq!(stack.output("SegmentBucketName")?, sandbox.text("bucket")?);
    ensure!(
        stack.output("CopyRoleArn").is_err() && stack.output("LoaderDatabaseUser").is_err(),
        "{}",
        stack.outputs
    );

    let roles = stack.request("iam", "list_roles", &json!({}))?;
    let roles: Vec<&str> =
        roles["Roles"].as_array().into_iter().flatten().filter_map(|r| r["RoleName"].as_str()).collect();
    let role = |part: &str| {
        roles
            .iter()
            .find(|name| name.starts_with(&format!("other-{part}")))
            .with_context(|| format!("no {part}: {roles:?}"))
    };
    let start = json!({ "RoleName": role("CaptureExecutionRole")?, "PolicyName": "start" });
    let start = stack.request("iam", "get_role_policy", &start)?.to_string();
    ensure!(start.contains("\"arn:aws:ecr:us-east-1:000000000000:repository/team/re_dms\""), "{start}");
    let segments = json!({ "RoleName": role("LoaderRole")?, "PolicyName": "segments" });
    let segments = stack.request("iam", "get_role_policy", &segments)?.to_string();
    ensure!(
        segments.contains("kms:GenerateDataKey") && segments.contains(":::re-dms-sandbox/*"),
        "{segments}"
    );

    let task =
        stack.request("ecs", "describe_task_definition", &json!({ "taskDefinition": "other-capture" }))?;
    let container = &task["taskDefinition"]["containerDefinitions"][0];
    assert_eq!(container["image"], "000000000000.dkr.ecr.us-east-1.amazonaws.com/team/re_dms:1.0");
    let variables = container["environment"].to_string();
    ensure!(variables.contains("RE_DMS_QUEUES__ACKS_URL") && variables.contains("other-acks"), "{variables}");
    let service = json!({ "cluster": "other", "services": ["other-CaptureService"] });
    let service = stack.request("ecs", "describe_services", &service)?;
    ensure!(service["services"][0]["desiredCount"] == 1, "{service}");
    Ok(())
}

fn build_by_sam(folder: &Path) -> Result<()> {
    // The tool's debug build, linked by this machine's own compiler: the same sources and packaging in a fraction of the
    // time. People's builds link with zig, for the sake of older systems, which takes minutes for the parts in C.
    let mut command = tool("sam");
    command.env("SAM_BUILD_MODE", "debug").env("CARGO_LAMBDA_COMPILER", "cargo");
    output(command.args(["build", "--build-dir"]).arg(folder))?;
    Ok(())
}

/// What `stack_client.py` finds out.
fn ask<T: DeserializeOwned>(endpoint: &str, arguments: &[&str]) -> Result<T> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/stack_client.py");
    let answer = output(python().arg(script).arg(endpoint).args(arguments))?;
    Ok(serde_json::from_str(&answer)?)
}

/// Somebody's key.
struct User {
    id: String,
    secret: String,
}

struct Stack {
    endpoint: String,
    outputs: Value,
}

impl Stack {
    /// As a person would, but for the answers to `--guided`.
    fn deploy(sandbox: &Sandbox, build: &Path, name: &str, parameters: &[&str]) -> Result<Self> {
        let endpoint = sandbox.text("aws_endpoint")?.to_owned();
        let mut command = tool("sam");
        command.args([
            "deploy",
            "--stack-name",
            name,
            "--capabilities",
            "CAPABILITY_IAM",
            "--no-confirm-changeset",
        ]);
        command.arg("--template-file").arg(build.join("template.yaml"));
        command.args(["--s3-bucket", sandbox.text("bucket")?, "--s3-prefix", "packages"]);
        command.arg("--parameter-overrides").args(parameters);
        // Nobody's own settings.
        command.env("AWS_ENDPOINT_URL", &endpoint).env("HOME", build);
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        output(&mut command)?;

        let mut stack = Self { endpoint, outputs: Value::Null };
        stack.outputs = stack.ask(&["outputs", name])?;
        assert_eq!(stack.outputs["status"], "CREATE_COMPLETE");
        Ok(stack)
    }

    fn output(&self, name: &str) -> Result<&str> {
        self.outputs[name].as_str().with_context(|| format!("the stack has no output {name}"))
    }

    fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        ask(&self.endpoint, arguments)
    }

    /// As the account's administrator.
    fn request(&self, service: &str, operation: &str, parameters: &Value) -> Result<Value> {
        self.ask(&["ask", service, operation, &parameters.to_string()])
    }

    fn capture_user(&self) -> Result<User> {
        let key: Value = self.ask(&["user", "capture", self.output("CapturePolicyArn")?, "acme-acks"])?;
        let text = |name: &str| key[name].as_str().map(str::to_owned).context("a key");
        Ok(User { id: text("id")?, secret: text("secret")? })
    }

    /// What there is beside the pipeline itself.
    fn check_resources(&self) -> Result<()> {
        let bucket = json!({ "Bucket": self.output("SegmentBucketName")? });
        let blocked = self.request("s3", "get_public_access_block", &bucket)?;
        let blocked =
            blocked["PublicAccessBlockConfiguration"].as_object().context("public access is blocked")?;
        ensure!(blocked.len() == 4 && blocked.values().all(|value| value == true), "{blocked:?}");
        let encryption = self.request("s3", "get_bucket_encryption", &bucket)?;
        ensure!(encryption.to_string().contains("AES256"), "{encryption}");

        let watching = self.request("cloudwatch", "describe_alarms", &json!({ "AlarmNamePrefix": STACK }))?;
        let alarms = watching["MetricAlarms"].as_array().context("alarms")?;
        let mut names: Vec<&str> = alarms.iter().filter_map(|alarm| alarm["AlarmName"].as_str()).collect();
        names.sort_unstable();
        let expected = "acme-capture-silent acme-dead-letters acme-invariant acme-lag acme-loader-crashes acme-loader-errors \
                        acme-no-ack acme-quarantined acme-retained-wal";
        assert_eq!(names.join(" "), expected);
        ensure!(
            alarms
                .iter()
                .all(|alarm| alarm["AlarmActions"].as_array().is_some_and(|topics| topics.len() == 1))
        );

        let dashboard = self.request("cloudwatch", "get_dashboard", &json!({ "DashboardName": STACK }))?;
        let body: Value = serde_json::from_str(dashboard["DashboardBody"].as_str().context("a dashboard")?)?;
        let widgets = body["widgets"].as_array().context("widgets")?;
        ensure!(widgets.len() == 12 && !body.to_string().contains("${AWS"), "{body}");

        let queue = json!({ "QueueUrl": self.output("SegmentQueueUrl")?, "AttributeNames": ["All"] });
        let attributes = self.request("sqs", "get_queue_attributes", &queue)?;
        let redrive = attributes["Attributes"]["RedrivePolicy"]
            .as_str()
            .context("the queue has a dead-letter queue")?;
        ensure!(redrive.contains("acme-segments-dead.fifo"), "{redrive}");
        Ok(())
    }

    /// The policy lets the capture do its work and nothing beside; without TLS nobody does anything in the bucket.
    fn check_rights(&self, user: &User, other_bucket: &str) -> Result<()> {
        let bucket = self.output("SegmentBucketName")?;
        let attempt = |service: &str, operation: &str, parameters: Value| -> Result<Option<String>> {
            self.ask(&["attempt", &user.id, &user.secret, service, operation, &parameters.to_string()])
        };
        let object = |bucket: &str| json!({ "Bucket": bucket, "Key": "re_dms/probe", "Body": "" });
        // The local AWS speaks no TLS: what follows needs the policy gone.
        assert_eq!(attempt("s3", "put_object", object(bucket))?.as_deref(), Some("AccessDenied"));
        self.request("s3", "delete_bucket_policy", &json!({ "Bucket": bucket }))?;
        assert_eq!(attempt("s3", "put_object", object(bucket))?, None);

        assert_eq!(attempt("s3", "put_object", object(other_bucket))?.as_deref(), Some("AccessDenied"));
        assert_eq!(
            attempt("s3", "delete_bucket", json!({ "Bucket": bucket }))?.as_deref(),
            Some("AccessDenied")
        );
        for (queue, operation) in [("AckQueueUrl", "purge_queue"), ("SegmentQueueUrl", "receive_message")] {
            let denied = attempt("sqs", operation, json!({ "QueueUrl": self.output(queue)? }))?;
            ensure!(denied.is_some_and(|code| code.contains("AccessDenied")), "the capture may {operation}");
        }
        Ok(())
    }
}
