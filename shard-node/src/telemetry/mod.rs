//! Logs through `tracing`, text for people or one JSON object a line, and traces over OTLP where configured.
//!
//! Every line of a request ends with the request's id. Nothing logs bodies of documents or credentials. Spans exist for
//! the export alone: without an endpoint nobody listens to them, and making one costs a look at a flag.

mod export;
mod lines;
pub mod request;
mod spans;

use std::io::IsTerminal;
use std::time::Duration;

use common::config::{Config, Log, LogFormat};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::{self, JsonFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use lines::{Lines, Shape};
pub use spans::{answered, pass_on, request_span};

/// What spans are called in filters. The log leaves them out, the export takes nothing else.
const SPANS: &str = "quorate_span";
/// Longest wait at the end for spans that are not sent yet. The collector may be gone.
const LAST_SPANS_PATIENCE: Duration = Duration::from_secs(2);

/// Sends what spans are left when it is dropped.
#[must_use = "spans are sent while it lives"]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.as_ref().map(|spans| spans.shutdown_with_timeout(LAST_SPANS_PATIENCE)) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// Starts logging for the process, and the export if one is configured. `RUST_LOG` wins over the configured filter.
/// `service` is the program's name, `instance` tells its processes apart.
///
/// Errors with the reason if the filter or the endpoint cannot be used; a second call in one process keeps the first
/// settings. Not to be dropped on a thread that runs tasks: it waits.
pub fn init(config: &Config, service: &'static str, instance: &str) -> Result<Telemetry, String> {
    let spans = match &config.telemetry.otlp_endpoint {
        Some(endpoint) => Some(export::to(endpoint, config.telemetry.otlp_sample_ratio, service, instance)?),
        None => None,
    };
    let (filter, lines) = log(&config.log)?;
    let started = match &spans {
        None => quiet(filter, lines).try_init(),
        Some(spans) => {
            let traces = tracing_opentelemetry::layer().with_tracer(spans.tracer("quorate"));
            let traces = traces.with_filter(filter_fn(|what| what.target() == SPANS));
            tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("logging was started before; keeping its settings");
    }
    Ok(Telemetry(spans))
}

/// Without an export: one filter in front of everything, so that nobody listens to spans. (Filters of single layers
/// leave them enabled as soon as there is a layer without one, also one that does nothing.)
fn quiet(filter: EnvFilter, lines: LogLines) -> impl Subscriber + Send + Sync {
    tracing_subscriber::registry().with(lines).with(filter)
}

type LogLines = Box<dyn Layer<Registry> + Send + Sync>;

fn log(log: &Log) -> Result<(EnvFilter, LogLines), String> {
    let text = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| log.filter.clone());
    let filter = EnvFilter::try_new(&text).map_err(|error| format!("log.filter '{text}': {error}"))?;
    let filter = filter.add_directive(format!("{SPANS}=off").parse().expect("a directive"));
    // A file or a collector of logs would keep the escape sequences; see no-color.org for the variable.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let layer = tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(std::io::stderr);
    let layer = match log.format {
        LogFormat::Text => {
            layer.event_format(Lines { event: format::format().with_ansi(colours), shape: Shape::Text }).boxed()
        }
        LogFormat::Json => {
            let lines = Lines { event: format::format().json(), shape: Shape::Json };
            layer.fmt_fields(JsonFields::new()).event_format(lines).boxed()
        }
    };
    Ok((filter, layer))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    #[test]
    fn without_an_export_no_span_is_made_even_where_everything_is_logged() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let (filter, lines) = log(&Log { filter: "trace".to_owned(), format }).expect("a filter");
            tracing::subscriber::with_default(quiet(filter, lines), || {
                assert!(tracing::enabled!(tracing::Level::TRACE), "everything is logged");
                assert!(request_span("/{db}", &Method::GET, &HeaderMap::new(), None).is_disabled());
            });
        }
    }

    #[test]
    fn settings_that_cannot_be_used_are_refused_in_plain_words() {
        let error = log(&Log { filter: "a=b=c".to_owned(), format: LogFormat::Text });
        assert!(error.err().is_some_and(|reason| reason.contains("log.filter 'a=b=c'")));
        let mut config = Config::default();
        config.telemetry.otlp_endpoint = Some("https://collector".to_owned());
        let error = init(&config, "quorate-router", "test").err().expect("no TLS here");
        assert!(error.contains("telemetry.otlp_endpoint 'https://collector'"), "{error}");
    }
}
