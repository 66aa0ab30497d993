//! The capture: PostgreSQL's replication stream to segments on S3.

pub mod pgoutput;
