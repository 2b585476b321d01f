use super::*;
use crate::mango::explain;
use crate::mango::index::of_ddoc;
use crate::mango::request::Find;
use crate::mango::value::Value;

/// `ddoc: fields [| partial]`, one a line.
fn indexes(script: &str) -> Vec<Index> {
    let index = |line: &str| {
        let (ddoc, rest) = line.trim().split_once(": ").expect("ddoc: fields");
        let (fields, partial) = rest.split_once(" | ").unwrap_or((rest, "{}"));
        let fields: Vec<String> = fields.split(' ').map(|field| format!("\"{field}\":\"asc\"")).collect();
        let body = format!(
            "{{\"language\":\"query\",\"views\":{{\"{ddoc}\":{{\"map\":{{\"fields\":{{{}}},\
             \"partial_filter_selector\":{partial}}},\"options\":{{}}}}}}}}",
            fields.join(",")
        );
        let definition = of_ddoc(body.as_bytes()).pop().expect("an index");
        Index { ddoc: format!("_design/{ddoc}").into(), definition }
    };
    script.lines().filter(|line| !line.trim().is_empty()).map(index).collect()
}

struct Asked {
    find: Find,
    indexes: Vec<Index>,
}

impl Asked {
    fn new(indexes_of: &str, body: &str) -> Self {
        let find = Find::of(Value::parse(body.as_bytes()).expect("JSON"), None).expect("a query");
        Self { find, indexes: indexes(indexes_of) }
    }

    fn query(&self) -> Query<'_> {
        Query {
            selector: &self.find.selector,
            sort: &self.find.sort,
            projection: &self.find.projection,
            use_index: self.find.use_index.as_ref(),
            allow_fallback: self.find.allow_fallback,
            partition: None,
            partitioned: false,
        }
    }
}

/// The design document of the index chosen, and the keys it is read from and to.
fn chosen(indexes: &str, body: &str) -> String {
    let asked = Asked::new(indexes, body);
    match choose(&asked.query(), &asked.indexes, false) {
        Err(error) => format!("{}: {error}", error.name()),
        Ok((None, _)) => "none".to_owned(),
        Ok((Some(plan), _)) => {
            let (low, high) = explain::keys(&plan);
            let name = plan.index.map_or("_all_docs", |index| &index.definition.name);
            let marks = [(plan.covering, " covering"), (plan.descending, " down"), (plan.nothing, " nothing")];
            let marks: String = marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect();
            format!("{name} {low} {high}{marks}")
        }
    }
}

const NAMES: &str = "
    aaa: name age user_id
    bbb: name age
    zzz: name";

