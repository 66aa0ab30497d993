//! CloudWatch's Embedded Metric Format: one JSON object on a line of the log, from which CloudWatch makes metrics.
//!
//! Counters go as what was added since the line before, summed over labels; CloudWatch charges by the metric, so that
//! there is none for each table. The stream is the only dimension.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use super::catalogue::Kind;
use super::registry::{Registry, Value, total};

/// Makes lines of one stream's metrics.
#[derive(Debug)]
pub struct Emf {
    namespace: String,
    stream: String,
    /// Counters as of the line before.
    before: BTreeMap<&'static str, f64>,
    /// How many values of distributions were told.
    told: BTreeMap<&'static str, u64>,
}

impl Emf {
    /// Whose metrics, and the namespace that they go to.
    #[must_use]
    pub fn new(namespace: &str, stream: &str) -> Self {
        let (namespace, stream) = (namespace.to_owned(), stream.to_owned());
        Self { namespace, stream, before: BTreeMap::new(), told: BTreeMap::new() }
    }

    /// What there is to tell; none if that is nothing.
    pub fn line(&mut self, registry: &Registry, at: Timestamp) -> Option<String> {
        let mut root = Map::new();
        let mut metrics = Vec::new();
        for (metric, samples) in registry.samples() {
            let value = match metric.kind {
                Kind::Gauge => number(total(samples.iter().map(|sample| &sample.value))),
                Kind::Counter => {
                    let now = total(samples.iter().map(|sample| &sample.value));
                    number(now - self.before.insert(metric.name, now).unwrap_or_default())
                }
                Kind::Distribution(_) => {
                    let mut values = Vec::new();
                    for sample in &samples {
                        let Value::Many(distribution) = &sample.value else { continue };
                        let told = self.told.insert(metric.name, distribution.count).unwrap_or_default();
                        values.extend(distribution.since(told).map(number));
                    }
                    if values.is_empty() {
                        continue;
                    }
                    Json::Array(values)
                }
            };
            root.insert(metric.name.to_owned(), value);
            metrics.push(json!({"Name": metric.name, "Unit": metric.unit.as_str()}));
        }
        if metrics.is_empty() {
            return None;
        }
        let directive = json!({"Namespace": self.namespace, "Dimensions": [["stream"]], "Metrics": metrics});
        root.insert(
            "_aws".into(),
            json!({"Timestamp": at.as_millisecond(), "CloudWatchMetrics": [directive]}),
        );
        root.insert("stream".into(), Json::String(self.stream.clone()));
        Some(Json::Object(root).to_string())
    }
}

/// The sum of nothing is -0.
fn number(value: f64) -> Json {
    json!(value + 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{
        CAPTURE, ERRORS, LAG_SECONDS, LOAD_SECONDS, LOADED_LSN, ROWS, TRANSACTIONS,
    };
    use super::*;

    /// The rules of the format's published schema that its types don't already hold.
    fn check(line: &str) -> Map<String, Json> {
        assert!(!line.contains('\n'));
        let root: Map<String, Json> = serde_json::from_str(line).unwrap();
        let text = |value: &Json, most: usize| {
            let text = value.as_str().expect("a text");
            assert!(!text.is_empty() && text.len() <= most, "{text}");
            text.to_owned()
        };
        let aws = root["_aws"].as_object().unwrap();
        assert!(aws["Timestamp"].is_u64());
        for directive in aws["CloudWatchMetrics"].as_array().unwrap() {
            text(&directive["Namespace"], 1024);
            let sets = directive["Dimensions"].as_array().unwrap();
            assert!(!sets.is_empty());
            for dimension in sets.iter().flat_map(|set| set.as_array().unwrap()) {
                text(&root[&text(dimension, 250)], 1024);
            }
            assert!(sets.iter().all(|set| (1..=30).contains(&set.as_array().unwrap().len())));
            let metrics = directive["Metrics"].as_array().unwrap();
            assert!((1..=100).contains(&metrics.len()));
            for metric in metrics {
                let unit = text(&metric["Unit"], 20);
                assert!(["Seconds", "Bytes", "Count", "None"].contains(&unit.as_str()), "{unit}");
                match &root[&text(&metric["Name"], 1024)] {
                    Json::Number(_) => {}
                    Json::Array(values) => {
                        assert!((1..=100).contains(&values.len()) && values.iter().all(Json::is_number));
                    }
                    other => panic!("{other} is no metric"),
                }
            }
        }
        root
    }

    #[test]
    fn lines_keep_the_formats_rules_and_tell_what_was_added() {
        let registry = Registry::new(CAPTURE);
        registry.set(&LAG_SECONDS, 1.5);
        registry.set(&LOADED_LSN, 24_543_616_072_f64);
        registry.add(&ROWS, &["a.b", "insert"], 3);
        registry.add(&ROWS, &["a.c", "delete"], 4);
        registry.add(&ERRORS, &["S3", "retried"], 1);
        for _ in 0..120 {
            registry.observe(&LOAD_SECONDS, 0.25);
        }
        let mut emf = Emf::new("re_dms", "main");
        let at = Timestamp::from_millisecond(1_763_923_200_123).unwrap();
        let first = check(&emf.line(&registry, at).unwrap());
        assert_eq!(first["_aws"]["Timestamp"], 1_763_923_200_123_u64);
        assert_eq!((&first["lag_seconds"], &first["loaded_lsn"]), (&json!(1.5), &json!(24_543_616_072_f64)));
        assert_eq!(
            (&first["rows"], &first["errors"], &first["transactions"]),
            (&json!(7.0), &json!(1.0), &json!(0.0))
        );
        assert_eq!(first["load_seconds"].as_array().unwrap().len(), 100);

        registry.add(&ROWS, &["a.b", "insert"], 2);
        registry.add(&TRANSACTIONS, &[], 1);
        registry.observe(&LOAD_SECONDS, 0.5);
        let second = check(&emf.line(&registry, at).unwrap());
        assert_eq!(
            (&second["rows"], &second["transactions"], &second["errors"]),
            (&json!(2.0), &json!(1.0), &json!(0.0))
        );
        assert_eq!(second["load_seconds"], json!([0.5]));
        let third = check(&emf.line(&registry, at).unwrap());
        assert!(!third.contains_key("load_seconds"));
    }

    #[test]
    fn nothing_is_no_line() {
        assert_eq!(Emf::new("re_dms", "main").line(&Registry::default(), Timestamp::UNIX_EPOCH), None);
    }
}
