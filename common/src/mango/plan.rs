//! Which index serves a query, and which part of it.
//!
//! Chooses as CouchDB chooses, since clients and explanations depend on it, with one exception: an index is never
//! taken for a query it would hide documents from.

use super::error::Error;
use super::fields::{Projection, Sort};
use super::index::Index;
use super::range::{FieldRange, Range, indexable, ranges};
use super::selector::{Comparison, Node, Selector, Test};

/// An index asked for: the name of a design document (without `_design/`), perhaps that of an index in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseIndex {
    /// The design document's name.
    pub ddoc: Box<str>,
    /// The index's name.
    pub name: Option<Box<str>>,
}

/// A query, as far as choosing an index goes.
#[derive(Debug, Clone, Copy)]
pub struct Query<'q> {
    /// What is asked for.
    pub selector: &'q Selector,
    /// In which order.
    pub sort: &'q Sort,
    /// Which fields.
    pub projection: &'q Projection,
    /// Through which index.
    pub use_index: Option<&'q UseIndex>,
    /// Whether another one will do.
    pub allow_fallback: bool,
    /// Of one partition.
    pub partition: Option<&'q str>,
    /// Whether the database has partitions.
    pub partitioned: bool,
}

/// What a query reads.
#[derive(Debug, Clone)]
pub struct Plan<'i> {
    /// The index; `None` for all documents by id.
    pub index: Option<&'i Index>,
    /// The ranges of its first columns.
    pub columns: Vec<FieldRange>,
    /// Backwards.
    pub descending: bool,
    /// Nothing can match: nothing need be read.
    pub nothing: bool,
    /// The index alone has all that is asked for.
    pub covering: bool,
}

/// How a plan was come by; told by explanations.
#[derive(Debug, Clone)]
pub struct Trace<'i> {
    /// Every index with what was found, in the order of their names; all documents first.
    pub candidates: Vec<Candidate<'i>>,
    /// Those among which was chosen at last, best first, by their place in `candidates`.
    pub ranked: Vec<Ranked>,
}

/// One index, weighed.
#[derive(Debug, Clone)]
pub struct Candidate<'i> {
    /// The index; `None` for all documents.
    pub index: Option<&'i Index>,
    /// Whether it has only some documents.
    pub partial: bool,
    /// Whether it has what the query looks at: partitions, or the whole.
    pub in_scope: bool,
    /// Whether it was looked at: not partial, or asked for.
    pub considered: bool,
    /// Why it cannot be used.
    pub unusable: Vec<&'static str>,
    /// Whether it was left over when an index was asked for.
    pub admitted: bool,
    /// Whether all its fields (and `_id`) are all that is asked for.
    pub covering: bool,
}

impl Candidate<'_> {
    /// Whether the query could be answered from it.
    pub fn is_usable(&self) -> bool {
        self.considered && self.in_scope && self.unusable.is_empty()
    }
}

/// An index among the last ones.
#[derive(Debug, Clone)]
pub struct Ranked {
    /// Its place in [`Trace::candidates`].
    pub at: usize,
    /// How many of the narrowed fields it does not narrow.
    pub distance: usize,
    /// How many fields it has.
    pub width: usize,
}

/// Chooses; `None` if no index can be used and `explain` would rather tell than refuse. `indexes` are all there are.
pub fn choose<'i>(
    query: &Query<'_>,
    indexes: &'i [Index],
    explain: bool,
) -> Result<(Option<Plan<'i>>, Trace<'i>), Error> {
    let mut sorted: Vec<&Index> = indexes.iter().collect();
    sorted.sort_by(|a, b| (&a.ddoc, &a.definition.name).cmp(&(&b.ddoc, &b.definition.name)));
    let all = std::iter::once(None).chain(sorted.into_iter().map(Some));
    let mut candidates: Vec<Candidate<'i>> = all.map(|index| weigh(query, index)).collect();
    let usable = candidates.iter().filter(|candidate| candidate.is_usable()).count();
    if usable == 0 && !explain {
        return Err(no_sort_index(query));
    }
    admit(query, &mut candidates, usable)?;
    let read = ranges(query.selector);
    let ranked = rank(&candidates, &read);
    let trace = Trace { candidates, ranked };
    let plan = trace.ranked.first().map(|winner| plan(query, &trace.candidates[winner.at], &read));
    Ok((plan, trace))
}

