//! Logins over several routers of one cluster: cookies, tokens, other sites' scripts.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::config::{Admin, Config, JwtAlgorithm, JwtKey};
use http_body_util::BodyExt;
use router::cluster::catalog::Clock;

use crate::cluster::{Answered, Ask, OtherRouter, TestCluster};

const JAN: &str = "/_users/org.couchdb.user:jan";
/// Longest wait for a router to hear of something: this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn admins(config: &mut Config) {
    let admin = |name: &str, password: &str| Admin {
        name: name.to_owned(),
        password: Some(password.to_owned()),
        password_file: None,
    };
    config.admin = Some(admin("admin", "secret"));
    config.admins = vec![admin("second", "geheim")];
    // A run of Argon2 as cheap as can be: these tests make many.
    (config.auth.argon2_memory_kib, config.auth.argon2_iterations) = (64, 1);
}

/// A clock that the test turns, in milliseconds.
fn clock() -> (Arc<AtomicU64>, Clock) {
    let now = Arc::new(AtomicU64::new(1_700_000_000_000));
    let read = now.clone();
    (now, Arc::new(move || read.load(Ordering::SeqCst)))
}

fn ask(method: &str, path: &str, body: &str) -> Ask {
    Ask::new(method, path, body)
}

fn with(mut ask: Ask, name: &str, value: &str) -> Ask {
    ask.headers.push((name.to_owned(), value.to_owned()));
    ask
}

fn basic(ask: Ask, credentials: &str) -> Ask {
    with(ask, "authorization", &format!("Basic {}", BASE64_STANDARD.encode(credentials)))
}

