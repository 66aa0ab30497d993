//! Least privilege: every action that the template allows to somebody is listed here with the line of code that needs it,
//! and nothing else is allowed. That they are enough is shown in `stack`.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::tools::{read, template};

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