fn no_sort_index(query: &Query<'_>) -> Error {
    match (query.partitioned, query.partition) {
        (false, _) => Error::NoSortIndex,
        (true, Some(_)) => Error::NoPartitionedSortIndex,
        (true, None) => Error::NoGlobalSortIndex,
    }
}

fn weigh<'i>(query: &Query<'_>, index: Option<&'i Index>) -> Candidate<'i> {
    let Some(index) = index else {
        let unusable = all_docs_unusable(query);
        return Candidate {
            index: None,
            partial: false,
            in_scope: true,
            considered: true,
            unusable,
            admitted: true,
            covering: false,
        };
    };
    let definition = &index.definition;
    let partial = definition.partial.is_some();
    Candidate {
        index: Some(index),
        partial,
        in_scope: definition.partitioned.unwrap_or(query.partitioned) == query.partition.is_some(),
        considered: !partial || query.use_index.is_some_and(|asked| asked.names(index)),
        unusable: index_unusable(query, index),
        admitted: true,
        covering: covers(query, index, false),
    }
}

fn all_docs_unusable(query: &Query<'_>) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    if query.sort.0.is_empty() {
        return reasons;
    }
    if !indexable(query.selector).contains(&"_id") {
        reasons.push("field_mismatch");
    }
    if !query.sort.names().eq(["_id"]) {
        reasons.push("sort_order_mismatch");
    }
    reasons
}

fn index_unusable(query: &Query<'_>, index: &Index) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    // Documents without these fields are not in the index: only a selector that wants them to be there may use it.
    // Fields sorted by are wanted to be there, and these two always are.
    let given = |column: &&str| matches!(*column, "_id" | "_rev") || query.sort.names().any(|field| field == *column);
    let mut required: Vec<&str> = index.definition.columns().filter(|column| !given(column)).collect();
    let columns: Vec<&str> = index.definition.columns().collect();
    // Conflicts are no member of what is indexed: such an index is empty, and all documents have to be looked at.
    let hidden = columns.iter().any(|column| column.split('.').next() == Some("_conflicts"));
    if !query.selector.is_none() {
        without_required(query.selector.node(), &mut required);
    }
    if hidden || !(query.selector.is_none() || required.is_empty()) {
        reasons.push("field_mismatch");
    }
    let sort: Vec<&str> = query.sort.names().collect();
    if !gives_order(&columns, &sort, query.selector.node()) {
        reasons.push("sort_order_mismatch");
    }
    reasons
}

/// Takes those out of `fields` that every document that matches must have.
fn without_required(node: &Node, fields: &mut Vec<&str>) {
    match node {
        Node::And(all) => all.iter().for_each(|node| without_required(node, fields)),
        // What every alternative requires is required; an empty list of alternatives asks for nothing.
        Node::Or(any) if !any.is_empty() => {
            let left = any.iter().map(|node| {
                let mut left = fields.clone();
                without_required(node, &mut left);
                left
            });
            let left: Vec<Vec<&str>> = left.collect();
            fields.retain(|field| left.iter().any(|left| left.contains(field)));
        }
        Node::Field(_, condition) if matches!(**condition, Node::Test(Test::Exists(false))) => {}
        Node::Field(field, _) => fields.retain(|required| **required != *field.name),
        _ => {}
    }
}

/// Whether reading an index of `columns` gives the order of `sort`. Columns that have one value only may stand before.
fn gives_order(columns: &[&str], sort: &[&str], selector: &Node) -> bool {
    match (columns.split_first(), sort.first()) {
        (_, None) => true,
        (None, _) => false,
        (Some((column, _)), Some(field)) if column == field => columns.starts_with(sort),
        (Some((column, rest)), _) => is_constant(selector, column) && gives_order(rest, sort, selector),
    }
}

fn is_constant(node: &Node, field: &str) -> bool {
    match node {
        Node::And(all) => all.iter().any(|node| is_constant(node, field)),
        Node::Field(known, condition) => {
            *known.name == *field && matches!(**condition, Node::Test(Test::Compare(Comparison::Equal, _)))
        }
        _ => false,
    }
}

