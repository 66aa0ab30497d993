//! Values of metrics: counted by whoever does something, read by whoever sends them on. Not for loops over rows: each
//! call takes a lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::catalogue::{Kind, Metric};

/// Tables and the like of one metric: beyond so many they are one, called [`OTHERS`].
const MOST_SERIES: usize = 500;

/// The label value of all that are too many.
const OTHERS: &str = "(others)";

/// The last values of a distribution that are kept: as many as CloudWatch takes at once.
const RECENT: usize = 100;

/// The values of one process.
#[derive(Debug, Default)]
pub struct Registry {
    series: Mutex<BTreeMap<&'static str, OneMetric>>,
}

#[derive(Debug)]
struct OneMetric {
    metric: &'static Metric,
    by_labels: BTreeMap<Vec<String>, Value>,
}

/// A metric's value for one set of labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a distribution.
    Many(Distribution),
}

/// How values are distributed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// How many are not above each of the metric's bounds.
    pub up_to: Vec<u64>,
    /// All of them.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    recent: VecDeque<f64>,
}

impl Distribution {
    fn add(&mut self, bounds: &[f64], value: f64) {
        self.up_to.resize(bounds.len(), 0);
        for (count, bound) in self.up_to.iter_mut().zip(bounds) {
            *count += u64::from(value <= *bound);
        }
        self.count += 1;
        self.sum += value;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(value);
    }

    /// The values that came after the first `seen`, as far as they are kept.
    pub fn since(&self, seen: u64) -> impl Iterator<Item = f64> {
        let new = usize::try_from(self.count.saturating_sub(seen)).unwrap_or(usize::MAX);
        self.recent.iter().skip(self.recent.len().saturating_sub(new)).copied()
    }
}

/// One value, as it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The values of the metric's labels.
    pub labels: Vec<String>,
    /// The value.
    pub value: Value,
}

impl Registry {
    /// Begins with these metrics' counters at 0.
    #[must_use]
    pub fn new(metrics: &[&'static Metric]) -> Self {
        let counter = |metric: &&'static Metric| {
            let value = metric.labels.is_empty().then(|| (Vec::new(), Value::Number(0.0)));
            (metric.name, OneMetric { metric, by_labels: value.into_iter().collect() })
        };
        let counters = metrics.iter().filter(|metric| metric.kind == Kind::Counter);
        Self { series: Mutex::new(counters.map(counter).collect()) }
    }

    /// Adds to a counter; `labels` are the values of its labels.
    pub fn add(&self, metric: &'static Metric, labels: &[&str], more: u64) {
        debug_assert_eq!((metric.kind, metric.labels.len()), (Kind::Counter, labels.len()));
        self.change(metric, labels, |value| {
            if let Value::Number(number) = value {
                *number += more as f64;
            }
        });
    }

    /// Sets a gauge.
    pub fn set(&self, metric: &'static Metric, value: f64) {
        debug_assert_eq!(metric.kind, Kind::Gauge);
        self.change(metric, &[], |known| *known = Value::Number(value));
    }

    /// Adds a value to a distribution.
    pub fn observe(&self, metric: &'static Metric, value: f64) {
        let Kind::Distribution(bounds) = metric.kind else {
            debug_assert!(false, "{} is no distribution", metric.name);
            return;
        };
        self.change(metric, &[], |known| {
            if let Value::Many(distribution) = known {
                distribution.add(bounds, value);
            }
        });
    }

    fn change(&self, metric: &'static Metric, labels: &[&str], change: impl FnOnce(&mut Value)) {
        let mut series = self.lock();
        let one =
            series.entry(metric.name).or_insert_with(|| OneMetric { metric, by_labels: BTreeMap::new() });
        let mut labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        if one.by_labels.len() >= MOST_SERIES && !one.by_labels.contains_key(&labels) {
            labels.fill(OTHERS.to_owned());
        }
        change(one.by_labels.entry(labels).or_insert_with(|| match metric.kind {
            Kind::Distribution(bounds) => {
                Value::Many(Distribution { up_to: vec![0; bounds.len()], ..Distribution::default() })
            }
            Kind::Counter | Kind::Gauge => Value::Number(0.0),
        }));
    }

    /// All values, by metric.
    #[must_use]
    pub fn samples(&self) -> Vec<(&'static Metric, Vec<Sample>)> {
        let samples = |one: &OneMetric| {
            let sample = |(labels, value): (&Vec<String>, &Value)| Sample {
                labels: labels.clone(),
                value: value.clone(),
            };
            (one.metric, one.by_labels.iter().map(sample).collect())
        };
        self.lock().values().map(samples).collect()
    }

    /// A counter's sum over all labels, or a gauge; 0 if nothing was counted.
    #[must_use]
    pub fn total(&self, metric: &Metric) -> f64 {
        self.lock().get(metric.name).map_or(0.0, |one| total(one.by_labels.values()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, OneMetric>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sum of numbers.
pub(super) fn total<'a>(values: impl Iterator<Item = &'a Value>) -> f64 {
    let number = |value: &Value| match value {
        Value::Number(number) => *number,
        Value::Many(distribution) => distribution.sum,
    };
    values.map(number).sum()
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{BYTES, LOAD_SECONDS, TRANSACTIONS};
    use super::*;

    #[test]
    fn a_thousand_tables_are_five_hundred_and_others() {
        let registry = Registry::default();
        for table in 0..1000 {
            registry.add(&BYTES, &[&format!("s.t{table}")], 2);
        }
        registry.add(&BYTES, &["s.t0"], 5);
        let samples = registry.samples();
        let of_bytes = &samples[0].1;
        assert_eq!(of_bytes.len(), MOST_SERIES + 1);
        let value =
            |label: &str| of_bytes.iter().find(|sample| sample.labels == [label]).map(|s| s.value.clone());
        assert_eq!(value("s.t0"), Some(Value::Number(7.0)));
        assert_eq!(value(OTHERS), Some(Value::Number(1000.0)));
        assert_eq!(registry.total(&BYTES), 2005.0);
    }

    #[test]
    fn each_reader_gets_each_value_once_as_far_as_they_are_kept() {
        let registry = Registry::new(&[&TRANSACTIONS, &LOAD_SECONDS]);
        for value in 0..150 {
            registry.observe(&LOAD_SECONDS, f64::from(value));
        }
        let samples = registry.samples();
        assert_eq!(
            samples.iter().map(|(metric, _)| metric.name).collect::<Vec<_>>(),
            ["load_seconds", "transactions"]
        );
        let Value::Many(distribution) = &samples[0].1[0].value else { panic!("a distribution") };
        assert_eq!((distribution.count, distribution.up_to[0], distribution.up_to[11]), (150, 1, 150));
        assert_eq!(distribution.since(148).collect::<Vec<_>>(), [148.0, 149.0]);
        assert_eq!(distribution.since(0).count(), RECENT);
        assert_eq!(distribution.since(150).count(), 0);
    }
}
