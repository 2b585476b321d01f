//! JSON values as CouchDB prints them in its reasons: as Erlang terms. Clients compare these texts.

use std::fmt::Write;

use super::value::Value;

/// The term of a value, as Erlang's `~w` prints it: `{[{<<102,111,111>>,1}]}`.
pub fn plain(value: &Value<'_>) -> String {
    let mut out = String::new();
    write(&mut out, value, &bytes);
    out
}

/// The term of a value, as Erlang's `~p` prints it: `{[{<<"foo">>,1}]}`.
pub fn pretty(value: &Value<'_>) -> String {
    let mut out = String::new();
    write(&mut out, value, &quoted);
    out
}

type Text<'a> = &'a dyn Fn(&mut String, &str);

fn write(out: &mut String, value: &Value<'_>, text: Text<'_>) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) if number.is_integer() => out.push_str(number.text()),
        Value::Number(number) => out.push_str(&float(number.nearest())),
        Value::String(string) => text(out, string),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                separate(out, at);
                write(out, item, text);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push_str("{[");
            for (at, (name, value)) in members.iter().enumerate() {
                separate(out, at);
                out.push('{');
                text(out, name);
                out.push(',');
                write(out, value, text);
                out.push('}');
            }
            out.push_str("]}");
        }
    }
}

fn separate(out: &mut String, at: usize) {
    if at > 0 {
        out.push(',');
    }
}

fn bytes(out: &mut String, text: &str) {
    let list: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
    push(out, format_args!("<<{}>>", list.join(",")));
}

fn quoted(out: &mut String, text: &str) {
    match text {
        "" => out.push_str("<<>>"),
        text if text.chars().all(|char| (' '..='~').contains(&char)) => {
            push(out, format_args!("<<\"{}\">>", text.replace('\\', "\\\\").replace('"', "\\\"")));
        }
        text => bytes(out, text),
    }
}

/// Erlang writes a fraction before an exponent too.
fn float(number: f64) -> String {
    let text = format!("{number:?}");
    match text.split_once('e') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0e{exponent}"),
        _ => text,
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes it");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_look_as_in_couchdbs_reasons() {
        let shown = |text: &str| {
            let value = Value::parse(text.as_bytes()).expect("JSON");
            (plain(&value), pretty(&value))
        };
        let list = r#"[null,true,-1,1.2,"no",{"foo":"bar"},[2]]"#;
        let plain_list = "[null,true,-1,1.2,<<110,111>>,{[{<<102,111,111>>,<<98,97,114>>}]},[2]]";
        assert_eq!(shown(list).0, plain_list);
        assert_eq!(shown(r#"{"foo":"asc","bar":""}"#).1, r#"{[{<<"foo">>,<<"asc">>},{<<"bar">>,<<>>}]}"#);
        assert_eq!(shown("{}").0, "{[]}");
        assert_eq!(shown("1e22").0, "1.0e22");
        assert_eq!(shown("2.0").1, "2.0");
    }
}