impl Answered {
    fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The session's cookie it sets, as a browser sends it back.
    fn cookie(&self) -> Option<String> {
        Some(self.header("set-cookie")?.split(';').next()?.to_owned())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl OtherRouter {
    async fn done(&self, ask: Ask) -> Answered {
        let answer = self.ask(&ask).await;
        assert!(answer.response.status().is_success(), "{ask:?}: {} {}", answer.status(), answer.body);
        answer
    }

    async fn login(&self, name: &str, password: &str) -> String {
        let body = serde_json::json!({ "name": name, "password": password }).to_string();
        let answer = self.done(ask("POST", "/_session", &body)).await;
        answer.cookie().expect("a cookie")
    }

    async fn make_jan(&self, password: &str) -> String {
        let body = serde_json::json!({ "type": "user", "name": "jan", "roles": ["team"], "password": password });
        let answer = self.done(basic(ask("PUT", JAN, &body.to_string()), "admin:secret")).await;
        answer.json()["rev"].as_str().expect("a revision").to_owned()
    }

    /// Who is asking with this cookie.
    async fn who(&self, cookie: &str) -> Answered {
        self.done(with(ask("GET", "/_session", ""), "cookie", cookie)).await
    }

    async fn name(&self, cookie: &str) -> Option<String> {
        self.who(cookie).await.json()["userCtx"]["name"].as_str().map(str::to_owned)
    }

    async fn until(&self, request: &Ask, status: u16) {
        let heard = async {
            while self.ask(request).await.status() != status {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("{request:?} is not {status}"));
    }
}

struct Fixture {
    cluster: TestCluster,
    now: Arc<AtomicU64>,
    one: OtherRouter,
    two: OtherRouter,
}

impl Fixture {
    async fn start(change: impl Fn(&mut Config)) -> Self {
        let cluster = TestCluster::start(1, 1).await;
        let (now, clock) = clock();
        let change = |config: &mut Config| {
            admins(config);
            change(config);
        };
        let one = cluster.router(change, clock.clone());
        let two = cluster.router(change, clock);
        Self { cluster, now, one, two }
    }

    async fn end(self) {
        self.one.end().await;
        self.two.end().await;
        self.cluster.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_known_on_every_router_and_ends_with_its_password() {
    let fixture = Fixture::start(|_| {}).await;
    let Fixture { one, two, .. } = &fixture;
    let rev = one.make_jan("first").await;
    let shown = one.done(basic(ask("GET", JAN, ""), "jan:first")).await;
    assert!(!shown.body.contains("first") && shown.json()["password"].is_null(), "{}", shown.body);
    assert_eq!(shown.json()["password_scheme"], "argon2id");

    let cookie = one.login("jan", "first").await;
    let who = two.who(&cookie).await;
    assert_eq!(who.json()["userCtx"], serde_json::json!({ "name": "jan", "roles": ["team"] }));
    assert_eq!(who.json()["info"]["authenticated"], "cookie");
    for admin in [("admin", "secret"), ("second", "geheim")] {
        let cookie = two.login(admin.0, admin.1).await;
        assert_eq!(one.name(&cookie).await.as_deref(), Some(admin.0), "admins log in too");
    }
    let mut forged = cookie.clone().into_bytes();
    let last = forged.len() - 3;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    for bad in [String::from_utf8(forged).expect("text"), "AuthSession=x".to_owned(), "AuthSession=".to_owned()] {
        assert_eq!(two.name(&bad).await, None, "{bad}");
    }

    let body = serde_json::json!({ "type": "user", "name": "jan", "roles": ["team"], "password": "second" });
    let changed = with(ask("PUT", &format!("{JAN}?rev={rev}"), &body.to_string()), "cookie", &cookie);
    one.done(changed).await;
    assert_eq!(one.name(&cookie).await, None, "at once where it was changed");
    let own = with(ask("GET", JAN, ""), "cookie", &cookie);
    two.until(&own, 401).await;
    two.until(&basic(ask("GET", JAN, ""), "jan:first"), 401).await;
    let cookie = two.login("jan", "second").await;
    assert_eq!(one.name(&cookie).await.as_deref(), Some("jan"));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_in_time_unless_it_is_used() {
    let fixture = Fixture::start(|_| {}).await;
    let (one, now) = (&fixture.one, &fixture.now);
    one.make_jan("x").await;
    let first = one.login("jan", "x").await;
    assert_eq!(one.who(&first).await.cookie(), None, "it is new");
    now.fetch_add(300_000, Ordering::SeqCst);
    let renewed = one.who(&first).await.cookie().expect("a new cookie");
    let refused = one.ask(&with(ask("GET", "/_uuids?count=x", ""), "cookie", &first)).await;
    assert_eq!((refused.status(), refused.cookie().is_some()), (400, true), "errors renew it too");
    now.fetch_add(300_000, Ordering::SeqCst);
    assert_eq!(one.name(&first).await, None, "it is over");
    assert_eq!(one.name(&renewed).await.as_deref(), Some("jan"));
    let out = one.done(with(ask("DELETE", "/_session", ""), "cookie", &renewed)).await;
    assert_eq!(out.cookie().as_deref(), Some("AuthSession="));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_shut_out_on_one_router_is_shut_out_on_all() {
    let fixture = Fixture::start(|_| {}).await;
    let Fixture { one, two, .. } = &fixture;
    one.make_jan("x").await;
    one.done(basic(ask("PUT", "/team", ""), "admin:secret")).await;
    let security = |members: &str| basic(ask("PUT", "/team/_security", members), "second:geheim");
    one.done(security(r#"{"members":{"names":["jan"]}}"#)).await;
    let read = basic(ask("GET", "/team", ""), "jan:x");
    two.until(&read, 200).await;
    one.done(security(r#"{"members":{"names":["eva"]}}"#)).await;
    assert_eq!(one.ask(&read).await.status(), 403);
    two.until(&read, 403).await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_shut_out_reads_no_further() {
    let fixture = Fixture::start(|_| {}).await;
    let Fixture { one, two, .. } = &fixture;
    one.make_jan("x").await;
    one.done(basic(ask("PUT", "/team", ""), "admin:secret")).await;
    let security = |members: &str| basic(ask("PUT", "/team/_security", members), "admin:secret");
    one.done(security(r#"{"members":{"names":["jan"]}}"#)).await;
    two.until(&basic(ask("GET", "/team", ""), "jan:x"), 200).await;
    let whole = two.done(basic(ask("GET", "/team/_changes", ""), "jan:x")).await;
    assert_eq!(whole.json()["pending"], 0, "what ends by itself is not cut");
    let feed = ask("GET", "/team/_changes?feed=continuous&heartbeat=500", "");
    let reading = two.stream(&basic(feed, "jan:x")).await;
    assert_eq!(reading.status().as_u16(), 200);
    one.done(security(r#"{"members":{"names":["eva"]}}"#)).await;
    let read = tokio::time::timeout(PATIENCE, reading.into_body().collect()).await.expect("it ends");
    assert!(read.is_err(), "and not as if it were whole");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_sessions_is_shown_nowhere() {
    let fixture = Fixture::start(|_| {}).await;
    let one = &fixture.one;
    one.login("admin", "secret").await;
    let wal = one.done(basic(ask("GET", "/v1/_replication/wal?shard=0", ""), "admin:secret")).await;
    let line = wal.body.lines().find(|line| line.contains("session-key")).expect("it was made");
    assert!(line.contains(r#""body":null"#), "{line}");
    let longest = line.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    assert!(longest < Some(64), "{line}");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_up_is_allowed_where_that_is_configured() {
    let fixture = Fixture::start(|config| config.auth.sign_up = true).await;
    let one = &fixture.one;
    let user = |roles: &str| format!(r#"{{"type":"user","name":"jan","roles":{roles},"password":"x"}}"#);
    assert_eq!(one.ask(&ask("PUT", JAN, &user(r#"["lead"]"#))).await.status(), 403);
    one.done(ask("PUT", JAN, &user("[]"))).await;
    assert_eq!(one.ask(&ask("PUT", JAN, &user("[]"))).await.status(), 409, "the name is taken");
    assert_eq!(one.ask(&ask("GET", JAN, "")).await.status(), 401);
    assert_eq!(one.ask(&ask("GET", "/_users/_all_docs", "")).await.status(), 401);
    let cookie = one.login("jan", "x").await;
    assert_eq!(one.name(&cookie).await.as_deref(), Some("jan"));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_for_its_user() {
    let secret = "0123456789abcdef0123456789abcdef";
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(secret.as_bytes()).expect("written");
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let path = file.path().to_owned();
    let key = move || JwtKey { kid: "k".to_owned(), algorithm: JwtAlgorithm::HS256, key_file: path.clone() };
    let fixture = Fixture::start(|config| config.jwt = vec![key()]).await;
    let (one, now) = (&fixture.one, &fixture.now);
    let seconds = now.load(Ordering::SeqCst) / 1000;
    let claims = serde_json::json!({ "sub": "ci", "exp": seconds + 60, "_couchdb.roles": ["_admin"] });
    let header = jsonwebtoken::Header { kid: Some("k".to_owned()), ..jsonwebtoken::Header::default() };
    let signing = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let token = jsonwebtoken::encode(&header, &claims, &signing).expect("signed");
    let bearer = |path: &str| with(ask("GET", path, ""), "authorization", &format!("Bearer {token}"));
    let who = one.done(bearer("/_session")).await.json();
    assert_eq!((&who["userCtx"]["name"], &who["info"]["authenticated"]), (&"ci".into(), &"jwt".into()));
    assert_eq!(who["info"]["authentication_handlers"], serde_json::json!(["jwt", "cookie", "default"]));
    one.done(bearer("/_all_dbs")).await;
    now.fetch_add(60_000, Ordering::SeqCst);
    let late = one.ask(&bearer("/_all_dbs")).await;
    assert_eq!((late.status(), late.json()["reason"].as_str()), (401, Some("exp not in future")));
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_listed_sites_may_ask() {
    let origin = "https://app.example";
    let listed = |config: &mut Config| {
        config.cors.origins = vec![origin.to_owned()];
        config.cors.credentials = true;
    };
    let fixture = Fixture::start(listed).await;
    let one = &fixture.one;
    let from = |ask: Ask, origin: &str| with(ask, "origin", origin);
    let preflight =
        |origin: &str| with(from(ask("OPTIONS", "/db/doc", ""), origin), "access-control-request-method", "PUT");
    let allowed = one.done(preflight(origin)).await;
    assert_eq!(allowed.header("access-control-allow-origin"), Some(origin));
    assert_eq!(allowed.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(allowed.header("access-control-max-age"), Some("600"));
    assert!(allowed.header("access-control-allow-methods").is_some_and(|methods| methods.contains("COPY")));
    let headers = allowed.header("access-control-allow-headers").unwrap_or_default();
    for wanted in ["authorization", "content-type", "destination", "if-match", "idempotency-key", "range"] {
        assert!(headers.split(',').any(|header| header == wanted), "{wanted} is not among {headers}");
    }
    let refused = one.ask(&from(ask("GET", "/db/doc", ""), origin)).await;
    assert_eq!((refused.status(), refused.header("access-control-allow-origin")), (401, Some(origin)));
    assert!(refused.header("access-control-expose-headers").is_some_and(|headers| headers.contains("etag")));
    for other in ["https://evil.example", "https://app.example.evil.example", "null"] {
        assert_eq!(one.ask(&preflight(other)).await.header("access-control-allow-origin"), None, "{other}");
        let answer = one.ask(&from(ask("GET", "/", ""), other)).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{other}");
    }
    let off = fixture.cluster.ask(&preflight(origin)).await;
    assert_eq!((off.status(), off.header("access-control-allow-origin")), (405, None), "off unless configured");
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins_is_turned_away_and_the_others_are_served() {
    let slow = |config: &mut Config| {
        (config.auth.hashes_at_once, config.auth.hashes_waiting_max) = (1, 2);
        (config.auth.argon2_memory_kib, config.auth.argon2_iterations) = (64 * 1024, 8);
    };
    let fixture = Fixture::start(slow).await;
    let one = &fixture.one;
    let cookie = one.login("admin", "secret").await;
    let body = |n: usize| format!(r#"{{"name":"nobody{n}","password":"x"}}"#);
    let guesses: Vec<Ask> = (0..16).map(|n| ask("POST", "/_session", &body(n))).collect();
    let flood = futures::future::join_all(guesses.iter().map(|guess| one.ask(guess)));
    let served = with(ask("GET", "/_all_dbs", ""), "cookie", &cookie);
    let (answers, served) = tokio::join!(flood, one.ask(&served));
    assert_eq!(served.status(), 200);
    let turned_away: Vec<_> = answers.iter().filter(|answer| answer.status() == 429).collect();
    assert!(!turned_away.is_empty() && turned_away.iter().all(|answer| answer.header("retry-after").is_some()));
    assert!(answers.iter().all(|answer| matches!(answer.status(), 401 | 429)));
    fixture.end().await;
}
