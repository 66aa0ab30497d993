//! The templates, as the linters and we ourselves read them. What they make is looked at in `stack`.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::tools::{output, read, template, tool};

#[test]
fn the_linters_find_nothing() -> Result<()> {
    output(tool("sam").args(["validate", "--lint"]))?;
    output(tool("cfn-lint").arg("infra/stream.yaml"))?;
    Ok(())
}

#[test]
fn a_further_stream_is_watched_like_the_first() -> Result<()> {
    let (first, further) = (alarms("template.yaml")?, alarms("infra/stream.yaml")?);
    // They tell somebody else.
    let what = |alarm: &Value| {
        let mut alarm = alarm.clone();
        let rest = alarm.as_object_mut().expect("an alarm is an object");
        rest.retain(|key, _| !key.ends_with("Actions"));
        alarm
    };
    let watching = |alarm: &Value| alarm["Namespace"] == "re_dms";
    let first: Vec<_> =
        first.iter().filter(|(_, alarm)| watching(alarm)).map(|(name, alarm)| (name, what(alarm))).collect();
    let further: Vec<_> = further.iter().map(|(name, alarm)| (name, what(alarm))).collect();
    assert!(!further.is_empty());
    assert_eq!(first, further);
    Ok(())
}

#[test]
fn every_alarm_has_a_line_on_what_to_do() -> Result<()> {
    let page = read("docs/operations.md")?;
    for (name, alarm) in alarms("template.yaml")? {
        let called =
            alarm["AlarmName"]["Fn::Sub"].as_str().and_then(|name| name.strip_prefix("${AWS::StackName}-"));
        let called = called.with_context(|| format!("{name} is not named after the stack"))?;
        ensure!(
            page.contains(&format!("\n| `{called}` |")),
            "docs/operations.md does not tell what to do about {called}"
        );
        let description = alarm["AlarmDescription"].as_str().unwrap_or_default();
        ensure!(
            description.ends_with(&format!("operations.md, \"Alarms\", {called}.")),
            "{name} names another line"
        );
    }
    Ok(())
}

#[test]
fn every_parameter_and_output_is_in_the_handbook() -> Result<()> {
    let (template, page) = (template("template.yaml")?, read("docs/operations.md")?);
    for part in ["Parameters", "Outputs"] {
        for name in template[part].as_object().context("the template has this part")?.keys() {
            ensure!(
                page.contains(&format!("`{name}`")),
                "docs/operations.md does not know {name} of the {part}"
            );
        }
    }
    Ok(())
}

// The local AWS does not keep such rules.
#[test]
fn nothing_in_the_bucket_expires_but_what_was_tagged() -> Result<()> {
    let template = template("template.yaml")?;
    let rules = &template["Resources"]["SegmentBucket"]["Properties"]["LifecycleConfiguration"]["Rules"];
    let rules = rules.as_array().context("the bucket has rules")?;
    ensure!(!rules.is_empty());
    for rule in rules {
        let removes = rule
            .as_object()
            .context("a rule")?
            .keys()
            .any(|key| key.contains("Expiration") || key.contains("Transition"));
        let by_tag = rule["TagFilters"] == json!([{ "Key": "re_dms", "Value": "expendable" }]);
        ensure!(by_tag || !removes, "segments go by themselves: {rule}");
    }
    Ok(())
}

fn alarms(path: &str) -> Result<Vec<(String, Value)>> {
    let template = template(path)?;
    let resources = template["Resources"].as_object().context("a template has resources")?;
    let alarms = resources.iter().filter(|(_, resource)| resource["Type"] == "AWS::CloudWatch::Alarm");
    Ok(alarms.map(|(name, alarm)| (name.clone(), alarm["Properties"].clone())).collect())
}
