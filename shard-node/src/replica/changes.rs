//! Answers requests for changes, waiting for some if asked to.

use std::sync::Arc;
use std::time::Duration;

use common::attachment::stubs;
use common::change::{ChangesPage, ChangesRequest, FilterFunction};
use common::query::RevBody;
use common::refusal::Refusal;
use common::wire::ChangesAnswer;
use tokio::time::Instant;

use super::Replica;
use crate::js::{self, Call, Program, Sandbox, Verb};
use crate::raft::group;
use crate::store;

/// Longest wait of a feed in one request.
const FEED_WAIT_MAX: Duration = Duration::from_secs(60);

impl Replica {
    pub(crate) async fn changes(&self, request: ChangesRequest) -> ChangesAnswer {
        let filter =
            store::Filter::of(&request).map_err(|reason| Refusal::OutOfService { shard: self.shard(), reason })?;
        let filter = Arc::new(filter);
        if request.linearizable {
            self.reads.confirm().await?;
        }
        let deadline = Instant::now() + Duration::from_millis(request.wait_ms).min(FEED_WAIT_MAX);
        loop {
            // Subscribed before looking, so that nothing falls between.
            let mut feed = self.feeds.subscribe(request.db);
            let (group, asked, filter) = (self.group.clone(), request.clone(), filter.clone());
            let look = move || group.read(|reader| store::with_subjects(reader, &asked, Option::as_ref(&filter)));
            let page = group::blocking(self.group.engine().as_ref(), look).await;
            let (mut page, subjects) = page.map_err(|error| self.broken(&error))?;
            if let Some(function) = &request.function {
                self.ask_function(function, &mut page, subjects).await?;
            }
            let nothing = page.rows.is_empty() && !page.dropped && !page.more;
            if !nothing || request.descending || Instant::now() >= deadline {
                return Ok(page);
            }
            tokio::select! {
                _ = feed.changed() => {}
                () = tokio::time::sleep_until(deadline) => {}
                () = self.group.stopping() => return Ok(page),
            }
        }
    }

    /// Asks a filter function about the rows of a page. What it lets pass stays; of the rest only the place is told.
    async fn ask_function(
        &self,
        function: &FilterFunction,
        page: &mut ChangesPage,
        subjects: Vec<Vec<RevBody>>,
    ) -> Result<(), Refusal> {
        let program = Program { design: function.design.clone(), functions: vec![function.text.clone()] };
        let verb = if function.request.is_some() { Verb::Filter } else { Verb::Map };
        let texts = page.rows.iter().zip(&subjects).flat_map(|(change, leaves)| {
            leaves.iter().map(|leaf| {
                let doc = text(change.id.as_str(), leaf);
                function.request.as_ref().map_or(doc.clone(), |request| format!("[{doc},{request}]"))
            })
        });
        let calls = texts.map(|text| Call { function: 0, text: text.into() }).collect();
        let answers = Sandbox::shared().call(Arc::new(program), verb, calls).await;
        let mut answers = answers.map_err(|error| match error {
            js::Error::Busy => Refusal::Overloaded { shard: self.shard() },
            error => Refusal::Function(error.to_string()),
        })?;
        let mut answers = answers.drain(..);
        for (change, leaves) in page.rows.iter_mut().zip(subjects) {
            let mut matching = Vec::new();
            for leaf in leaves {
                let passes = match (verb, answers.next()) {
                    (Verb::Map, Some(Ok(rows))) => rows != "[]",
                    // As in CouchDB a map that fails emits nothing.
                    (Verb::Map, Some(Err(_))) => false,
                    (_, Some(Ok(passes))) => passes == "true",
                    (_, Some(Err(failure))) => return Err(Refusal::Function(failure.to_string())),
                    (_, None) => return Err(Refusal::Function("it was not asked about all".to_owned())),
                };
                if passes {
                    matching.push(leaf.rev);
                }
            }
            change.matching = Some(matching);
            if change.is_passed_over() {
                (change.leaves, change.json) = (Vec::new(), None);
            }
        }
        Ok(())
    }
}

/// A revision as a function sees it.
fn text(id: &str, leaf: &RevBody) -> String {
    let mut out = Vec::with_capacity(leaf.json.len() + 100);
    let stubs = stubs(&leaf.attachments);
    let extra: Vec<(&str, &str)> = stubs.iter().map(|stubs| ("_attachments", stubs.as_str())).collect();
    common::document::render(&mut out, id, &leaf.rev, leaf.deleted, &extra, &leaf.json);
    String::from_utf8_lossy(&out).into_owned()
}
