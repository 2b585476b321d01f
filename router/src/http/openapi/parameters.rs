//! Options, as the document shows them.

use utoipa::openapi::content::Content;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Required, Schema};

use super::operation::{JSON, Kind, Param, Place};

/// The names in a path.
pub(super) fn of_path(template: &str) -> impl Iterator<Item = Parameter> + '_ {
    let names = template.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    names.map(|name| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(in_path(name)))
            .schema(Some(of_type(Type::String)))
            .build()
    })
}

fn in_path(name: &str) -> &'static str {
    match name {
        "db" => "A database; slashes in its name are encoded",
        "doc" => "A document's id, without `_local/`; of a design document with its `_design/`",
        "attachment" => "An attachment's name; it may have slashes",
        "ddoc" => "A design document, without `_design/`",
        "type" => "The type of an index: `json`",
        "name" => "The name of an index",
        "file" => "A file of the dashboard; empty for its page",
        "partition" => "A partition: what stands before the colon in ids",
        "view" => "The name of a view",
        "function" => "The name of a function",
        _ => "What the endpoint takes",
    }
}

pub(super) fn of_param(param: &Param) -> Parameter {
    let place = match param.place {
        Place::Query => ParameterIn::Query,
        Place::Header => ParameterIn::Header,
    };
    let made = ParameterBuilder::new()
        .name(param.name)
        .parameter_in(place)
        .required(if param.required { Required::True } else { Required::False })
        .description(Some(param.what));
    match param.kind {
        Kind::Text => made.schema(Some(of_type(Type::String))),
        Kind::Flag => made.schema(Some(of_type(Type::Boolean))),
        Kind::Number => made.schema(Some(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).build())),
        Kind::OneOf(words) => {
            let words = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied()));
            made.schema(Some(words.build()))
        }
        Kind::Json => {
            let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue).build();
            made.content(JSON, Content::new(Some(Schema::Object(any))))
        }
    }
    .build()
}

fn of_type(of: Type) -> Schema {
    Schema::Object(ObjectBuilder::new().schema_type(of).build())
}
