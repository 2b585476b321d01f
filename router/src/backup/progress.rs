//! A progress bar on a terminal; silence elsewhere, and where the answer is to be JSON.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar, unless `quiet`. Without a terminal it hides itself.
    pub(super) fn new(quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Self(ProgressBar::with_draw_target(Some(0), target))
    }

    /// Begins something of this size: bytes.
    pub(super) fn begin(&self, what: &'static str, bytes: u64) {
        self.start(what, bytes, "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    }

    /// Begins something of about this size: documents.
    pub(super) fn begin_documents(&self, what: &'static str, documents: u64) {
        self.start(what, documents, "{msg} {wide_bar} {human_pos}/{human_len} documents {per_sec} {eta}");
    }

    /// So much more is done.
    pub(super) fn add(&self, more: u64) {
        self.0.inc(more);
    }

    /// So much has to be done again.
    pub(super) fn take_back(&self, less: u64) {
        self.0.set_position(self.0.position().saturating_sub(less));
    }

    /// It is done, or never will be.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }

    fn start(&self, what: &'static str, size: u64, template: &str) {
        let style = ProgressStyle::with_template(template);
        self.0.reset();
        self.0.set_style(style.expect("the templates above are sound"));
        self.0.set_message(what);
        self.0.set_length(size);
    }
}
