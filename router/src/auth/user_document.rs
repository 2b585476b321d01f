//! The rules of documents in `_users`: CouchDB's own, in its words. Pure.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::accounts::ID_PREFIX;
use super::password::{ARGON2ID, Password};

/// Who writes a document.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// The name, if any.
    pub name: Option<&'a str>,
    /// Whether it is a server admin.
    pub admin: bool,
}

/// Checks a new version of the document `id` against the present one (`None` if there is none, or a deleted one).
/// Errors with the reason of the 403. What is deleted is not checked.
pub fn check(id: &str, new: &[u8], old: Option<&[u8]>, writer: Writer<'_>) -> Result<(), String> {
    let read = |json| serde_json::from_slice::<Map<String, Value>>(json).unwrap_or_default();
    let new = read(new);
    let old = old.map(read);
    let (name, roles) = check_shape(id, &new)?;
    if let Some(old) = &old
        && old.get("name") != new.get("name")
    {
        return Err("Usernames can not be changed.".to_owned());
    }
    if !writer.admin {
        check_rights(name, &roles, old.as_ref(), writer)?;
    }
    if roles.iter().any(|role| role.starts_with('_')) {
        return Err("No system roles (starting with underscore) in users db.".to_owned());
    }
    if name.starts_with('_') {
        return Err("Username may not start with underscore.".to_owned());
    }
    if name.contains(':') {
        return Err("Character `:` is not allowed in usernames.".to_owned());
    }
    // A new password replaces whatever the fields say.
    if is_nothing(new.get("password")) { Password::of(&new).map(drop) } else { Ok(()) }
}

/// Checks the deletion of the document `id`. Errors with the reason of the 403.
pub fn check_deletion(id: &str, writer: Writer<'_>) -> Result<(), String> {
    let own = writer.name.is_some_and(|name| id.strip_prefix(ID_PREFIX) == Some(name));
    if writer.admin || own { Ok(()) } else { Err("Only admins may delete other user docs.".to_owned()) }
}

/// Name and roles, if the document has the shape of a user.
fn check_shape<'a>(id: &str, new: &'a Map<String, Value>) -> Result<(&'a str, Vec<&'a str>), String> {
    let told = |reason: &str| Err(reason.to_owned());
    if new.get("type").and_then(Value::as_str) != Some("user") {
        return told("doc.type must be user");
    }
    let Some(name) = new.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
        return told("doc.name is required");
    };
    if is_nothing(new.get("roles")) {
        return told("doc.roles must exist");
    }
    let Some(roles) = new.get("roles").and_then(Value::as_array) else { return told("doc.roles must be an array") };
    let roles: Option<Vec<&str>> = roles.iter().map(Value::as_str).collect();
    let Some(roles) = roles else { return told("doc.roles can only contain strings") };
    if id.strip_prefix(ID_PREFIX) != Some(name) {
        return told("Doc ID must be of the form org.couchdb.user:name");
    }
    Ok((name, roles))
}

/// What somebody who is no admin may change: themselves, and not their roles.
fn check_rights(
    name: &str,
    roles: &[&str],
    old: Option<&Map<String, Value>>,
    writer: Writer<'_>,
) -> Result<(), String> {
    let Some(old) = old else {
        return if roles.is_empty() { Ok(()) } else { Err("Only _admin may set roles".to_owned()) };
    };
    if writer.name != Some(name) {
        return Err("You may only update your own user document.".to_owned());
    }
    let sorted = |mut roles: Vec<&str>| {
        roles.sort_unstable();
        roles.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let before = old.get("roles").and_then(Value::as_array).cloned().unwrap_or_default();
    let before = before.iter().filter_map(Value::as_str).collect();
    if sorted(before) == sorted(roles.to_vec()) { Ok(()) } else { Err("Only _admin may edit roles".to_owned()) }
}

fn is_nothing(value: Option<&Value>) -> bool {
    matches!(value, None | Some(Value::Null))
}

/// The plain password in a document; `None` if there is none. Errors if it is no text.
pub fn plain_password(json: &[u8]) -> Result<Option<String>, &'static str> {
    let document: Map<String, Value> = serde_json::from_slice(json).map_err(|_| "Document must be a JSON object")?;
    match document.get("password") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(password)) if password.is_empty() => Err("Password must not be empty."),
        Some(Value::String(password)) => Ok(Some(password.clone())),
        Some(_) => Err("Password must be a string."),
    }
}

