//! `/_session`: logging in, asking who one is, logging out.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::call::Call;
use super::error::Error;
use super::{Answer, render};
use crate::auth::Denied;

/// Name and password as sent.
struct Login {
    name: String,
    password: String,
}

/// `POST /_session` with `{"name":…,"password":…}` as JSON or as a form; `?next=/path` sends on.
pub(super) async fn login(call: &Call, body: Body) -> Answer {
    let login = Login::read(call, &call.read(body).await?)?;
    let auth = &call.app.auth;
    let session = match auth.login(&login.name, &login.password).await {
        Ok(session) => session,
        Err(denied @ Denied::Wrong) => {
            // As CouchDB: whoever was logged in before is not any more.
            let refusal = match call.params().get("fail") {
                Some(path) => redirect(call, path, Error::from(denied).into_response())?,
                None => Error::from(denied).into_response(),
            };
            return Ok(with_cookie(refusal, auth.logout()));
        }
        Err(denied) => return Err(denied.into()),
    };
    let (name, roles) = (json!(&login.name), json!(&*session.user.roles));
    let text = format!("{{\"ok\":true,\"name\":{name},\"roles\":{roles}}}");
    Ok(with_cookie(sent_on(call, text)?, session.cookie))
}

/// `DELETE /_session`
pub(super) fn logout(call: &Call) -> Answer {
    Ok(with_cookie(sent_on(call, json!({"ok": true}).to_string())?, call.app.auth.logout()))
}

/// `GET /_session`
pub(super) fn show(call: &Call) -> Answer {
    let user = &call.user;
    if user.name.is_none() && call.params().get("basic") == Some("true") {
        return Err(Error::Unauthorized("Please login."));
    }
    let (name, roles) = (json!(user.name.as_deref()), json!(&*user.roles));
    let handlers = json!(call.app.auth.handlers());
    let by = user.by.map_or_else(String::new, |by| format!(",\"authenticated\":\"{}\"", by.name()));
    let body = format!(
        "{{\"ok\":true,\"userCtx\":{{\"name\":{name},\"roles\":{roles}}},\
         \"info\":{{\"authentication_handlers\":{handlers}{by}}}}}",
    );
    Ok(render::json(StatusCode::OK, body.into_bytes()))
}

impl Login {
    fn read(call: &Call, body: &[u8]) -> Result<Self, Error> {
        let kind = call.header(header::CONTENT_TYPE).unwrap_or_default();
        let is = |wanted: &str| kind.get(..wanted.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(wanted));
        let fields: Vec<(String, String)> = if is("application/x-www-form-urlencoded") {
            form_urlencoded::parse(body).into_owned().collect()
        } else if is("application/json") {
            let object: serde_json::Map<String, Value> = super::body::parse_json(body)?;
            let text = |(name, value): (String, Value)| Some((name, value.as_str()?.to_owned()));
            object.into_iter().filter_map(text).collect()
        } else {
            Vec::new()
        };
        let field = |wanted| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        let name = field("name").or_else(|| field("username"));
        let name = name.ok_or_else(|| Error::bad("request body must contain a username"))?;
        Ok(Self { name, password: field("password").unwrap_or_default() })
    }
}

/// The answer, with the way to `?next=`.
fn sent_on(call: &Call, text: String) -> Answer {
    let response = render::json(StatusCode::OK, text.into_bytes());
    match call.params().get("next") {
        Some(path) => redirect(call, path, response),
        None => Ok(response),
    }
}

/// Only to this server: a link to a login must not lead elsewhere.
fn redirect(call: &Call, path: &str, mut response: Response) -> Answer {
    let host = call.header(header::HOST).unwrap_or_default();
    let inside = path.starts_with('/') && !path.starts_with("//") && !path.contains('\\');
    let location = HeaderValue::try_from(format!("http://{host}{path}")).ok().filter(|_| inside);
    let location = location.ok_or_else(|| Error::bad("path must begin with a slash"))?;
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

fn with_cookie(mut response: Response, cookie: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("must-revalidate"));
    response
}
