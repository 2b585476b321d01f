//! What `_explain` tells of a choice: the keys read, the other indexes and why they were not taken.

use super::index::{ALL_DOCS_JSON, Index};
use super::plan::{Candidate, Plan, Query, Trace};
use super::range::{FieldRange, indexable};
use super::request::Find;
use super::value::Value;

/// What is shown for a key that nothing sorts behind.
const HIGHEST: &str = "\"<MAX>\"";

/// JSON text of the answer to `_explain`; without a plan, no index could be used.
pub fn answer(db: &str, find: &Find, query: &Query<'_>, plan: Option<&Plan<'_>>, trace: &Trace<'_>) -> String {
    let index = match plan {
        Some(plan) => plan.index.map_or(ALL_DOCS_JSON.to_owned(), Index::to_json),
        None => "null".to_owned(),
    };
    let fields = list(find.projection.names().map(|name| Value::String(name.into()).to_json()).collect());
    format!(
        "{{\"dbname\":{},\"index\":{index},\"partitioned\":{},\"selector\":{},\"opts\":{},\"limit\":{},\
         \"skip\":{},\"fields\":{fields},\"index_candidates\":{},\"selector_hints\":{}{}}}",
        Value::String(db.into()).to_json(),
        query.partitioned,
        find.selector.to_json(),
        find.options(),
        find.limit,
        find.skip,
        candidates(trace),
        hints(query),
        plan.map(|plan| reading(find, plan)).unwrap_or_default(),
    )
}

/// How the index would be read, in the words of views.
fn reading(find: &Find, plan: &Plan<'_>) -> String {
    let (start, end) = keys(plan);
    let partition = find.partition.as_deref().map_or("null".to_owned(), |name| Value::String(name.into()).to_json());
    format!(
        ",\"mrargs\":{{\"include_docs\":{},\"view_type\":\"map\",\"reduce\":false,\"partition\":{partition},\
         \"start_key\":{start},\"end_key\":{end},\"direction\":\"{}\",\"stable\":{},\"update\":{},\
         \"conflicts\":{}}},\"covering\":{}",
        find.r < 2 && !plan.covering,
        if plan.descending { "rev" } else { "fwd" },
        find.stable || find.stale,
        !find.as_it_is(),
        if find.conflicts { "true" } else { "\"undefined\"" },
        plan.covering,
    )
}

/// JSON text of the keys a plan begins and ends with, in the direction it is read.
pub fn keys(plan: &Plan<'_>) -> (String, String) {
    if plan.columns.iter().any(|column| column.shown.empty) || plan.nothing {
        return ("null".to_owned(), "null".to_owned());
    }
    let (low, high) = match (plan.index, plan.columns.first()) {
        (None, Some(ids)) => id_keys(ids),
        _ => (low_key(&plan.columns), high_key(&plan.columns)),
    };
    if plan.descending { (high, low) } else { (low, high) }
}

fn id_keys(ids: &FieldRange) -> (String, String) {
    let low = ids.shown.low.as_ref().map_or("\"\"".to_owned(), |low| low.value.to_json());
    let high = ids.shown.high.as_ref().map_or(HIGHEST.to_owned(), |high| high.value.to_json());
    (low, high)
}

fn low_key(columns: &[FieldRange]) -> String {
    let ends = columns.iter().map_while(|column| column.shown.low.as_ref());
    list(ends.map(|low| low.value.to_json()).collect())
}

fn high_key(columns: &[FieldRange]) -> String {
    let ends = columns.iter().map_while(|column| column.shown.high.as_ref());
    let mut key: Vec<String> = ends.map(|high| high.value.to_json()).collect();
    key.push(HIGHEST.to_owned());
    list(key)
}

