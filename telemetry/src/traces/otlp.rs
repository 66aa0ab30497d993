//! OTLP's JSON: what `ExportTraceServiceRequest` is in protobuf's JSON mapping, with ids in hex
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};

use super::{Service, Span, SpanId, Value};

/// A span of the program's own, neither a server's nor a client's.
const KIND_INTERNAL: u8 = 1;
const STATUS_ERROR: u8 = 2;

/// The body of a post.
pub(super) fn request(service: &Service, spans: &[Span]) -> Json {
    let spans: Vec<_> = spans.iter().map(span).collect();
    let resource = [
        attribute("service.name", &service.name.into()),
        attribute("service.version", &service.version.into()),
        attribute("deployment.environment.name", &service.environment.as_str().into()),
    ];
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": service.name, "version": service.version }, "spans": spans }],
    }] })
}

fn span(span: &Span) -> Json {
    let attributes: Vec<_> = span.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    let mut json = json!({
        "traceId": hex(&span.trace),
        "spanId": hex_of(span.id),
        "name": span.name,
        "kind": KIND_INTERNAL,
        "startTimeUnixNano": nanoseconds(span.start),
        "endTimeUnixNano": nanoseconds(span.end.max(span.start)),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = hex_of(parent).into();
    }
    if let Some(error) = &span.error {
        json["status"] = json!({ "code": STATUS_ERROR, "message": error });
    }
    json
}

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        // 64-bit numbers are texts in this mapping.
        Value::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": name, "value": value })
}

fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos()).to_string()
}

fn hex_of(SpanId(id): SpanId) -> String {
    hex(&id)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
