//! Least privilege: every action that the template allows to somebody is listed here with the line of code that needs it,
//! and nothing else is allowed. That they are enough is shown in `stack`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::tools::{project, read, template};

/// Who may do what, and where that is done: a file of ours with a text of the line, or the service that does it by itself.
const RIGHTS: &[(&str, &str, Need)] = &[
    ("LoaderRole", "logs:CreateLogStream", Need::Service("Lambda writes the function's log")),
    ("LoaderRole", "logs:PutLogEvents", Need::Service("Lambda writes the function's log")),
    ("LoaderRole", "s3:GetObject", Need::Line("loader/src/objects.rs", ".get_object()")),
    ("LoaderRole", "s3:PutObject", Need::Line("loader/src/objects.rs", ".put_object()")),
    // A missing object is NoSuchKey only for who may list.
    ("LoaderRole", "s3:ListBucket", Need::Line("loader/src/objects.rs", "\"NoSuchKey\"")),
    ("LoaderRole", "kms:Decrypt", Need::Line("loader/src/objects.rs", ".get_object()")),
    ("LoaderRole", "kms:GenerateDataKey", Need::Line("loader/src/objects.rs", ".put_object()")),
    ("LoaderRole", "sqs:ReceiveMessage", Need::Service("Lambda reads the queue for the function")),
    ("LoaderRole", "sqs:DeleteMessage", Need::Service("Lambda deletes what the function took")),
    ("LoaderRole", "sqs:GetQueueAttributes", Need::Service("Lambda looks at the queue's settings")),
    (
        "LoaderRole",
        "sqs:ChangeMessageVisibility",
        Need::Line("loader/src/queues.rs", ".change_message_visibility_batch()"),
    ),
    ("LoaderRole", "sqs:GetQueueUrl", Need::Line("loader/src/queues.rs", ".get_queue_url()")),
    ("LoaderRole", "sqs:SendMessage", Need::Line("loader/src/queues.rs", ".send_message()")),
    (
        "LoaderRole",
        "redshift-data:ExecuteStatement",
        Need::Line("loader/src/data_api.rs", ".execute_statement()"),
    ),
    (
        "LoaderRole",
        "redshift-data:BatchExecuteStatement",
        Need::Line("loader/src/data_api.rs", ".batch_execute_statement()"),
    ),
    (
        "LoaderRole",
        "redshift-data:DescribeStatement",
        Need::Line("loader/src/data_api.rs", ".describe_statement()"),
    ),
    (
        "LoaderRole",
        "redshift-data:GetStatementResult",
        Need::Line("loader/src/data_api.rs", ".get_statement_result()"),
    ),
    // The Data API logs in with the caller's rights.
    ("LoaderRole", "secretsmanager:GetSecretValue", Need::Line("loader/src/data_api.rs", ".secret_arn(")),
    (
        "LoaderRole",
        "redshift-serverless:GetCredentials",
        Need::Line("loader/src/data_api.rs", ".workgroup_name("),
    ),
    ("LoaderRole", "redshift:GetClusterCredentials", Need::Line("loader/src/data_api.rs", ".db_user(")),
    (
        "LoaderRole",
        "redshift:GetClusterCredentialsWithIAM",
        Need::Line("loader/src/data_api.rs", ".cluster_identifier("),
    ),
    ("WarehouseCopyRole", "s3:GetObject", Need::Service("COPY reads manifest and files")),
    ("WarehouseCopyRole", "s3:ListBucket", Need::Service("COPY looks for the files of its manifest")),
    ("WarehouseCopyRole", "kms:Decrypt", Need::Service("COPY reads manifest and files")),
    ("CapturePolicy", "s3:GetObject", Need::Line("capture/src/aws/objects.rs", ".get_object()")),
    ("CapturePolicy", "s3:PutObject", Need::Line("capture/src/aws/objects.rs", ".put_object()")),
    ("CapturePolicy", "s3:DeleteObject", Need::Line("capture/src/aws/objects.rs", ".delete_object()")),
    (
        "CapturePolicy",
        "s3:PutObjectTagging",
        Need::Line("capture/src/aws/objects.rs", ".put_object_tagging()"),
    ),
    ("CapturePolicy", "s3:DeleteObject", Need::Line("capture/src/aws/delete.rs", ".delete_objects()")),
    ("CapturePolicy", "s3:ListBucket", Need::Line("capture/src/aws/objects.rs", ".list_objects_v2()")),
    ("CapturePolicy", "kms:Decrypt", Need::Line("capture/src/aws/objects.rs", ".get_object()")),
    ("CapturePolicy", "kms:GenerateDataKey", Need::Line("capture/src/aws/objects.rs", ".put_object()")),
    ("CapturePolicy", "sqs:SendMessage", Need::Line("capture/src/aws/queues.rs", ".send_message()")),
    (
        "CapturePolicy",
        "sqs:GetQueueAttributes",
        Need::Line("capture/src/aws/queues.rs", ".get_queue_attributes()"),
    ),
    ("CapturePolicy", "sqs:ReceiveMessage", Need::Line("capture/src/aws/queues.rs", ".receive_message()")),
    (
        "CapturePolicy",
        "sqs:DeleteMessage",
        Need::Line("capture/src/aws/queues.rs", ".delete_message_batch()"),
    ),
    ("CaptureExecutionRole", "ecr:GetAuthorizationToken", Need::Service("ECS fetches the image")),
    ("CaptureExecutionRole", "ecr:BatchCheckLayerAvailability", Need::Service("ECS fetches the image")),
    ("CaptureExecutionRole", "ecr:GetDownloadUrlForLayer", Need::Service("ECS fetches the image")),
    ("CaptureExecutionRole", "ecr:BatchGetImage", Need::Service("ECS fetches the image")),
    ("CaptureExecutionRole", "logs:CreateLogStream", Need::Service("ECS writes the container's log")),
    ("CaptureExecutionRole", "logs:PutLogEvents", Need::Service("ECS writes the container's log")),
    (
        "CaptureExecutionRole",
        "secretsmanager:GetSecretValue",
        Need::Service("ECS hands over the source's password"),
    ),
];

