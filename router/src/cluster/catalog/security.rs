//! A database's `_security` object, read. Pure.

use serde_json::Value;

/// The role of server admins, which no user can be given.
const SERVER_ADMIN: &str = "_admin";

/// Who may come in to a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// They may also change design documents and settings.
    pub admins: Group,
    /// They may read and write documents. If it names nobody, everybody may.
    pub members: Group,
}

/// People by name and by role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Their names.
    pub names: Vec<String>,
    /// Roles that they have.
    pub roles: Vec<String>,
}

impl Default for Security {
    /// CouchDB's: nobody but server admins.
    fn default() -> Self {
        let group = Group { names: Vec::new(), roles: vec![SERVER_ADMIN.to_owned()] };
        Self { admins: group.clone(), members: group }
    }
}

impl Security {
    /// Reads an object as it was put. Errors with CouchDB's words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let Ok(Value::Object(object)) = serde_json::from_str(text) else {
            return Err("Request body must be a JSON object");
        };
        // The name that `members` had long ago.
        let members = object.get("members").or_else(|| object.get("readers"));
        Ok(Self { admins: Group::parse(object.get("admins"))?, members: Group::parse(members)? })
    }

    /// Whether everybody may read and write documents.
    pub fn is_public(&self) -> bool {
        self.members.names.is_empty() && self.members.roles.is_empty()
    }
}

impl Group {
    fn parse(value: Option<&Value>) -> Result<Self, &'static str> {
        let Some(value) = value else { return Ok(Self::default()) };
        let object = value.as_object().ok_or("admins and members must be JSON objects")?;
        let list = |name, wrong| match object.get(name) {
            None => Ok(Vec::new()),
            Some(list) => serde_json::from_value(list.clone()).map_err(|_| wrong),
        };
        Ok(Self {
            names: list("names", "names must be a JSON list of strings")?,
            roles: list("roles", "roles must be a JSON list of strings")?,
        })
    }

    /// Whether somebody is one of them.
    pub fn has(&self, name: Option<&str>, roles: &[String]) -> bool {
        name.is_some_and(|name| self.names.iter().any(|one| one == name))
            || roles.iter().any(|role| self.roles.contains(role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_names_people_and_roles() {
        let text = r#"{"admins":{"names":["a"]},"members":{"roles":["r"]},"more":1}"#;
        let security = Security::parse(text).expect("an object");
        assert!(security.admins.has(Some("a"), &[]) && !security.admins.has(Some("b"), &[]));
        assert!(security.members.has(None, &["r".to_owned()]) && !security.members.has(Some("r"), &[]));
        assert!(!security.is_public());
        assert!(Security::parse("{}").expect("an object").is_public());
        assert!(!Security::parse(r#"{"readers":{"names":["a"]}}"#).expect("an object").is_public());
        assert!(!Security::default().is_public());
    }

    #[test]
    fn lists_hold_strings() {
        let refused = |text| Security::parse(text).expect_err("refused");
        assert_eq!(refused(r#"{"admins":{"names":"a"}}"#), "names must be a JSON list of strings");
        assert_eq!(refused(r#"{"members":{"roles":[1]}}"#), "roles must be a JSON list of strings");
        assert_eq!(refused(r#"{"members":[]}"#), "admins and members must be JSON objects");
        assert_eq!(refused("[]"), "Request body must be a JSON object");
    }
}
