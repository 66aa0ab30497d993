//! The loader's metrics: a line of CloudWatch's Embedded Metric Format on the function's log for each load and each failure.
//!
//! Nothing is kept between them: a function may be frozen or thrown away at any moment.

use std::fmt;
use std::io::Write as _;

use jiff::Timestamp;
use re_dms_shared::message::Outcome;
use re_dms_shared::metrics::{Emf, Registry, catalogue as is};

use crate::apply::Loaded;
use crate::error::{LoadError, Retry};

/// Tells what became of segments.
pub struct Meter {
    namespace: String,
    out: Box<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Meter {
    /// Onto stdout, which is the function's log.
    #[must_use]
    pub fn to_stdout(namespace: &str) -> Self {
        // In one write, so that nothing comes between.
        Self::new(namespace, |line| {
            let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
        })
    }

    /// To whoever takes lines.
    #[must_use]
    pub fn new(namespace: &str, out: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { namespace: namespace.to_owned(), out: Box::new(out) }
    }

    /// Segments that were loaded together, or one that was not because it is there already or a gap is before it.
    pub fn loaded(&self, stream: &str, loaded: &[Loaded]) {
        let registry = Registry::new(is::LOADER);
        let now = Timestamp::now();
        for segment in loaded {
            match segment.outcome {
                Outcome::Loaded => {
                    registry.add(&is::LOADER_SEGMENTS, &[], 1);
                    registry.add(&is::LOADER_ROWS, &[], segment.rows);
                    registry.add(&is::LOADER_BYTES, &[], segment.bytes);
                    let delay = now.duration_since(segment.first_commit).as_secs_f64();
                    registry.observe(&is::LOADER_DELAY_SECONDS, delay.max(0.0));
                }
                Outcome::Gap { .. } => registry.add(&is::LOADER_GAPS, &[], 1),
                _ => {}
            }
        }
        if let Some(last) = loaded.last() {
            if last.outcome == Outcome::Loaded {
                registry.observe(&is::LOADER_LOAD_SECONDS, last.duration.as_secs_f64());
            }
            let quarantined = last.quarantine.tables.iter().filter(|table| !table.held).count();
            registry.set(&is::LOADER_QUARANTINED_TABLES, quarantined as f64);
        }
        self.tell(stream, &registry, now);
    }

    /// A load or a request failed.
    pub fn failed(&self, stream: &str, error: &LoadError) {
        let registry = Registry::new(is::LOADER);
        let outcome = if error.retry() == Retry::Never { "fatal" } else { "retried" };
        registry.add(&is::LOADER_ERRORS, &[&error.who().to_string(), outcome], 1);
        if let Some(invariant) = error.invariant() {
            registry.add(&is::LOADER_INVARIANT_VIOLATIONS, &[&invariant.to_string()], 1);
        }
        self.tell(stream, &registry, Timestamp::now());
    }

    fn tell(&self, stream: &str, registry: &Registry, at: Timestamp) {
        if let Some(line) = Emf::new(&self.namespace, stream).line(registry, at) {
            (self.out)(&line);
        }
    }
}