/// What each operation takes that the programs call, and from whom they have it: the stack, or somebody who was told to give it.
const CALLS: &[(&str, &str, Source)] = &[
    ("head_bucket", "s3:ListBucket", Source::Stack),
    ("head_object", "s3:GetObject", Source::Stack),
    ("get_object", "s3:GetObject", Source::Stack),
    ("put_object", "s3:PutObject", Source::Stack),
    ("put_object_tagging", "s3:PutObjectTagging", Source::Stack),
    ("delete_object", "s3:DeleteObject", Source::Stack),
    ("delete_objects", "s3:DeleteObject", Source::Stack),
    ("list_objects_v2", "s3:ListBucket", Source::Stack),
    ("get_queue_attributes", "sqs:GetQueueAttributes", Source::Stack),
    ("send_message", "sqs:SendMessage", Source::Stack),
    ("receive_message", "sqs:ReceiveMessage", Source::Stack),
    ("delete_message_batch", "sqs:DeleteMessage", Source::Stack),
    ("change_message_visibility_batch", "sqs:ChangeMessageVisibility", Source::Stack),
    ("execute_statement", "redshift-data:ExecuteStatement", Source::Stack),
    ("batch_execute_statement", "redshift-data:BatchExecuteStatement", Source::Stack),
    ("describe_statement", "redshift-data:DescribeStatement", Source::Stack),
    ("get_statement_result", "redshift-data:GetStatementResult", Source::Stack),
    // The loader has it from the stack. `re_dms check` does without, and says so.
    ("get_queue_url", "sqs:GetQueueUrl", Source::Stack),
    ("create_queue", "sqs:CreateQueue", Source::Page("docs/operations.md")),
    ("delete_queue", "sqs:DeleteQueue", Source::Page("docs/operations.md")),
    ("get_secret_value", "secretsmanager:GetSecretValue", Source::Page("docs/configuration.md")),
];