fn covers(query: &Query<'_>, index: &Index, with_selector: bool) -> bool {
    let has = |field: &str| field == "_id" || index.definition.columns().any(|column| column == field);
    !query.projection.is_all()
        && query.projection.names().all(has)
        && (!with_selector || query.selector.fields().into_iter().all(has))
}

impl UseIndex {
    /// Whether it asks for this index.
    pub fn names(&self, index: &Index) -> bool {
        let ddoc = index.ddoc.strip_prefix("_design/").unwrap_or(&index.ddoc);
        let asked = self.ddoc.strip_prefix("_design/").unwrap_or(&self.ddoc);
        ddoc == asked && self.name.as_ref().is_none_or(|name| *name == index.definition.name)
    }

    /// As CouchDB's reasons name it.
    pub fn shown(&self) -> String {
        let ddoc = self.ddoc.strip_prefix("_design/").unwrap_or(&self.ddoc);
        match &self.name {
            Some(name) => format!("_design/{ddoc}, {name}"),
            None => format!("_design/{ddoc}"),
        }
    }
}

/// Leaves those that were asked for; all, if none of these can be used and another one will do.
fn admit(query: &Query<'_>, candidates: &mut [Candidate<'_>], usable: usize) -> Result<(), Error> {
    let asked = |candidate: &Candidate<'_>| {
        candidate.is_usable()
            && candidate.index.is_some_and(|index| query.use_index.is_some_and(|asked| asked.names(index)))
    };
    if candidates.iter().any(asked) {
        candidates.iter_mut().for_each(|candidate| candidate.admitted = asked(candidate));
        return Ok(());
    }
    match query.use_index {
        _ if query.allow_fallback => Ok(()),
        None if usable > 1 => Ok(()),
        None => Err(Error::NoIndex),
        Some(asked) => Err(Error::UseIndex(asked.shown())),
    }
}

/// The indexes left, best first: those that narrow most, then the smallest, then by name. All documents come last and
/// only alone.
fn rank(candidates: &[Candidate<'_>], ranges: &[FieldRange]) -> Vec<Ranked> {
    let left = || candidates.iter().enumerate().filter(|(_, candidate)| candidate.admitted && candidate.is_usable());
    let weighed = |(at, index): (usize, &Index)| {
        // Where the selector contradicts itself that is all there is to know, as CouchDB counts.
        let narrowed = if ranges.iter().any(|range| range.shown.empty) { 1 } else { ranges.len() };
        let distance = narrowed.saturating_sub(prefix(index, ranges).count());
        Ranked { at, distance, width: index.definition.fields.0.len() }
    };
    let mut ranked: Vec<Ranked> =
        left().filter_map(|(at, candidate)| Some((at, candidate.index?))).map(weighed).collect();
    // Candidates are in the order of their names, and this keeps it where nothing else decides.
    ranked.sort_by_key(|ranked| (ranked.distance, ranked.width));
    if ranked.is_empty() {
        ranked.extend(left().map(|(at, _)| Ranked { at, distance: 0, width: 1 }));
    }
    ranked
}

/// The ranges of the first columns of an index, as far as they are narrowed.
fn prefix<'r>(index: &Index, ranges: &'r [FieldRange]) -> impl Iterator<Item = &'r FieldRange> {
    index.definition.columns().map_while(|column| ranges.iter().find(|range| *range.field == *column))
}

fn plan<'i>(query: &Query<'_>, winner: &Candidate<'i>, ranges: &[FieldRange]) -> Plan<'i> {
    let columns: Vec<FieldRange> = match winner.index {
        Some(index) => prefix(index, ranges).cloned().collect(),
        None => vec![ranges.iter().find(|range| *range.field == *"_id").cloned().unwrap_or_else(all_ids)],
    };
    Plan {
        index: winner.index,
        nothing: query.selector.is_none() || ranges.iter().any(|range| range.read.empty),
        columns,
        descending: query.sort.is_descending(),
        covering: winner.index.is_some_and(|index| covers(query, index, true)),
    }
}

/// All ids, as CouchDB explains them: everything behind `null`.
fn all_ids() -> FieldRange {
    let low = super::range::End { value: super::value::Value::Null, inclusive: false };
    let shown = Range { low: Some(low), ..Range::default() };
    FieldRange { field: "_id".into(), shown, ..FieldRange::default() }
}

#[cfg(test)]
mod tests;