#[test]
fn the_index_that_narrows_most_is_chosen_then_the_smallest_then_the_first() {
    for (body, choice) in [
        (r#"{"selector":{"name":"Eddie"}}"#, r#"zzz ["Eddie"] ["Eddie","<MAX>"]"#),
        (r#"{"selector":{"name":"Eddie","age":{"$gte":12}}}"#, r#"bbb ["Eddie",12] ["Eddie","<MAX>"]"#),
        (r#"{"selector":{"name":"Eddie","number":{"$lte":12}}}"#, r#"zzz ["Eddie"] ["Eddie","<MAX>"]"#),
        (r#"{"selector":{"name":"Eddie","age":1},"sort":["age"]}"#, r#"bbb ["Eddie",1] ["Eddie",1,"<MAX>"]"#),
        (r#"{"selector":{"name":"Eddie"},"sort":[{"name":"desc"}]}"#, r#"zzz ["Eddie","<MAX>"] ["Eddie"] down"#),
        (r#"{"selector":{"name":{"$exists":true}}}"#, r#"zzz [] ["<MAX>"]"#),
        (r#"{"selector":{"name":{"$exists":false}}}"#, r#"_all_docs null "<MAX>""#),
        (r#"{"selector":{"name":{"$ne":1}}}"#, r#"zzz [] ["<MAX>"]"#),
        (r#"{"selector":{"name":"x"},"fields":["_id","name"]}"#, r#"zzz ["x"] ["x","<MAX>"] covering"#),
        (r#"{"selector":{"name":"x"},"fields":["age"]}"#, r#"zzz ["x"] ["x","<MAX>"]"#),
        (r#"{"selector":{"$or":[{"name":"a"},{"name":"b"}]}}"#, r#"zzz [] ["<MAX>"]"#),
        (r#"{"selector":{"$or":[{"name":"a"},{"age":1}]}}"#, r#"_all_docs null "<MAX>""#),
        (r#"{"selector":{"name":{"$beginsWith":"A"}}}"#, "zzz [\"A\"] [\"A\u{ffff}\",\"<MAX>\"]"),
        (r#"{"selector":{"name":{"$gt":1,"$lt":1}}}"#, "zzz null null nothing"),
        (r#"{"selector":{"$or":[]}}"#, "zzz null null nothing"),
        // Nothing wants these fields to be there, however empty the list of alternatives is.
        (r#"{"selector":{"x":1,"$or":[]}}"#, r#"_all_docs null "<MAX>""#),
    ] {
        assert_eq!(chosen(NAMES, body), choice, "{body}");
    }
}

#[test]
fn all_documents_are_read_by_id() {
    for (body, choice) in [
        (r#"{"selector":{}}"#, r#"_all_docs null "<MAX>""#),
        (r#"{"selector":{"_id":{"$gt":"a"}}}"#, r#"_all_docs "a" "<MAX>""#),
        (r#"{"selector":{"_id":{"$lt":"a"}}}"#, r#"_all_docs "" "a""#),
        (r#"{"selector":{"_id":"a"}}"#, r#"_all_docs "a" "a""#),
        (r#"{"selector":{"_id":{"$gt":null}},"sort":[{"_id":"desc"}]}"#, r#"_all_docs "<MAX>" null down"#),
        (
            r#"{"selector":{"a":1},"sort":["_id"]}"#,
            "no_usable_index: No index exists for this sort, try indexing by the sort fields.",
        ),
    ] {
        assert_eq!(chosen("", body), choice, "{body}");
    }
}

#[test]
fn an_order_needs_an_index_that_gives_it() {
    let three = "cars: cars age name";
    for (body, choice) in [
        (r#"{"selector":{"cars":2,"age":{"$gt":1},"name":"x"},"sort":["age"]}"#, "cars"),
        (r#"{"selector":{"cars":2,"age":10,"name":{"$gt":"A"}},"sort":["name"]}"#, "cars"),
        (r#"{"selector":{"cars":{"$gt":1},"age":10,"name":"x"},"sort":["cars","name"]}"#, "no_usable_index:"),
        (r#"{"selector":{"cars":{"$gt":1},"age":10,"name":"x"},"sort":["name"]}"#, "no_usable_index:"),
        // What is sorted by is wanted to be there.
        (r#"{"selector":{"x":1},"sort":["cars","age","name"]}"#, "cars"),
    ] {
        let (first, _) = chosen(three, body).split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("words");
        assert_eq!(first, choice, "{body}");
    }
}

#[test]
fn an_index_asked_for_is_preferred_and_another_one_will_do_if_allowed() {
    let invalid = |name: &str| {
        format!("invalid_index: {name} specified by `use_index` could not be found or it is not suitable.")
    };
    let partial = format!("{NAMES}\npart: name | {{\"name\":{{\"$gt\":\"M\"}}}}");
    for (body, choice) in [
        (r#"{"selector":{"name":"E","age":1},"use_index":"zzz"}"#, r#"zzz ["E"] ["E","<MAX>"]"#.to_owned()),
        (r#"{"selector":{"name":"E"},"use_index":["_design/zzz","zzz"]}"#, r#"zzz ["E"] ["E","<MAX>"]"#.to_owned()),
        (r#"{"selector":{"name":"E"},"use_index":"nope"}"#, r#"zzz ["E"] ["E","<MAX>"]"#.to_owned()),
        (r#"{"selector":{"name":"E"},"use_index":"nope","allow_fallback":false}"#, invalid("_design/nope")),
        (r#"{"selector":{"name":"E"},"use_index":["bbb","x"],"allow_fallback":false}"#, invalid("_design/bbb, x")),
        (
            r#"{"selector":{"x":"E"},"allow_fallback":false}"#,
            "invalid_index: You must specify an index with the `use_index` parameter.".to_owned(),
        ),
        (r#"{"selector":{"name":"E"},"allow_fallback":false}"#, r#"zzz ["E"] ["E","<MAX>"]"#.to_owned()),
        (r#"{"selector":{"name":"E"},"use_index":"part"}"#, r#"part ["E"] ["E","<MAX>"]"#.to_owned()),
    ] {
        assert_eq!(chosen(&partial, body), choice, "{body}");
    }
}

#[test]
fn the_candidates_are_those_a_couchdb_told() {
    let fields = |fields: &str| format!("{{\"language\":\"query\",\"views\":{{{fields}}}}}");
    let view = |name: &str, map: &str| fields(&format!("\"{name}\":{{\"map\":{map},\"options\":{{}}}}"));
    let named = "3bcbdb398790c895fc969878e279a443e2913eed";
    let ddocs = [
        ("nd", view("n-idx", r#"{"fields":{"n":"asc"}}"#)),
        (
            "3e3ef3a27aba0796a0a91697b165b9ca9bac836c",
            view("pn", r#"{"fields":{"n":"asc"},"partial_filter_selector":{"n":{"$gt":2}}}"#),
        ),
        (named, view(named, r#"{"fields":{"n":"desc"}}"#)),
    ];
    let index = |(ddoc, body): (&str, String)| Index {
        ddoc: format!("_design/{ddoc}").into(),
        definition: of_ddoc(body.as_bytes()).pop().expect("an index"),
    };
    let mut asked = Asked::new("", r#"{"selector":{"n":{"$gte":1}}}"#);
    asked.indexes = ddocs.into_iter().map(index).collect();
    let (plan, trace) = choose(&asked.query(), &asked.indexes, true).expect("a plan");
    let plan = plan.expect("an index");
    assert_eq!(plan.index.map(|index| &*index.definition.name), Some(named));
    assert_eq!(explain::keys(&plan), ("[1]".to_owned(), "[\"<MAX>\"]".to_owned()));
    let told = r#"[{"index":{"ddoc":"_design/nd","name":"n-idx","type":"json","partitioned":false,"def":{"fields":[{"n":"asc"}]}},"analysis":{"usable":true,"reasons":[{"name":"alphabetically_comes_after"}],"ranking":1,"covering":false}},{"index":{"ddoc":"_design/3e3ef3a27aba0796a0a91697b165b9ca9bac836c","name":"pn","type":"json","partitioned":false,"def":{"fields":[{"n":"asc"}],"partial_filter_selector":{"n":{"$gt":2}}}},"analysis":{"usable":false,"reasons":[{"name":"is_partial"}],"ranking":3,"covering":false}},{"index":{"ddoc":null,"name":"_all_docs","type":"special","def":{"fields":[{"_id":"asc"}]}},"analysis":{"usable":true,"reasons":[{"name":"unfavored_type"}],"ranking":2,"covering":null}}]"#;
    assert_eq!(explain::candidates(&trace), told);
    let hints = r#"[{"type":"json","indexable_fields":["n"],"unindexable_fields":[]}]"#;
    assert_eq!(explain::hints(&asked.query()), hints);
}

#[test]
fn what_cannot_be_used_says_why() {
    let reasons = |body: &str| {
        let asked = Asked::new(NAMES, body);
        let (_, trace) = choose(&asked.query(), &asked.indexes, true).expect("told, not refused");
        let told = Value::parse(explain::candidates(&trace).as_bytes()).expect("JSON").into_owned();
        let Value::Array(list) = told else { panic!("a list") };
        let one = |candidate: &Value<'_>| {
            let name = candidate.get("index").and_then(|index| index.get("name")).map(Value::to_json);
            let analysis = candidate.get("analysis").expect("an analysis");
            let ranking = analysis.get("ranking").map(Value::to_json).expect("a place");
            let reason = analysis.get("reasons").map(Value::to_json).expect("a reason");
            format!("{} {ranking} {reason}", name.expect("a name").trim_matches('"'))
        };
        list.iter().map(one).collect::<Vec<_>>()
    };
    let reason = |text: &str| text.replace('<', r#"[{"name":""#).replace('>', r#""}]"#);
    let told = ["zzz 1 <excluded_by_user>", "aaa 1 <excluded_by_user>", "_all_docs 1 <excluded_by_user>"];
    assert_eq!(reasons(r#"{"selector":{"name":1,"age":1,"user_id":1},"use_index":"bbb"}"#), told.map(reason).to_vec());
    let told =
        ["zzz 1 <field_mismatch>", "bbb 1 <field_mismatch>", "aaa 1 <field_mismatch>", "_all_docs 1 <field_mismatch>"];
    assert_eq!(reasons(r#"{"selector":{"x":1},"sort":["y"]}"#), told.map(reason).to_vec());
}

#[test]
fn no_index_of_conflicts_is_read() {
    let of_conflicts = "con: _conflicts\n nco: n _conflicts\n n: n";
    let told = chosen(of_conflicts, r#"{"selector":{"_conflicts":{"$exists":true}},"conflicts":true}"#);
    assert!(told.starts_with("_all_docs"), "{told}");
    let told = chosen(of_conflicts, r#"{"selector":{"n":1,"_conflicts":{"$exists":true}},"conflicts":true}"#);
    assert!(told.starts_with("n "), "{told}");
}
