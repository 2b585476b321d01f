//! `/_utils/`: the dashboard, one page whose files are in the binary.
//!
//! It holds no data, so it is served to anybody; what it shows it asks of the API, as the user who is logged in. Its
//! files come from here and nowhere else, and may run no script that is not one of them.

use std::sync::LazyLock;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::call::Call;
use super::error::Error;
use super::{Answer, render};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Nothing but our own files, no script in the page itself, no text taken for HTML, no frame around us.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);

/// What every file carries beside its type and version.
static HEADERS: [(HeaderName, HeaderValue); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    // Kept, and asked about each time: an upgraded router's page must not run yesterday's script.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

macro_rules! assets {
    ($($name:literal: $kind:ident),* $(,)?) => {
        [$(($name, $kind, include_bytes!(concat!("../../assets/", $name)).as_slice())),*]
    };
}

/// Name, media type, content.
static FILES: [(&str, &str, &[u8]); 21] = assets![
    "index.html": HTML,
    "base.css": CSS,
    "views.css": CSS,
    "icon.svg": SVG,
    "theme.js": SCRIPT,
    "api.js": SCRIPT,
    "changes.js": SCRIPT,
    "chart.js": SCRIPT,
    "cluster.js": SCRIPT,
    "databases.js": SCRIPT,
    "dialogs.js": SCRIPT,
    "document.js": SCRIPT,
    "documents.js": SCRIPT,
    "dom.js": SCRIPT,
    "format.js": SCRIPT,
    "json.js": SCRIPT,
    "main.js": SCRIPT,
    "metrics.js": SCRIPT,
    "monitor.js": SCRIPT,
    "query.js": SCRIPT,
    "state.js": SCRIPT,
];

/// One file as it is answered.
struct Asset {
    name: &'static str,
    kind: HeaderValue,
    etag: HeaderValue,
    content: Bytes,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let asset = |(name, kind, content): &(&'static str, &'static str, &'static [u8])| Asset {
        name,
        kind: HeaderValue::from_static(kind),
        etag: render::content_etag(content),
        content: Bytes::from_static(content),
    };
    FILES.iter().map(asset).collect()
});

/// `GET /_utils` and what is below; `file` is what stands behind the slash.
pub(super) fn file(call: &Call, file: &str) -> Answer {
    if !call.parts.uri.path().starts_with("/_utils/") {
        // Without the slash the page's own relative addresses would miss; relative, for proxies that add a prefix.
        let mut response = render::typed(StatusCode::MOVED_PERMANENTLY, HeaderValue::from_static(HTML), Body::empty());
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("_utils/"));
        return Ok(response);
    }
    let name = if file.is_empty() { "index.html" } else { file };
    let asset = ASSETS.iter().find(|asset| asset.name == name).ok_or(Error::Nothing)?;
    let mut response = match call.knows(&asset.etag) {
        true => render::typed(StatusCode::NOT_MODIFIED, asset.kind.clone(), Body::empty()),
        false => render::typed(StatusCode::OK, asset.kind.clone(), asset.content.clone().into()),
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, asset.etag.clone());
    headers.extend(HEADERS.iter().cloned());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn text(name: &str) -> &'static str {
        let asset = ASSETS.iter().find(|asset| asset.name == name).unwrap_or_else(|| panic!("{name} is not served"));
        std::str::from_utf8(FILES.iter().find(|file| file.0 == asset.name).expect("there").2).expect("text")
    }

    /// What stands between each `before` and the next `after`.
    fn between<'t>(text: &'t str, before: &str, after: char) -> Vec<&'t str> {
        text.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect()
    }

    #[test]
    fn all_files_of_the_folder_are_served_and_no_others() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/assets")).expect("a folder");
        let there: BTreeSet<String> =
            folder.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        assert_eq!(there, FILES.iter().map(|file| file.0.to_owned()).collect());
    }

    #[test]
    fn the_page_refers_to_files_that_are_served() {
        let page = text("index.html");
        let mut referred: Vec<&str> = between(page, " src=\"", '"');
        referred.extend(between(page, " href=\"", '"').iter().filter(|href| !href.starts_with('#')));
        assert!(referred.len() >= 6, "{referred:?}");
        let mut reached: BTreeSet<&str> = referred.iter().copied().collect();
        let mut left = referred;
        while let Some(name) = left.pop() {
            if !name.ends_with(".js") {
                text(name);
                continue;
            }
            for import in between(text(name), " from './", '\'') {
                if reached.insert(import) {
                    left.push(import);
                }
            }
        }
        let all: BTreeSet<&str> = FILES.iter().map(|file| file.0).filter(|name| *name != "index.html").collect();
        assert_eq!(reached, all, "what the page reaches, and what there is");
    }

    #[test]
    fn nothing_in_the_files_is_against_the_policy() {
        let page = text("index.html");
        for tag in between(page, "<script", '>') {
            assert!(tag.contains(" src=\""), "a script in the page: {tag}");
        }
        assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains(" onload="));
        for (name, _, content) in &FILES {
            let content = std::str::from_utf8(content).expect("text").replace("http://www.w3.org/2000/svg", "");
            for banned in ["http://", "https://", "innerHTML", "insertAdjacentHTML", "eval(", "@import", "url("] {
                assert!(!content.contains(banned), "{name} has {banned}");
            }
        }
    }
}
