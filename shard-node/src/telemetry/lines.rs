//! Log lines with the id of the request during which they were written.
//!
//! The id comes from the task and not from a span: spans would cost every request, and a line at level `warn` must name
//! its request also where nothing below `warn` is logged.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::request;

/// How a line looks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// The id stands at the end: `… request=4f2a…`.
    Text,
    /// It is the first field of the object: `{"request":"4f2a…",…`.
    Json,
}

/// See the module.
pub(super) struct Lines<E> {
    pub(super) event: E,
    pub(super) shape: Shape,
}

impl<S, N, E> FormatEvent<S, N> for Lines<E>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    E: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(id) = request::current() else { return self.event.format_event(context, writer, event) };
        let mut line = String::new();
        self.event.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&with_id(&line, id.to_str().unwrap_or_default(), self.shape))
    }
}

/// `id` has no quotes and no spaces: [`request`] takes no others.
fn with_id(line: &str, id: &str, shape: Shape) -> String {
    let line = line.trim_end_matches('\n');
    match (shape, line.strip_prefix('{')) {
        (Shape::Json, Some(rest)) => format!("{{\"request\":\"{id}\",{rest}\n"),
        _ => format!("{line} request={id}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_request() {
        assert_eq!(with_id("INFO a: b c=1\n", "x1", Shape::Text), "INFO a: b c=1 request=x1\n");
        let json = with_id("{\"level\":\"INFO\"}\n", "x1,x2", Shape::Json);
        assert_eq!(json, "{\"request\":\"x1,x2\",\"level\":\"INFO\"}\n");
    }
}
