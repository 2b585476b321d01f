//! Logs through `tracing`: text for people or one JSON object a line, to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Starts logging for the process. `RUST_LOG` wins over the configured filter.
///
/// Errors with the reason if the filter cannot be read; a second call in one process keeps the first settings.
pub fn init(log: &Log) -> Result<(), String> {
    let text = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| log.filter.clone());
    let filter = EnvFilter::try_new(&text).map_err(|error| format!("log.filter '{text}': {error}"))?;
    // A file or a collector of logs would keep the escape sequences; see no-color.org for the variable.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().finish().try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before; keeping its settings");
    }
    Ok(())
}
