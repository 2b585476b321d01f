//! How an operation is described, before it becomes part of the document.

use std::borrow::Cow;

use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

pub(super) const JSON: &str = "application/json";

/// A schema that has a name in the document.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub name: fn() -> Cow<'static, str>,
    pub schema: fn() -> RefOr<Schema>,
    /// Adds those it is made of.
    pub inner: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl Shape {
    pub(super) fn of<T: ToSchema>() -> Self {
        Self { name: T::name, schema: T::schema, inner: T::schemas }
    }
}

/// A text in some type, with a shape if it is JSON.
pub(super) type Media = (&'static str, Option<Shape>);

/// What may be said in a query or a header.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    Flag,
    Number,
    /// JSON in the query.
    Json,
    OneOf(&'static [&'static str]),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Query,
    Header,
}

/// An option.
#[derive(Clone, Copy)]
pub(super) struct Param {
    pub name: &'static str,
    pub place: Place,
    pub kind: Kind,
    pub what: &'static str,
    pub required: bool,
}

/// An option in the query.
pub(super) const fn query(name: &'static str, kind: Kind, what: &'static str) -> Param {
    Param { name, place: Place::Query, kind, what, required: false }
}

/// An option in a header.
pub(super) const fn header(name: &'static str, what: &'static str) -> Param {
    Param { name, place: Place::Header, kind: Kind::Text, what, required: false }
}

impl Param {
    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// A method of a route.
pub(super) struct Op {
    pub method: &'static str,
    pub summary: &'static str,
    pub params: Vec<Param>,
    pub bodies: Vec<Media>,
    /// Statuses that are no refusals; a status may stand here with several types.
    pub answers: Vec<(u16, Option<Media>)>,
    /// Refusals that are its own.
    pub refusals: Vec<u16>,
    /// Whether it is more than known: 501 otherwise.
    pub served: bool,
}

impl Op {
    fn new(method: &'static str, summary: &'static str) -> Self {
        let (params, bodies, answers, refusals) = Default::default();
        Self { method, summary, params, bodies, answers, refusals, served: true }
    }

    pub(super) fn get(summary: &'static str) -> Self {
        Self::new("GET", summary)
    }

    pub(super) fn put(summary: &'static str) -> Self {
        Self::new("PUT", summary)
    }

    pub(super) fn post(summary: &'static str) -> Self {
        Self::new("POST", summary)
    }

    pub(super) fn delete(summary: &'static str) -> Self {
        Self::new("DELETE", summary)
    }

    pub(super) fn copy(summary: &'static str) -> Self {
        Self::new("COPY", summary)
    }

    /// A method that is answered with 501.
    pub(super) fn unserved(method: &'static str, summary: &'static str) -> Self {
        Self { served: false, ..Self::new(method, summary) }
    }

    pub(super) fn with(mut self, params: &[Param]) -> Self {
        self.params.extend_from_slice(params);
        self
    }

    /// Its body, as JSON.
    pub(super) fn takes<T: ToSchema>(mut self) -> Self {
        self.bodies.push((JSON, Some(Shape::of::<T>())));
        self
    }

    /// Its body, in another type.
    pub(super) fn takes_as(mut self, media: &'static str, shape: Option<Shape>) -> Self {
        self.bodies.push((media, shape));
        self
    }

    /// An answer in JSON.
    pub(super) fn gives<T: ToSchema>(mut self, status: u16) -> Self {
        self.answers.push((status, Some((JSON, Some(Shape::of::<T>())))));
        self
    }

    /// An answer in another type.
    pub(super) fn gives_as(mut self, status: u16, media: &'static str) -> Self {
        self.answers.push((status, Some((media, None))));
        self
    }

    /// An answer without a body.
    pub(super) fn gives_nothing(mut self, status: u16) -> Self {
        self.answers.push((status, None));
        self
    }

    /// Refusals that are its own.
    pub(super) fn refuses(mut self, statuses: &[u16]) -> Self {
        self.refusals.extend_from_slice(statuses);
        self
    }
}
