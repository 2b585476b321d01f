//! The answers that the API's script pins, against the shapes; and the examples, which are some of them.
//!
//! `UPDATE=1` takes the examples anew from the script.

use std::collections::BTreeMap;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::super::super::target::Target;
use super::super::document::{examples, operation_id};
use super::{operation, shown};

static SCRIPT: &str = include_str!("../../../../tests/api/script.txt");
/// Longer texts explain nothing.
const EXAMPLE_BYTES_MAX: usize = 1500;
/// Objects whose other members are anybody's.
const OPEN: [&str; 3] = ["Document", "Security", "SecurityList"];

/// A step of the script.
struct Step {
    title: &'static str,
    method: &'static str,
    template: &'static str,
    request: &'static str,
    status: u16,
    kind: Option<&'static str>,
    answer: &'static str,
}

fn steps() -> Vec<Step> {
    SCRIPT.split("### ").skip(1).filter_map(step).collect()
}

fn step(text: &'static str) -> Option<Step> {
    let (title, rest) = text.split_once('\n')?;
    let (asked, answered) = rest.split_once("\n---")?;
    let begin = asked.find(|c: char| c != '\n').unwrap_or(0);
    let mut asked = &asked[begin..];
    while asked.starts_with('#') {
        asked = asked.split_once('\n')?.1;
    }
    let (head, request) = asked.split_once("\n\n").unwrap_or((asked, ""));
    let (method, path) = head.lines().next()?.split_once(' ')?;
    let path = path.split('?').next()?;
    let (head, answer) = answered.trim().split_once("\n\n").unwrap_or((answered.trim(), ""));
    let mut head = head.lines();
    let status = head.next()?.parse().ok()?;
    let kind = head.find_map(|line| line.strip_prefix("content-type: "))?.split(';').next();
    let template = Target::parse(path).route();
    Some(Step { title, method, template, request: request.trim(), status, kind, answer: answer.trim() })
}

/// The document's schemas, with every object closed that is not said to be open: what an answer has, its shape has.
fn closed(document: &Value) -> Value {
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(members) => {
                members.values_mut().for_each(close);
                if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                    members.insert("additionalProperties".to_owned(), json!(false));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }
    let mut components = document["components"].clone();
    let schemas = components["schemas"].as_object_mut().expect("schemas");
    for (name, schema) in schemas.iter_mut().filter(|(name, _)| !OPEN.contains(&name.as_str())) {
        // What is made of several shapes is closed as a whole.
        if schema.get("allOf").is_none() && name != "ReplicaDisk" {
            close(schema);
        }
    }
    components
}

/// Holds texts against a schema of the document.
fn validator(components: &Value, schema: &Value) -> Validator {
    let mut root = schema.as_object().expect("a schema").clone();
    root.insert("components".to_owned(), components.clone());
    jsonschema::draft202012::new(&Value::Object(root)).expect("a schema")
}

fn wrong(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The schema of an answer in JSON.
fn schema_of(operation: &Value, status: u16) -> Option<&Value> {
    operation["responses"].get(status.to_string())?.get("content")?.get("application/json")?.get("schema")
}

#[test]
fn pinned_answers_have_the_shapes_described() {
    let document = shown();
    let components = closed(&document);
    let refusal = validator(&components, &json!({"$ref": "#/components/schemas/Error"}));
    let mut compared = 0;
    let mut differences = Vec::new();
    for step in steps().iter().filter(|step| step.template != "other" && step.method != "HEAD") {
        let told = format!("{}: {} {}: {}", step.title, step.method, step.template, step.status);
        let Some(operation) = operation(&document, step.template, step.method) else {
            if ![400, 401, 404, 405].contains(&step.status) {
                differences.push(format!("{told}: not described"));
            }
            continue;
        };
        // Files, streams of lines, answers without a body.
        let is_json = step.kind == Some("application/json") && step.answer.lines().count() == 1;
        let answer = match serde_json::from_str::<Value>(step.answer) {
            Ok(answer) => answer,
            Err(error) if is_json => panic!("{told}: {error}"),
            Err(_) => continue,
        };
        let schema = schema_of(operation, step.status);
        let found = match schema {
            // A batch that was refused may say so in its rows.
            _ if step.status >= 400 && answer.is_object() => wrong(&refusal, &answer),
            Some(schema) => wrong(&validator(&components, schema), &answer),
            None => vec!["not described".to_owned()],
        };
        differences.extend(found.iter().map(|wrong| format!("{told}: {wrong}")));
        compared += 1;
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared > 100, "{compared} answers were compared");
}

#[test]
fn examples_are_pinned_answers() {
    let document = shown();
    let mut taken: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    let mut anew: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for step in steps().iter().filter(|step| step.status < 400) {
        let Some(operation) = operation(&document, step.template, step.method) else { continue };
        let Ok(answer) = serde_json::from_str::<Value>(step.answer) else { continue };
        let request = serde_json::from_str::<Value>(step.request).ok();
        let id = operation_id(step.method, step.template);
        let seen = taken.entry(format!("{id} {}", step.status)).or_default();
        seen.1.push(answer.clone());
        let long = step.answer.len().max(step.request.len()) > EXAMPLE_BYTES_MAX;
        if long || step.request.contains("${") || schema_of(operation, step.status).is_none() {
            continue;
        }
        let takes = operation.get("requestBody").is_some();
        let example = anew.entry(id).or_default();
        if let Some(request) = request.filter(|_| takes) {
            example.entry("request").or_insert(request);
        }
        let answers = example.entry("answers").or_insert_with(|| json!({}));
        answers.as_object_mut().expect("made so").entry(step.status.to_string()).or_insert(answer);
    }
    if std::env::var_os("UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/openapi/examples.json");
        let text = serde_json::to_string_pretty(&anew).expect("JSON") + "\n";
        std::fs::write(path, text).expect("written");
        return;
    }
    let mut compared = 0;
    for (id, example) in examples() {
        for (status, answer) in example.answers {
            let pinned = taken.get(&format!("{id} {status}"));
            assert!(pinned.is_some_and(|(_, pinned)| pinned.contains(&answer)), "{id} {status} is not in the script");
            compared += 1;
        }
    }
    assert!(compared > 40, "{compared} examples");
}

#[test]
fn examples_have_the_shapes_described() {
    let document = shown();
    let mut compared = 0;
    each_example(&document, &mut |schema, example| {
        let validator = validator(&document["components"], schema);
        assert_eq!(wrong(&validator, example), [""; 0], "{example}");
        compared += 1;
    });
    assert!(compared > 60, "{compared} examples");
}

/// All examples beside a schema, wherever they stand.
fn each_example(value: &Value, take: &mut impl FnMut(&Value, &Value)) {
    match value {
        Value::Object(members) => {
            if let (Some(schema), Some(example)) = (members.get("schema"), members.get("example")) {
                take(schema, example);
            }
            members.iter().filter(|(name, _)| *name != "example").for_each(|(_, member)| each_example(member, take));
        }
        Value::Array(items) => items.iter().for_each(|item| each_example(item, take)),
        _ => {}
    }
}
