//! Where traces go.

use re_dms_telemetry::traces::Collector;

use super::Secret;
use super::reader::Reader;

/// Where traces go. Nowhere, if nothing is said: then none are made.
#[derive(Clone, Debug)]
pub struct TracesConfig {
    /// A receiver of OTLP over HTTP.
    pub collector: Option<Collector>,
}

impl TracesConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let endpoint = reader.optional("traces.otlp_endpoint", |text| Ok(text.to_owned()));
        let headers = reader.list("traces.otlp_headers", |text| Ok(Secret::new(text.to_owned())), &[]);
        let Some(endpoint) = endpoint else { return Self { collector: None } };
        let collector = Collector::new(&endpoint, headers.iter().map(Secret::reveal));
        if collector.is_none() {
            reader.problem(
                "traces.otlp_endpoint",
                "is no address, or traces.otlp_headers are no headers".into(),
                "give the receiver's base address such as http://localhost:4318, and headers as name=value",
            );
        }
        Self { collector }
    }
}