/// The document with a hash (`$argon2id$…`) in place of its password; every other field to the letter.
///
/// # Panics
/// If `json` is no object; [`plain_password`] has told before.
pub fn with_hash(json: &[u8], hash: &str) -> Vec<u8> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(json).expect("an object");
    for stale in ["password", "password_sha", "salt", "iterations", "pbkdf2_prf"] {
        fields.remove(stale);
    }
    for (name, value) in [("password_scheme", ARGON2ID), ("derived_key", hash)] {
        let raw = RawValue::from_string(Value::from(value).to_string()).expect("a string becomes JSON");
        fields.insert(name.to_owned(), raw);
    }
    serde_json::to_vec(&fields).expect("raw JSON becomes JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: Writer<'_> = Writer { name: Some("admin"), admin: true };
    const JAN: Writer<'_> = Writer { name: Some("jan"), admin: false };
    const NOBODY: Writer<'_> = Writer { name: None, admin: false };
    const OLD: &str = r#"{"type":"user","name":"jan","roles":["a","b"]}"#;

    fn told(new: &str, old: Option<&str>, writer: Writer<'_>) -> String {
        let checked = check("org.couchdb.user:jan", new.as_bytes(), old.map(str::as_bytes), writer);
        checked.err().unwrap_or_default()
    }

    #[test]
    fn users_delete_themselves_and_admins_everybody() {
        let may = |id, writer| check_deletion(id, writer).is_ok();
        let (jan, eva) = ("org.couchdb.user:jan", "org.couchdb.user:eva");
        assert!(may(jan, JAN) && may(jan, ADMIN) && may(eva, ADMIN));
        assert!(!may(eva, JAN) && !may(jan, NOBODY));
    }

    #[test]
    fn a_user_has_couchdbs_shape() {
        for (new, reason) in [
            (r#"{"name":"jan","roles":[]}"#, "doc.type must be user"),
            (r#"{"type":"user","roles":[]}"#, "doc.name is required"),
            (r#"{"type":"user","name":"jan"}"#, "doc.roles must exist"),
            (r#"{"type":"user","name":"jan","roles":"x"}"#, "doc.roles must be an array"),
            (r#"{"type":"user","name":"jan","roles":[1]}"#, "doc.roles can only contain strings"),
            (r#"{"type":"user","name":"eva","roles":[]}"#, "Doc ID must be of the form org.couchdb.user:name"),
            (
                r#"{"type":"user","name":"jan","roles":["_admin"]}"#,
                "No system roles (starting with underscore) in users db.",
            ),
            (r#"{"type":"user","name":"jan","roles":[],"password_scheme":"x"}"#, "Password scheme `x` not supported."),
            (r#"{"type":"user","name":"jan","roles":[],"password_scheme":"x","password":"p"}"#, ""),
            (r#"{"type":"user","name":"jan","roles":["r"],"more":{"x":1}}"#, ""),
        ] {
            assert_eq!(told(new, None, ADMIN), reason, "{new}");
        }
        let named = |name: &str| {
            let new = format!(r#"{{"type":"user","name":"{name}","roles":[]}}"#);
            check(&format!("{ID_PREFIX}{name}"), new.as_bytes(), None, ADMIN).err().unwrap_or_default()
        };
        assert_eq!(named("_x"), "Username may not start with underscore.");
        assert_eq!(named("a:b"), "Character `:` is not allowed in usernames.");
        assert_eq!(named("a/b ä"), "");
    }

    #[test]
    fn users_change_themselves_but_not_their_roles() {
        let with = |roles: &str| format!(r#"{{"type":"user","name":"jan","roles":{roles},"x":1}}"#);
        assert_eq!(told(&with(r#"["b","a"]"#), Some(OLD), JAN), "");
        for roles in ["[]", r#"["a","b","c"]"#, r#"["a","c"]"#, r#"["a","a","b"]"#] {
            assert_eq!(told(&with(roles), Some(OLD), JAN), "Only _admin may edit roles", "{roles}");
            assert_eq!(told(&with(roles), Some(OLD), ADMIN), "");
        }
        assert_eq!(told(&with("[]"), None, NOBODY), "");
        assert_eq!(told(&with(r#"["a"]"#), None, NOBODY), "Only _admin may set roles");
        let other = Writer { name: Some("eva"), admin: false };
        assert_eq!(told(&with(r#"["a","b"]"#), Some(OLD), other), "You may only update your own user document.");
        assert_eq!(told(&with("[]"), Some(r#"{"name":"old"}"#), ADMIN), "Usernames can not be changed.");
    }

    #[test]
    fn a_password_is_replaced_by_its_hash_and_nothing_else() {
        let json = br#"{"name":"jan","password":"p","salt":"s","iterations":10,"n":1.0,"type":"user"}"#;
        assert_eq!(plain_password(json), Ok(Some("p".to_owned())));
        let hashed = String::from_utf8(with_hash(json, "$argon2id$x")).expect("text");
        let wanted = r#"{"derived_key":"$argon2id$x","n":1.0,"name":"jan","password_scheme":"argon2id","type":"user"}"#;
        assert_eq!(hashed, wanted);
        assert_eq!(plain_password(br#"{"password":null}"#), Ok(None));
        assert!(plain_password(br#"{"password":1}"#).is_err() && plain_password(br#"{"password":""}"#).is_err());
    }
}