/// JSON text of the indexes that were not taken, each with why.
pub fn candidates(trace: &Trace<'_>) -> String {
    let winner = trace.ranked.first().map(|ranked| ranked.at);
    let ranks = Ranks::of(trace);
    // CouchDB's order: the last name first.
    let others = trace.candidates.iter().enumerate().rev().filter(|(at, _)| Some(*at) != winner);
    list(others.map(|(at, candidate)| shown(candidate, &ranks.analysis(trace, at))).collect())
}

fn shown(candidate: &Candidate<'_>, (usable, reason, ranking): &(bool, &'static str, usize)) -> String {
    let index = candidate.index.map_or(ALL_DOCS_JSON.to_owned(), Index::to_json);
    let covering = match candidate.index {
        Some(_) if candidate.covering => "true",
        Some(_) => "false",
        None => "null",
    };
    format!(
        "{{\"index\":{index},\"analysis\":{{\"usable\":{usable},\"reasons\":[{{\"name\":\"{reason}\"}}],\
         \"ranking\":{ranking},\"covering\":{covering}}}}}"
    )
}

/// The places of those that were sorted out at each step, behind those that were ranked.
struct Ranks {
    unfavored: usize,
    excluded: usize,
    unusable: usize,
    out_of_scope: usize,
    partial: usize,
}

impl Ranks {
    fn of(trace: &Trace<'_>) -> Self {
        let any = |which: &dyn Fn(&Candidate<'_>) -> bool| usize::from(trace.candidates.iter().any(which));
        let unfavored = trace.ranked.len().max(1);
        let excluded = unfavored + usize::from(is_unfavored(trace));
        let unusable = excluded + any(&|one| one.is_usable() && !one.admitted);
        let out_of_scope = unusable + any(&|one| one.considered && one.in_scope && !one.unusable.is_empty());
        let partial = out_of_scope + any(&|one| !one.partial && !one.in_scope);
        Self { unfavored, excluded, unusable, out_of_scope, partial }
    }

    /// Whether it could be used, why it was not, and its place.
    fn analysis(&self, trace: &Trace<'_>, at: usize) -> (bool, &'static str, usize) {
        let one = &trace.candidates[at];
        if one.partial && !one.considered {
            return (false, "is_partial", self.partial);
        }
        if !one.in_scope {
            return (false, "scope_mismatch", self.out_of_scope);
        }
        if let Some(reason) = one.unusable.first() {
            return (false, reason, self.unusable);
        }
        if !one.admitted {
            return (true, "excluded_by_user", self.excluded);
        }
        match trace.ranked.iter().position(|ranked| ranked.at == at) {
            Some(place) => (true, why_not(trace, place), place),
            None => (true, "unfavored_type", self.unfavored),
        }
    }
}

/// Whether reading all documents would do and an index does better.
fn is_unfavored(trace: &Trace<'_>) -> bool {
    let all = trace.candidates.iter().position(|one| one.index.is_none() && one.is_usable() && one.admitted);
    all.is_some_and(|at| trace.ranked.iter().all(|ranked| ranked.at != at))
}

fn why_not(trace: &Trace<'_>, place: usize) -> &'static str {
    let (winner, one) = (&trace.ranked[0], &trace.ranked[place]);
    if one.distance > 0 {
        "less_overlap"
    } else if one.width > winner.width {
        "too_many_fields"
    } else {
        "alphabetically_comes_after"
    }
}

/// JSON text of what indexes could do for a selector.
pub fn hints(query: &Query<'_>) -> String {
    let able = indexable(query.selector);
    let mut unable = query.selector.fields();
    unable.retain(|field| !able.contains(field));
    unable.sort_unstable();
    unable.dedup();
    let names = |fields: &[&str]| list(fields.iter().map(|field| Value::String((*field).into()).to_json()).collect());
    format!("[{{\"type\":\"json\",\"indexable_fields\":{},\"unindexable_fields\":{}}}]", names(&able), names(&unable))
}

fn list(items: Vec<String>) -> String {
    format!("[{}]", items.join(","))
}
