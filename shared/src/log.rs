//! Logs: one JSON object a line on standard output, `ts level code msg` first, then the fields of the event and its spans.

use crate::clock;
use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry, Scope};

/// Our crates. `LOG_LEVEL` speaks for them alone: tokio-postgres logs whole statements at debug and the AWS SDK whole
/// requests at trace, so everyone else stays at warnings whatever the operator asks for.
const OURS: [&str; 4] = ["keyturn", "rotate_", "oncall_", "break_glass"];

/// Where the Lambda runtime logs, without a code, every error a handler returns, which has been logged already, and the
/// payload of every panic, which may hold anything.
const SAID_ALREADY: &str = "lambda_runtime::layers::panic";

/// Sends this process's logs to standard output from now on. `level` is `trace`, `debug`, `info`, `warn` or `error`.
pub(crate) fn start(level: Level) {
    let subscriber = Registry::default().with(JsonLines::new(level, |line| println!("{line}")));
    // A second start (two tests in one process) keeps the first.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct JsonLines<W> {
    level: Level,
    write: W,
}

impl<W: Fn(&str) + 'static> JsonLines<W> {
    fn new(level: Level, write: W) -> Self {
        Self { level, write }
    }
}

#[derive(Serialize)]
struct Line {
    ts: String,
    level: &'static str,
    code: Value,
    msg: Value,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&str) + 'static,
{
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let ours = OURS.iter().any(|name| metadata.target().starts_with(name));
        metadata.target() != SAID_ALREADY && *metadata.level() <= if ours { self.level } else { Level::WARN }
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend(of_span.0.clone());
            }
        }
        event.record(&mut fields);
        let Fields(mut fields) = fields;
        let line = Line {
            ts: clock::now().to_rfc3339_opts(SecondsFormat::Millis, true),
            level: event.metadata().level().as_str(),
            code: fields.remove("code").unwrap_or_else(|| "LOG".into()),
            msg: fields.remove("message").unwrap_or_else(|| "".into()),
            fields,
        };
        if let Ok(text) = serde_json::to_string(&line) {
            (self.write)(&text);
        }
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn lines(level: Level, work: impl FnOnce()) -> Vec<Value> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let layer = JsonLines::new(level, move |line: &str| sink.lock().unwrap().push(line.to_owned()));
        tracing::subscriber::with_default(Registry::default().with(layer), work);
        written.lock().unwrap().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_carries_code_message_and_the_fields_of_its_spans() {
        let lines = lines(Level::INFO, || {
            let _in = tracing::info_span!("rotation", secret_arn = "arn:x", step = "setSecret").entered();
            tracing::info!(code = "PASSWORD_SET", duration_ms = 7_u64, "a \"quoted\"\nmessage");
        });
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["code"], "PASSWORD_SET");
        assert_eq!(line["msg"], "a \"quoted\"\nmessage");
        assert_eq!(line["secret_arn"], "arn:x");
        assert_eq!(line["step"], "setSecret");
        assert_eq!(line["duration_ms"], 7);
        assert!(line["ts"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_library_stays_quiet_however_loud_we_are() {
        let lines = lines(Level::TRACE, || {
            tracing::debug!(target: "tokio_postgres::query", "executing statement: ALTER ROLE app PASSWORD 'x'");
            tracing::info!(target: "aws_smithy_runtime", "request body");
            tracing::error!(target: "lambda_runtime::layers::panic", "a Diagnostic, or the payload of a panic");
            tracing::warn!(target: "aws_config", "told");
            tracing::trace!(target: "rotate_postgres", "told");
        });
        assert_eq!(lines.iter().map(|l| l["msg"].as_str().unwrap()).collect::<Vec<_>>(), ["told", "told"]);
    }
}
