//! The descriptions against the routes, and against the answers that the API's script pins.

mod pinned;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use http::Method;
use serde_json::{Value, json};

use super::super::target::{OfDesign, OfPartition, Refused, Scheduled, Target};
use super::document::{document, operation_id};
use super::routes::{Named, Route, UNSERVED};

/// Of which route a target is; no rest, so that a new kind of target does not compile until it is described.
fn route_of(target: &Target) -> Option<Route> {
    Some(match target {
        Target::Server(server) => Route::Server(*server),
        Target::Part(_, part) => Route::Part(*part),
        Target::Dashboard(_) => Route::Named(Named::Dashboard),
        Target::Db(_) | Target::BadDb(_) => Route::Named(Named::Db),
        Target::Doc(..) | Target::BadDoc(..) => Route::Named(Named::Doc),
        Target::Local(..) | Target::BadLocal(..) => Route::Named(Named::Local),
        Target::Attachment(..) => Route::Named(Named::Attachment),
        Target::Index(..) => Route::Named(Named::Index),
        Target::ShardOf(..) => Route::Named(Named::ShardOf),
        Target::Partition(_, _, asked) => Route::Named(match asked {
            OfPartition::Nothing | OfPartition::Info => Named::Partition,
            OfPartition::AllDocs => Named::PartitionAllDocs,
            OfPartition::Changes => Named::PartitionChanges,
            OfPartition::Index => Named::PartitionIndex,
            OfPartition::Find => Named::PartitionFind,
            OfPartition::Explain => Named::PartitionExplain,
        }),
        Target::Scheduled(Scheduled::Job(_)) => Route::Named(Named::ScheduledJob),
        Target::Scheduled(Scheduled::Doc(..)) => Route::Named(Named::ScheduledDoc),
        Target::OfDesign(_, _, asked) => Route::Named(match asked {
            OfDesign::View(_) => Named::View,
            OfDesign::Queries(_) => Named::ViewQueries,
            OfDesign::Info => Named::DesignInfo,
        }),
        Target::PartitionView(..) => Route::Named(Named::PartitionView),
        Target::Refused(_) => return None,
    })
}

fn shown() -> Value {
    serde_json::to_value(document()).expect("it becomes JSON")
}

/// The operation of a path and method, wherever it stands.
fn operation<'d>(document: &'d Value, template: &str, method: &str) -> Option<&'d Value> {
    let path = document["paths"].get(template)?;
    path.get(method.to_ascii_lowercase()).or_else(|| path.get("x-additionalOperations")?.get(method))
}

/// The methods of a path.
fn methods(document: &Value, template: &str) -> BTreeSet<String> {
    let all = ["GET", "HEAD", "PUT", "POST", "DELETE", "COPY", "PATCH", "OPTIONS", "TRACE"];
    let there = all.into_iter().filter(|method| operation(document, template, method).is_some());
    there.map(str::to_owned).collect()
}

#[test]
fn every_route_and_method_is_described_once() {
    let document = shown();
    let mut templates = BTreeSet::new();
    for route in Route::all() {
        let target = route.sample();
        assert_eq!(route_of(&target), Some(route), "{}", target.route());
        assert!(templates.insert(target.route()), "{} stands twice", target.route());
        let mut served: BTreeSet<String> = target.allow().split(',').map(str::to_owned).collect();
        if served.contains("GET") {
            served.insert("HEAD".to_owned());
        }
        if route == Route::Named(Named::Db) {
            // As CouchDB's `Allow`, ours leaves this one out.
            served.insert("PUT".to_owned());
        }
        assert_eq!(methods(&document, target.route()), served, "{}", target.route());
    }
    for known in &UNSERVED {
        assert!(templates.insert(known.template), "{} stands twice", known.template);
        let path = known.template.replace(['{', '}'], "");
        assert_eq!(Target::parse(&path), Target::Refused(Refused::NotImplemented), "{path}");
    }
    let paths: BTreeSet<&str> = document["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
    assert_eq!(paths, templates);
}

#[test]
fn operations_are_named_once() {
    let document = shown();
    let mut ids = BTreeSet::new();
    for template in document["paths"].as_object().expect("paths").keys() {
        for method in methods(&document, template) {
            let found = operation(&document, template, &method).expect("listed");
            assert_eq!(found["operationId"], json!(operation_id(&method, template)));
            assert!(ids.insert(operation_id(&method, template)), "{method} {template}");
            assert!(Method::from_bytes(method.as_bytes()).is_ok());
        }
    }
}

#[test]
fn who_is_let_in_is_said() {
    let document = shown();
    let said = |template, method| operation(&document, template, method).map(|op| op["x-quorate"]["allowed"].clone());
    assert_eq!(said("/_membership", "GET"), Some(json!(["ServerAdmin"])));
    assert_eq!(said("/{db}/_security", "PUT"), Some(json!(["DbAdmin", "ServerAdmin"])));
    let everybody = json!(["Anonymous", "Guest", "User", "Member", "DbAdmin", "ServerAdmin"]);
    assert_eq!(said("/_openapi.json", "GET"), Some(everybody));
    let security = |template| operation(&document, template, "GET").map(|op| op["security"].clone());
    let named = json!([{"basic": []}, {"cookie": []}, {"bearer": []}]);
    assert_eq!(security("/_membership"), Some(named));
    assert_eq!(security("/_up"), Some(json!([{}])));
}

#[test]
fn what_is_not_served_says_so() {
    let document = shown();
    for (template, method) in [("/_cluster_setup", "POST"), ("/{db}/{doc}", "POST")] {
        let found = operation(&document, template, method).expect("described");
        assert_eq!(found["x-quorate"]["served"], json!(false));
        assert!(found["responses"].get("501").is_some() && found["responses"].get("200").is_none());
    }
}

/// By the validator of the OpenAPI project's own Python community, where it is installed.
#[test]
fn the_document_is_openapi_3_1() {
    let document = shown();
    assert_eq!(document["openapi"], json!("3.1.0"));
    let has = |python: &str| {
        let mut asked = Command::new(python);
        asked.args(["-c", "import openapi_spec_validator"]).stdout(Stdio::null()).stderr(Stdio::null());
        asked.status().is_ok_and(|status| status.success())
    };
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(|python| has(python)) else {
        println!("skipped: no Python with openapi-spec-validator");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("openapi.json");
    std::fs::write(&file, document.to_string()).expect("written");
    let program = "import json, sys\nfrom openapi_spec_validator import OpenAPIV31SpecValidator\n\
                   wrong = list(OpenAPIV31SpecValidator(json.load(open(sys.argv[1]))).iter_errors())\n\
                   print(*wrong[:5], sep='\\n')\nsys.exit(len(wrong) > 0)";
    let found = Command::new(python).args(["-c", program]).arg(&file).output().expect("python runs");
    let told = String::from_utf8_lossy(&found.stdout) + String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "{told}");
}