/// Where the right to an operation comes from.
enum Source {
    /// The roles and policies of the template.
    Stack,
    /// Who sets it up, by this page.
    Page(&'static str),
}

/// Policies of AWS's own, where a service acts for itself.
const MANAGED: &[(&str, &str)] = &[(
    "CaptureVolumeRole",
    "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonECSInfrastructureRolePolicyForVolumes",
)];

enum Need {
    /// A file, and what its line holds.
    Line(&'static str, &'static str),
    /// What a service of AWS does.
    Service(&'static str),
}

#[test]
fn nothing_is_allowed_that_no_line_of_code_needs() -> Result<()> {
    let template = template("template.yaml")?;
    let mut allowed = BTreeSet::new();
    let mut managed = BTreeSet::new();
    for (name, resource) in template["Resources"].as_object().context("a template has resources")? {
        let properties = &resource["Properties"];
        let documents = match resource["Type"].as_str() {
            Some("AWS::IAM::ManagedPolicy") => vec![&properties["PolicyDocument"]],
            Some("AWS::IAM::Role") => {
                items(&properties["Policies"]).map(|policy| &policy["PolicyDocument"]).collect()
            }
            _ => continue,
        };
        for arn in items(&properties["ManagedPolicyArns"]) {
            if let Some(arn) = arn["Fn::Sub"].as_str() {
                managed.insert((name.clone(), arn.to_owned()));
            } else {
                ensure!(arn["Ref"] == "CapturePolicy", "{name} has a policy from elsewhere: {arn}");
            }
        }
        for document in documents {
            statements(&document["Statement"], &mut |statement| {
                ensure!(
                    statement["Effect"] == "Allow" && statement.get("NotAction").is_none(),
                    "{name}: {statement}"
                );
                let all_resources = statement["Resource"] == "*";
                for action in items_or_one(&statement["Action"]) {
                    let action = action.as_str().context("an action is a text")?;
                    ensure!(!action.contains('*'), "{name} may do {action}");
                    let narrowed =
                        statement.get("Condition").is_some() || action == "ecr:GetAuthorizationToken";
                    ensure!(!all_resources || narrowed, "{name} may do {action} to everything");
                    allowed.insert((name.clone(), action.to_owned()));
                }
                Ok(())
            })?;
        }
    }
    let listed = |(who, action, _): &(&str, &str, Need)| ((*who).to_owned(), (*action).to_owned());
    assert_eq!(allowed, RIGHTS.iter().map(listed).collect());
    let listed = |(who, arn): &(&str, &str)| ((*who).to_owned(), (*arn).to_owned());
    assert_eq!(managed, MANAGED.iter().map(listed).collect());
    Ok(())
}

#[test]
fn the_lines_of_code_are_there() -> Result<()> {
    for (who, action, need) in RIGHTS {
        match need {
            Need::Line(file, text) => {
                ensure!(read(file)?.contains(text), "{who} needs {action} no more: {file} has no {text}");
            }
            Need::Service(why) => assert!(!why.is_empty()),
        }
    }
    Ok(())
}

/// The operations that a file of ours calls on a client of the SDK's.
fn operations(text: &str) -> Vec<String> {
    let joined: String = text.split_whitespace().collect();
    let name = |rest: &str| {
        let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))?;
        rest[end..].starts_with("()").then(|| rest[..end].to_owned())
    };
    let clients = ["client.", "self.0.", "Client::new(sdk)."];
    clients.iter().flat_map(|client| joined.split(client).skip(1).filter_map(name)).collect()
}

#[test]
fn no_operation_is_called_without_a_right_to_it() -> Result<()> {
    let files = [
        ("CapturePolicy", "capture/src/aws/objects.rs"),
        ("CapturePolicy", "capture/src/aws/describe.rs"),
        ("CapturePolicy", "capture/src/aws/delete.rs"),
        ("CapturePolicy", "capture/src/aws/queues.rs"),
        ("CapturePolicy", "capture/src/credentials/secret.rs"),
        ("LoaderRole", "loader/src/objects.rs"),
        ("LoaderRole", "loader/src/queues.rs"),
        ("LoaderRole", "loader/src/data_api.rs"),
    ];
    let mut called = BTreeSet::new();
    for (who, file) in files {
        for operation in operations(&read(file)?) {
            let known = CALLS.iter().find(|(name, ..)| *name == operation);
            let (name, action, source) = known.with_context(|| format!("{file} calls {operation}"))?;
            called.insert(*name);
            let in_stack = RIGHTS.iter().any(|(role, allowed, _)| (role, allowed) == (&who, action));
            match source {
                Source::Stack => ensure!(
                    in_stack || *name == "get_queue_url",
                    "{who} calls {operation} in {file} and may not do {action}"
                ),
                Source::Page(page) => ensure!(read(page)?.contains(action), "{page} does not say {action}"),
            }
        }
    }
    let listed: BTreeSet<_> = CALLS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(called, listed, "what is listed is called");
    // The SDK is nowhere else, but where clients are made.
    let others = [
        "capture/src/aws.rs",
        "capture/src/aws/failure.rs",
        "capture/src/credentials/iam_token.rs",
        "loader/src/main.rs",
    ];
    for file in
        sources(&project().join("capture/src"))?.into_iter().chain(sources(&project().join("loader/src"))?)
    {
        let name = file.strip_prefix(project())?.display().to_string();
        let known = files.iter().any(|(_, file)| *file == name) || others.contains(&name.as_str());
        ensure!(known || !read(&name)?.contains("aws_sdk_"), "{name} uses the SDK and is not looked at");
    }
    Ok(())
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Each statement, on whatever side of a condition.
fn statements(value: &Value, each: &mut impl FnMut(&Value) -> Result<()>) -> Result<()> {
    for value in items_or_one(value) {
        match value["Fn::If"].as_array() {
            Some(sides) => {
                for side in &sides[1..] {
                    statements(side, each)?;
                }
            }
            None if value["Ref"] == "AWS::NoValue" => {}
            None => each(value)?,
        }
    }
    Ok(())
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn items_or_one(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter()
}
