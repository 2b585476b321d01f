//! What the door lets through, and what it says to the rest.

use xxhash_rust::xxh3::xxh3_128;

use super::*;

const LIMITS: ParseLimits = ParseLimits { depth_max: 8 };

fn parsed(text: &str) -> Result<Parsed, Error> {
    parse(Bytes::copy_from_slice(text.as_bytes()), LIMITS)
}

fn body(text: &str) -> String {
    let body = parsed(text).unwrap_or_else(|error| panic!("{text}: {error}")).body;
    assert_eq!(body.digest, xxh3_128(&body.json).to_be_bytes());
    String::from_utf8(body.json.to_vec()).expect("JSON is UTF-8")
}

#[test]
fn text_without_special_members_is_kept_to_the_letter_without_a_copy() {
    let text = Bytes::from_static(
        b" {\"n\": 12345678901234567890, \"e\":1e400,\t\"z\":-0.0, \"o\":1.0,\n \"\\u0061\\/\":\"\\ud83d\\ude00\" } ",
    );
    let body = parse(text.clone(), LIMITS).expect("valid").body.json;
    assert_eq!(body, text.trim_ascii());
    assert_eq!(body.as_ptr(), text[1..].as_ptr());
}

#[test]
fn special_members_are_split_off_and_the_rest_keeps_its_text_and_order() {
    let told = parsed(
        r#"{ "z": 1.0 , "_id":"a\u0062","y" :[ ] ,"x":2, "_rev":"3-ccc", "_deleted":true,
           "_revisions":{"start":3,"ids":["ccc","bbb"]},"_attachments":{"f": 1},"_local_seq":7,"":{} }"#,
    )
    .expect("valid");
    assert_eq!(&told.body.json[..], br#"{"z": 1.0,"y" :[ ] ,"x":2,"":{}}"#);
    assert_eq!(told.id.as_deref(), Some("ab"));
    assert_eq!(told.rev, Rev::parse("3-ccc").ok());
    assert!(told.deleted);
    assert_eq!(told.revisions, Some((3, vec!["ccc".to_owned(), "bbb".to_owned()])));
    assert_eq!(told.attachments.as_deref(), Some(&br#"{"f": 1}"#[..]));
    assert_eq!(body(r#"{"_id":"a"}"#), "{}");
    assert_eq!(body(r#"{"\u005fid":"a","b":1}"#), r#"{"b":1}"#);
    assert_eq!(body(r#"{"_revs_info":[],"_conflicts":[],"_deleted_conflicts":[]}"#), "{}");
    assert_eq!(body(r#"{"_id":"r","_replication_state":"error"}"#), r#"{"_replication_state":"error"}"#);
}

#[test]
fn path_is_what_revisions_say_and_else_the_revision() {
    let path =
        |text| parsed(text).expect("valid").path().map(|path| path.iter().map(Rev::to_string).collect::<Vec<_>>());
    let told = path(r#"{"_rev":"9-z","_revisions":{"start":3,"ids":["c","b"]}}"#);
    assert_eq!(told, Some(vec!["3-c".to_owned(), "2-b".to_owned()]));
    assert_eq!(path(r#"{"_rev":"9-z","_revisions":{"start":0,"ids":[]}}"#), Some(vec!["9-z".to_owned()]));
    assert_eq!(path("{}"), None);
}

#[test]
fn text_that_is_not_json_is_refused_whatever_else_is_wrong_with_it() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "{]",
        "nul",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "[1,]",
        "{} {}",
        "{}x",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":-}",
        "{\"a\":1e}",
        "{\"a\":1e+}",
        "{\"a\":0x1}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{\"a\":-Infinity}",
        "{\"a\":-NaN}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\u{0}\"}",
        "{\"a\n\":1}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\\ud800\"}",
        "{\"\\ud800\":1}",
        "{\"a\":\"b}",
        "\u{feff}{}",
        "{\"a\":1 \"b\":2}",
        "{\"a\" 1}",
        "/**/{}",
        "{\"a\":tru}",
        "\u{a0}{}",
        "{\"_foo\":1,\"a\":}",
        "{\"a\":1,\"a\":2",
        "{\"_rev\":5}}",
        "{\"_id\":5,}",
        "[1",
        "\"a",
    ] {
        assert_eq!(parsed(text), Err(Error::Malformed), "{text:?}");
    }
    for bytes in [
        &b"{\"a\":\"\xff\"}"[..],
        b"{\"\xc3\":1}",
        b"{\"a\":\"\xed\xa0\x80\"}",
        b"{\"a\":\"\xc0\xaf\"}",
        b"\xff",
        b"{\xa0}",
    ] {
        assert_eq!(parse(Bytes::copy_from_slice(bytes), LIMITS), Err(Error::Malformed), "{bytes:?}");
    }
}

#[test]
fn refusals_have_the_names_and_texts_of_couchdb() {
    for (text, name, reason) in [
        ("{", "bad_request", "invalid UTF-8 JSON"),
        ("[1]", "bad_request", "Document must be a JSON object"),
        ("null", "bad_request", "Document must be a JSON object"),
        (r#""{}""#, "bad_request", "Document must be a JSON object"),
        (r#"{"_foo":1}"#, "doc_validation", "Bad special document member: _foo"),
        (r#"{"_":1}"#, "doc_validation", "Bad special document member: _"),
        (r#"{"_attachments":[]}"#, "doc_validation", "Bad special document member: _attachments"),
        (r#"{"_rev":"x"}"#, "bad_request", "Invalid rev format"),
        (r#"{"_rev":null}"#, "bad_request", "Invalid rev format"),
        (r#"{"_id":7}"#, "illegal_docid", "Document id must be a string"),
        (r#"{"_deleted":1}"#, "bad_request", "`_deleted` must be a boolean."),
        (r#"{"_revisions":1}"#, "doc_validation", "Bad special document member: _revisions"),
        (r#"{"_revisions":{"ids":[]}}"#, "doc_validation", "_revisions.start isn't an integer."),
        (r#"{"_revisions":{"start":1.5,"ids":[]}}"#, "doc_validation", "_revisions.start isn't an integer."),
        (r#"{"_revisions":{"start":1}}"#, "doc_validation", "_revisions.ids isn't a array."),
        (r#"{"_revisions":{"start":1,"ids":[1]}}"#, "doc_validation", "RevId isn't a string"),
        (
            r#"{"_revisions":{"start":1,"ids":["b","a"]}}"#,
            "doc_validation",
            "_revisions.ids has more revisions than _revisions.start",
        ),
    ] {
        let error = parsed(text).expect_err(text);
        assert_eq!((error.name(), error.to_string().as_str()), (name, reason), "{text}");
    }
}

#[test]
fn a_key_stands_in_an_object_once_however_it_is_spelled() {
    for (text, key) in [
        (r#"{"a":1,"a":1}"#, "a"),
        (r#"{"a":1,"b":2,"\u0061":1}"#, "a"),
        (r#"{"x":[{"y":{"\n":1,"\u000a":2}}]}"#, "\n"),
        (r#"{"_id":"a","_id":"a"}"#, "_id"),
        (r#"{"\/":1,"/":1}"#, "/"),
        (r#"{"":1,"":1}"#, ""),
        (r#"{"a":1,"b":{"c":1},"a":1}"#, "a"),
    ] {
        assert_eq!(parsed(text), Err(Error::DuplicateKey { key: key.to_owned() }), "{text}");
    }
    for text in
        [r#"{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}"#, r#"{"a":1,"A":1,"a ":1}"#, r#"{"\\":1,"\"":2,"\\\"":3}"#]
    {
        assert_eq!(body(text), text);
    }
}

#[test]
fn depth_is_counted_from_the_document() {
    let nested = |depth: usize, open: &str, close: &str| {
        let inner = depth - 1;
        format!("{{\"d\":{}0{}}}", open.repeat(inner), close.repeat(inner))
    };
    for (open, close) in [("[", "]"), ("{\"d\":", "}")] {
        assert!(parsed(&nested(8, open, close)).is_ok());
        assert_eq!(parsed(&nested(9, open, close)), Err(Error::TooDeep { max: 8 }));
        // The body of a bulk request has two containers around each document.
        let bulk = |depth| parse_bulk(format!("{{\"docs\":[{}]}}", nested(depth, open, close)).into(), LIMITS);
        assert!(bulk(8).is_ok());
        assert_eq!(bulk(9), Err(Error::TooDeep { max: 8 }));
    }
    assert_eq!(parsed("{\"d\":[[[[[[[[]]]]]]]]}"), Err(Error::TooDeep { max: 8 }), "empty containers count");
    let abyss = "[".repeat(1_000_000);
    assert_eq!(parsed(&abyss), Err(Error::TooDeep { max: 8 }));
    assert_eq!(parse(abyss.into(), ParseLimits { depth_max: usize::MAX }), Err(Error::Malformed));
}

#[test]
fn numbers_are_bounded_by_their_digits_only() {
    let number = |digits| format!("{{\"n\":{}}}", "7".repeat(digits));
    assert_eq!(body(&number(4300)), number(4300));
    assert_eq!(parsed(&number(4301)), Err(Error::NumberTooLong));
}

#[test]
fn bulk_documents_are_slices_of_the_request() {
    let text = Bytes::from_static(br#" {"w":3,"docs":[{"a":1}, {"_id":"x","b":2.0}],"new_edits":false} "#);
    let bulk = parse_bulk(text.clone(), LIMITS).expect("valid");
    assert!(!bulk.new_edits);
    assert_eq!(bulk.docs.len(), 2);
    assert_eq!(bulk.docs[0].body.json.as_ptr(), text[16..].as_ptr());
    assert_eq!(&bulk.docs[1].body.json[..], br#"{"b":2.0}"#);
    assert!(parse_bulk(Bytes::from_static(b"{\"docs\":[]}"), LIMITS).is_ok_and(|bulk| bulk.new_edits));
}

#[test]
fn bulk_refusals_have_the_texts_of_couchdb() {
    for (text, reason) in [
        ("[]", "Request body must be a JSON object"),
        ("{}", "POST body must include `docs` parameter."),
        (r#"{"docs":{}}"#, "`docs` parameter must be an array."),
        (r#"{"docs":[],"new_edits":0}"#, "`new_edits` parameter must be a boolean."),
        (r#"{"docs":[],"atomic":1}"#, "`atomic` parameter must be a boolean."),
        (r#"{"docs":[{},1]}"#, "Document must be a JSON object"),
        (r#"{"docs":[{},{"_x":1},{"a":1,"a":2}]}"#, "Bad special document member: _x"),
        (r#"{"docs":[{}],"docs":[]}"#, "Duplicate key in a JSON object: docs"),
        (r#"{"docs":[{"_x":1}"#, "invalid UTF-8 JSON"),
        ("", "invalid UTF-8 JSON"),
    ] {
        let error = parse_bulk(Bytes::from_static(text.as_bytes()), LIMITS).expect_err(text);
        assert_eq!(error.to_string(), reason, "{text}");
    }
}

#[test]
fn rendering_puts_the_special_members_around_the_body() {
    let shown = |id, rev, deleted, extra: &[(&str, &str)], json: &str| {
        let mut out = b"x".to_vec();
        render(&mut out, id, &Rev::parse(rev).expect("valid"), deleted, extra, json.as_bytes());
        String::from_utf8(out).expect("UTF-8")
    };
    let rev = "1-731bef401491606a3b246ed178e697c1";
    assert_eq!(shown("a", rev, false, &[], "{}"), format!(r#"x{{"_id":"a","_rev":"{rev}"}}"#));
    assert_eq!(
        shown("\"é\n", "2-b\"", true, &[("_conflicts", r#"["1-a"]"#)], " { \"n\" : 1.0, \"m\":{} }"),
        r#"x{"_id":"\"é\n","_rev":"2-b\"","_deleted":true,"n" : 1.0, "m":{},"_conflicts":["1-a"]}"#
    );
}
