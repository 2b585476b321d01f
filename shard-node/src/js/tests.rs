use super::*;

const QUICK: Limits =
    Limits { steps: 200, time: Duration::from_secs(5), memory_bytes: 16 << 20, stack_bytes: 512 << 10 };

fn program(functions: &[&str]) -> Arc<Program> {
    Arc::new(Program { design: "{}".into(), functions: functions.iter().map(|text| (*text).into()).collect() })
}

async fn calls(program: Arc<Program>, verb: Verb, texts: &[&str]) -> Result<Vec<Answer>, Error> {
    let sandbox = Sandbox::start(1, QUICK);
    let calls = texts.iter().map(|text| Call { function: 0, text: (*text).into() }).collect();
    sandbox.call(program, verb, calls).await
}

async fn maps(function: &str, docs: &[&str]) -> Vec<Answer> {
    calls(program(&[function]), Verb::Map, docs).await.expect("compiled")
}

fn rows(json: &str) -> Answer {
    Ok(json.to_owned())
}

#[tokio::test]
async fn a_map_emits_rows_of_json() {
    let function =
        "function (doc) { emit(doc.n, {a: [1.0, 'x', undefined], b: undefined}); emit(); emit(NaN, sum([1, 2])) }";
    let wanted = r#"[[7,{"a":[1,"x",null]}],[null,null],[null,3]]"#;
    assert_eq!(maps(function, &[r#"{"n":7}"#]).await, [rows(wanted)]);
    for function in
        ["doc => emit(doc.n, 1)", "function named(doc) { emit(doc.n, 1) };\n", "(doc) => { emit(doc.n, 1) } // end"]
    {
        assert_eq!(maps(function, &[r#"{"n":7}"#]).await, [rows("[[7,1]]")], "{function}");
    }
    let globals = "function (doc) { emit(toJSON({a:1}), isArray([]) && typeof log === 'function') }";
    assert_eq!(maps(globals, &["{}"]).await, [rows(r#"[["{\"a\":1}",true]]"#)]);
}

#[tokio::test]
async fn what_is_no_function_is_told() {
    for text in ["", "5", "function (doc) {", "nonsense", "'use strict'; x"] {
        let told = calls(program(&["function (doc) {}", text]), Verb::Map, &[]).await.expect_err(text);
        assert!(matches!(&told, Error::Uncompiled(Uncompiled { at: 1, .. })), "{text}: {told:?}");
    }
    let endless = calls(program(&["(function () { for (;;) {} })()"]), Verb::Map, &[]).await;
    assert!(matches!(endless, Err(Error::Uncompiled(_))));
}

#[tokio::test]
async fn a_call_that_fails_does_no_harm_to_the_next() {
    let bad = [
        ("for (;;) {}", "too long"),
        ("var a = []; for (;;) a.push(new Array(1000).fill('x'))", "too large"),
        ("var s = 'x'; for (;;) s += s", "failed"),
        ("(function f() { f() })()", "failed"),
        ("try { for (;;) {} } catch (e) {} finally { for (;;) {} }", "too long"),
        ("throw {a: 1}", "threw"),
        ("nothing.here", "failed"),
        ("/^(a+)+$/.test('a'.repeat(40) + 'b')", "too long"),
        ("emit({toJSON: function () { for (;;) {} }})", "too long"),
        ("var a = []; a[0] = a; emit(a)", "failed"),
        ("emit(10n)", "failed"),
    ];
    for (body, kind) in bad {
        let function = format!("function (doc) {{ if (doc.bad) {{ {body} }} emit(doc.n) }}");
        let answers = maps(&function, &[r#"{"n":1}"#, r#"{"bad":true}"#, r#"{"n":2}"#]).await;
        assert_eq!((&answers[0], &answers[2]), (&rows("[[1,null]]"), &rows("[[2,null]]")), "{body}");
        let told = match &answers[1] {
            Err(Failure::TooLong) => "too long",
            Err(Failure::TooLarge(_)) => "too large",
            Err(Failure::Error { .. }) => "failed",
            Err(Failure::Threw(_)) => "threw",
            Ok(_) => "nothing wrong",
        };
        assert_eq!(told, kind, "{body}: {:?}", answers[1]);
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_call_for_the_next() {
    let state = [
        "n = (typeof n === 'undefined' ? 0 : n) + 1; emit(n)",
        "this.n = (this.n || 0) + 1; emit(this.n)",
        "Array.prototype.n = ([].n || 0) + 1; emit([].n)",
        "Object.prototype.n = ({}.n || 0) + 1; emit({}.n)",
        "var f = arguments.callee; f.n = (f.n || 0) + 1; emit(f.n)",
        "JSON.n = (JSON.n || 0) + 1; emit(JSON.n)",
        "emit.n = (emit.n || 0) + 1; emit(emit.n)",
        "Object.defineProperty(globalThis, 'n', {value: (globalThis.n || 0) + 1}); emit(globalThis.n)",
        "Object.setPrototypeOf(globalThis, {n: (globalThis.n || 0) + 1}); emit(globalThis.n)",
        "(0, eval)('var n = (typeof n === \"undefined\" ? 0 : n) + 1'); emit(n)",
        "Promise.resolve().then(function () { n = 1 }); emit(typeof n)",
        "var g = Object.getPrototypeOf(function* () {}); g.n = (g.n || 0) + 1; emit(g.n)",
        "var i = Object.getPrototypeOf([][Symbol.iterator]()); i.n = (i.n || 0) + 1; emit(i.n)",
        "Object.preventExtensions(globalThis); emit(1)",
        "emit(Math.random())",
    ];
    for body in state {
        let function = format!("function (doc) {{ {body} }}");
        let answers = maps(&function, &["{}", "{}", "{}"]).await;
        assert!(answers[0].is_ok(), "{body}: {:?}", answers[0]);
        assert_eq!((&answers[0], &answers[0]), (&answers[1], &answers[2]), "{body}");
    }
    let closure = "(function () { var n = 0; return function (doc) { emit(++n) } })()";
    assert_eq!(maps(closure, &["{}", "{}"]).await, [rows("[[1,null]]"), rows("[[1,null]]")]);
}

#[tokio::test]
async fn no_function_changes_what_others_are_given() {
    let games = [
        "JSON.stringify = function () { return 'mine' }",
        "emit = function () {}",
        "Object.keys = null",
        "Array.prototype.push = function () {}",
        "Object.prototype.toJSON = function () { return 'mine' }",
        "Reflect.ownKeys = function () { return [] }",
        "globalThis.JSON = null",
    ];
    for game in games {
        let function = format!("function (doc) {{ if (doc.bad) {{ {game} }} emit(doc.n, {{a: [1]}}) }}");
        let answers = maps(&function, &[r#"{"n":1,"bad":true}"#, r#"{"n":2}"#]).await;
        assert_eq!(answers, [rows(r#"[[1,{"a":[1]}]]"#), rows(r#"[[2,{"a":[1]}]]"#)], "{game}");
    }
}

#[tokio::test]
async fn objects_may_have_members_named_like_built_in_ones() {
    let function = "function (doc) { var o = {}; o.constructor = 1; o.toString = 2; o['valueOf'] = 3; \
        var e = new Error('x'); e.name = 'Mine'; e.message = 'y'; emit(o, String(e)) }";
    let wanted = r#"[[{"constructor":1,"toString":2,"valueOf":3},"Mine: y"]]"#;
    assert_eq!(maps(function, &["{}"]).await, [rows(wanted)]);
}

#[tokio::test]
async fn there_is_no_way_out() {
    let names =
        ["process", "require2", "setTimeout", "fetch", "console", "std", "os", "print", "load", "Deno", "performance"];
    let list = names.map(|name| format!("typeof {name}")).join(",");
    let function = format!("function (doc) {{ emit([{list}].join()) }}");
    let wanted = ["undefined"; 11].join(",");
    assert_eq!(maps(&function, &["{}"]).await, [rows(&format!("[[\"{wanted}\",null]]"))]);
    let import = calls(program(&["function (doc) { return import('fs') }"]), Verb::Map, &["{}", "{}"]).await;
    assert!(import.is_ok_and(|answers| answers == [rows("[]"), rows("[]")]));
}

#[tokio::test]
async fn filters_and_validations_see_their_design_document_and_its_modules() {
    let design = r#"{"x":3,"lib":{"a":"exports.n = require('./b').n + 1","b":"exports.n = 1; exports.up = function () { return require('../top') }"},"top":"module.exports = 9"}"#;
    let with = |function: &str| Arc::new(Program { design: design.into(), functions: vec![function.into()] });
    let filter = "function (doc, req) { return doc.n === this.x && req.query.a === 'b' && require('lib/a').n === 2 && require('lib/b').up() === 9 }";
    let answers =
        calls(with(filter), Verb::Filter, &[r#"[{"n":3},{"query":{"a":"b"}}]"#, r#"[{"n":4},{"query":{}}]"#]).await;
    assert_eq!(answers.expect("compiled"), [rows("true"), rows("false")]);
    let validate = "function (doc, old, user, sec) { if (!user.name) throw({unauthorized: 'who?'}); if (old) throw({forbidden: sec.a}); if (doc.n) throw 'text' }";
    let texts = [
        "[{},null,{\"name\":\"a\"},{}]",
        "[{},null,{},{}]",
        r#"[{},{},{"name":"a"},{"a":"no"}]"#,
        r#"[{"n":1},null,{"name":"a"},{}]"#,
    ];
    let threw = |json: &str| Err(Failure::Threw(json.to_owned()));
    let wanted =
        [rows("true"), threw(r#"{"unauthorized":"who?"}"#), threw(r#"{"forbidden":"no"}"#), threw(r#""text""#)];
    for (text, wanted) in texts.iter().zip(wanted) {
        // One at a time: a batch ends with the first that fails.
        assert_eq!(calls(with(validate), Verb::Validate, &[text]).await.expect("compiled"), [wanted], "{text}");
    }
    let missing = calls(with("function () { return require('lib/none') }"), Verb::Filter, &["[{},{}]"]).await;
    assert!(
        matches!(&missing.expect("compiled")[0], Err(Failure::Error { message, .. }) if message.contains("invalid_require_path"))
    );
}

#[tokio::test]
async fn reduces_give_values() {
    let reduce = "function (keys, values, rereduce) { return rereduce ? sum(values) : values.length }";
    let answers = calls(program(&[reduce]), Verb::Reduce, &[r#"[[[1,"a"]],[5],false]"#, "[null,[2,3],true]"]).await;
    assert_eq!(answers.expect("compiled"), [rows("1"), rows("5")]);
}

#[tokio::test]
async fn a_program_that_hangs_leaves_the_others_their_threads() {
    let limits = Limits { steps: 2_000, ..QUICK };
    let sandbox = Sandbox::start(2, limits);
    let endless = vec![Call { function: 0, text: "{}".into() }; 3];
    let hanging = sandbox.call(program(&["function () { for (;;) {} }"]), Verb::Map, endless);
    let quick = sandbox.call(
        program(&["function (doc) { emit(1) }"]),
        Verb::Map,
        vec![Call { function: 0, text: "{}".into() }],
    );
    let (hung, answered) = tokio::join!(hanging, quick);
    assert_eq!(hung.expect("compiled"), vec![Err(Failure::TooLong); 3]);
    assert_eq!(answered.expect("compiled"), [rows("[[1,null]]")]);
    assert_eq!(sandbox.counts().too_long.get(), 3);
}
