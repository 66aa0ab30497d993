//! What capture and loader tell about themselves beside metrics: [log lines](logs), [reports](reports) of errors to
//! Sentry and Rollbar, and [traces]. None of them ever holds a row's value or a secret: they are made of what the programs log.

mod fields;
mod http;
pub mod logs;
pub mod panics;
pub mod reports;
pub mod traces;

pub use fields::{Fields, KeepFields};
