//! Metrics: which there are ([`catalogue`]), their values ([`Registry`]), and CloudWatch's form of them ([`Emf`]).
//!
//! Code counts through the catalogue's entries and `docs/metrics.md` is written from them: what is not there can't be
//! counted, and what is there is documented. No label is ever a row's value.

pub mod catalogue;
mod emf;
#[cfg(test)]
mod page;
mod registry;

pub use catalogue::{Kind, Metric, Unit};
pub use emf::Emf;
pub use registry::{Distribution, Registry, Sample, Value};
