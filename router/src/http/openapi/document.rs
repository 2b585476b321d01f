//! The document, put together: from the routes come paths and methods, from the table of who may do what the refusals
//! and who is let in, from the descriptions the rest.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::openapi::content::Content;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::info::License;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, PathItem};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{Components, ComponentsBuilder, OneOfBuilder};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, RefOr, Required, Schema};

use super::super::access::class_of;
use super::describe;
use super::operation::{JSON, Media, Op, Shape};
use super::parameters;
use super::routes::{Route, UNSERVED};
use super::shapes::ErrorAnswer;
use crate::auth::rules::{Class, Level, Verdict, decide};

const ABOUT: &str = "CouchDB's HTTP API on a sharded, replicated, strongly consistent database. Operations under \
                     `x-additionalOperations` have methods that OpenAPI 3.1 does not know. `x-quorate` says who is let \
                     in, and whether it is served yet. In the database `_users` everybody but server admins is let in \
                     to their own document only.";

/// Requests and answers by operation, as the API gave them.
static EXAMPLES: &str = include_str!("examples.json");

/// What an operation was asked and answered once.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Example {
    pub request: Option<Value>,
    #[serde(default)]
    pub answers: BTreeMap<String, Value>,
}

/// The examples, by operation.
pub(super) fn examples() -> BTreeMap<String, Example> {
    serde_json::from_str(EXAMPLES).expect("the examples in this binary are JSON: a test reads them")
}

/// The document.
pub(super) fn document() -> OpenApi {
    let mut made = Making { examples: examples(), shapes: BTreeMap::new() };
    made.schema(Shape::of::<ErrorAnswer>());
    let mut paths = PathsBuilder::new();
    for route in Route::all() {
        let target = route.sample();
        let ops = describe::ops(route);
        paths = paths.path(target.route(), made.path(target.route(), class_of(&target), &ops));
    }
    for known in &UNSERVED {
        let ops: Vec<Op> = known.methods.iter().map(|method| Op::unserved(method, known.summary)).collect();
        paths = paths.path(known.template, made.path(known.template, Class::Commons, &ops));
    }
    let about = InfoBuilder::new().title("Quorate").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT));
    let license = License::builder().name("Apache-2.0").identifier(Some("Apache-2.0")).build();
    OpenApiBuilder::new()
        .info(about.license(Some(license)).build())
        .servers(Some([utoipa::openapi::Server::new("/")]))
        .paths(paths.build())
        .components(Some(components(made.shapes)))
        .build()
}

fn components(shapes: BTreeMap<String, RefOr<Schema>>) -> Components {
    let refused = Content::builder().schema(Some(Ref::from_schema_name("Error")));
    let refused = refused.example(Some(json!({"error": "not_found", "reason": "missing"}))).build();
    let cookie = ApiKeyValue::with_description("AuthSession", "From `POST /_session`");
    let http =
        |scheme, what: &str| SecurityScheme::Http(HttpBuilder::new().scheme(scheme).description(Some(what)).build());
    ComponentsBuilder::new()
        .schemas_from_iter(shapes)
        .response("Refusal", ResponseBuilder::new().description("Refused, and why").content(JSON, refused).build())
        .security_scheme("basic", http(HttpAuthScheme::Basic, "Name and password"))
        .security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)))
        .security_scheme("bearer", http(HttpAuthScheme::Bearer, "A JSON Web Token, where keys are configured"))
        .build()
}

/// The document as it is made.
struct Making {
    examples: BTreeMap<String, Example>,
    shapes: BTreeMap<String, RefOr<Schema>>,
}

impl Making {
    fn path(&mut self, template: &str, class: Class, ops: &[Op]) -> PathItem {
        let mut item = PathItem::builder();
        let mut more = serde_json::Map::new();
        for op in ops {
            let made = self.operation(op.method, template, class, op);
            match method_of(op.method) {
                Some(method) => item = item.operation(method, made),
                None => drop(more.insert(op.method.to_owned(), json!(made))),
            }
            if op.method == "GET" {
                item = item.operation(HttpMethod::Head, self.operation("HEAD", template, class, op));
            }
        }
        let more = (!more.is_empty()).then(|| Extensions::from_iter([("x-additionalOperations", Value::Object(more))]));
        item.extensions(more).build()
    }

    fn operation(&mut self, method: &str, template: &str, class: Class, op: &Op) -> Operation {
        let id = operation_id(method, template);
        let example = self.examples.remove(&id).unwrap_or_default();
        let verdicts = Level::ALL.map(|level| decide(class, &called(method), level));
        let allowed = Level::ALL.into_iter().zip(verdicts).filter(|(_, verdict)| *verdict == Verdict::Allow);
        let allowed: Vec<Level> = allowed.map(|(level, _)| level).collect();
        let names: Vec<String> = allowed.iter().map(|level| format!("{level:?}")).collect();
        let mut made = OperationBuilder::new()
            .operation_id(Some(id))
            .summary(Some(op.summary))
            .tag(tag(template))
            .securities(Some(securities(class, &allowed)))
            .extensions(Some(Extensions::from_iter([(
                "x-quorate",
                json!({"class": format!("{class:?}"), "allowed": names, "served": op.served}),
            )])));
        for parameter in parameters::of_path(template).chain(op.params.iter().map(parameters::of_param)) {
            made = made.parameter(parameter);
        }
        if !op.served {
            return made.response("501", refusal()).response("default", refusal()).build();
        }
        if !op.bodies.is_empty() {
            made = made.request_body(Some(self.body(&op.bodies, example.request)));
        }
        let mut answers: BTreeMap<u16, Vec<Media>> = BTreeMap::new();
        for (status, media) in &op.answers {
            answers.entry(*status).or_default().extend(*media);
        }
        let refusals = refusals(template, op, &verdicts);
        // What refuses with an answer of its own may also be refused before.
        for (_, media) in answers.iter_mut().filter(|(status, _)| **status >= 400 && refusals.contains(status)) {
            media.push((JSON, Some(Shape::of::<ErrorAnswer>())));
        }
        let refusals: Vec<u16> = refusals.into_iter().filter(|status| !answers.contains_key(status)).collect();
        for (status, media) in answers {
            let example = example.answers.get(&status.to_string()).cloned();
            let media = if method == "HEAD" { Vec::new() } else { media };
            made = made.response(status.to_string(), self.answer(status, &media, example));
        }
        for status in refusals {
            made = made.response(status.to_string(), refusal());
        }
        made.response("default", refusal()).build()
    }

