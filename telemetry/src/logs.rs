//! Log lines: for machines one flat JSON object each, for people `tracing`'s own text. `docs/logs.md` says what fields mean.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::fields::Fields;

/// The form of lines.
#[derive(Clone, Debug)]
pub enum Lines {
    /// For people. The stream is named at the end, but for those who see colours: they see one stream only.
    Text {
        /// The stream that the process runs, if it is one.
        stream: Option<String>,
    },
    /// One JSON object, without levels below it; needs [`KeepFields`](crate::KeepFields) beside it.
    Json {
        /// The stream that the process runs, if it is one.
        stream: Option<String>,
        /// Whether lines have the time; some logs add their own.
        timed: bool,
    },
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self {
            Lines::Text { stream: Some(stream) } if !writer.has_ansi_escapes() => {
                let mut line = String::new();
                Format::default().with_ansi(false).format_event(context, Writer::new(&mut line), event)?;
                writeln!(writer, "{} stream={stream}", line.trim_end())
            }
            Lines::Text { .. } => Format::default().format_event(context, writer, event),
            Lines::Json { stream, timed } => {
                let Fields(mut fields) = Fields::of(event, context.event_scope());
                let mut line = Map::new();
                if *timed {
                    line.insert("timestamp".into(), Timestamp::now().to_string().into());
                }
                line.insert("level".into(), event.metadata().level().as_str().into());
                line.insert("target".into(), event.metadata().target().into());
                line.insert("message".into(), fields.remove("message").unwrap_or(Value::Null));
                if let Some(stream) = stream {
                    line.insert("stream".into(), stream.clone().into());
                }
                line.append(&mut fields);
                writeln!(writer, "{}", Value::Object(line))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::fields::KeepFields;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(lines: Lines) -> String {
        let written = Written::default();
        let to = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(lines)
            .with_writer(move || to.clone());
        let subscriber = tracing_subscriber::registry().with(KeepFields).with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("segment", segment = 7_u64, table = tracing::field::Empty);
            let _entered = span.enter();
            span.record("table", "shop.orders");
            tracing::warn!(lsn = %"0/2A", retry_in_ms = 5_u128, ok = false, "will be tried again");
        });
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_is_flat_and_has_what_is_around_the_event() {
        let line = written(Lines::Json { stream: Some("main".into()), timed: false });
        let line: Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "level": "WARN", "target": "re_dms_telemetry::logs::tests", "message": "will be tried again", "stream": "main",
            "segment": 7, "table": "shop.orders", "lsn": "0/2A", "retry_in_ms": 5, "ok": false,
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn text_names_the_stream() {
        let line = written(Lines::Text { stream: Some("main".into()) });
        assert!(line.contains("WARN segment{segment=7"), "{line}");
        assert!(line.ends_with("ok=false stream=main\n"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
}