    fn body(&mut self, media: &[Media], example: Option<Value>) -> RequestBody {
        let mut body = RequestBodyBuilder::new().required(Some(Required::True));
        for (kind, content) in self.contents(media, example) {
            body = body.content(kind, content);
        }
        body.build()
    }

    fn answer(&mut self, status: u16, media: &[Media], example: Option<Value>) -> Response {
        let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let mut answer = ResponseBuilder::new().description(reason.unwrap_or("Answered"));
        for (kind, content) in self.contents(media, example) {
            answer = answer.content(kind, content);
        }
        answer.build()
    }

    /// One content a type: several shapes of it are alternatives.
    fn contents(&mut self, media: &[Media], example: Option<Value>) -> Vec<(&'static str, Content)> {
        let mut kinds: Vec<&'static str> = media.iter().map(|(kind, _)| *kind).collect();
        kinds.dedup();
        let content = |kind: &'static str| {
            let shapes: Vec<Shape> =
                media.iter().filter(|(of, _)| *of == kind).filter_map(|(_, shape)| *shape).collect();
            let schema = match shapes.as_slice() {
                [] => None,
                [one] => Some(self.schema(*one)),
                several => {
                    let one_of = several.iter().fold(OneOfBuilder::new(), |all, one| all.item(self.schema(*one)));
                    Some(one_of.into())
                }
            };
            let example = example.clone().filter(|_| kind == JSON && schema.is_some());
            (kind, Content::builder().schema(schema).example(example).build())
        };
        kinds.into_iter().map(content).collect()
    }

    /// A reference to a schema, which is kept with those it is made of.
    fn schema(&mut self, shape: Shape) -> RefOr<Schema> {
        let name = (shape.name)();
        let mut inner = vec![(name.to_string(), (shape.schema)())];
        (shape.inner)(&mut inner);
        self.shapes.extend(inner);
        Ref::from_schema_name(name).into()
    }
}

fn refusal() -> RefOr<Response> {
    Ref::from_response_name("Refusal").into()
}

/// Refusals that can be told beforehand.
fn refusals(template: &str, op: &Op, verdicts: &[Verdict; 6]) -> Vec<u16> {
    let told = verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Allow => None,
        Verdict::Login | Verdict::NotServerAdmin | Verdict::Stranger | Verdict::Unnamed => Some(401),
        Verdict::NotMember | Verdict::NotDbAdmin => Some(403),
        Verdict::Missing => Some(404),
    });
    let in_db = template.starts_with("/{db}").then_some(404);
    let body: &[u16] = if op.bodies.is_empty() { &[] } else { &[400, 413, 415] };
    let all = told.chain(in_db).chain(body.iter().copied()).chain(op.refusals.iter().copied());
    all.collect::<std::collections::BTreeSet<u16>>().into_iter().collect()
}

/// Any of the ways to say who one is; none is one of them where nobody in particular is let in.
fn securities(class: Class, allowed: &[Level]) -> Vec<SecurityRequirement> {
    let nobody = SecurityRequirement::default();
    if class == Class::Liveness {
        return vec![nobody];
    }
    let open = allowed.iter().any(|level| matches!(level, Level::Anonymous | Level::Guest));
    let named = ["basic", "cookie", "bearer"].map(|scheme| SecurityRequirement::new(scheme, [] as [&str; 0]));
    named.into_iter().chain(open.then_some(nobody)).collect()
}

/// Unique, and readable in generated clients: `get_db_all_docs`.
pub(super) fn operation_id(method: &str, template: &str) -> String {
    let words = template.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_ascii_lowercase(), |id, word| id + "_" + word)
}

fn tag(template: &str) -> &'static str {
    match template {
        _ if template.starts_with("/v1/") => "cluster",
        "/{db}/{doc}" | "/{db}/_local/{doc}" | "/{db}/{doc}/{attachment}" => "document",
        _ if template.starts_with("/{db}") => "database",
        _ => "server",
    }
}

fn method_of(method: &str) -> Option<HttpMethod> {
    Some(match method {
        "GET" => HttpMethod::Get,
        "PUT" => HttpMethod::Put,
        "POST" => HttpMethod::Post,
        "DELETE" => HttpMethod::Delete,
        _ => return None,
    })
}

fn called(method: &str) -> Method {
    Method::from_bytes(method.as_bytes()).expect("a method of a description is a token")
}
