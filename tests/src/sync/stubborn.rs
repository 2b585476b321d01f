//! A client that asks one router after the other until there is an answer, as apps' drivers do.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use crate::Result;
use crate::client::{Client, Reply};

/// How long something is tried: far longer than any failover.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// Some routers of one cluster, and a database.
#[derive(Debug, Clone)]
pub struct Stubborn {
    routers: Vec<Client>,
    /// The database.
    pub db: String,
}

impl Stubborn {
    /// A client of a database behind these routers.
    pub fn new(routers: &[Client], db: &str) -> Self {
        let routers = routers.iter().map(|router| router.clone().patience(Duration::from_secs(20))).collect();
        Self { routers, db: db.to_owned() }
    }

    /// Asks until somebody answers with something else than that it cannot answer now. Only for what may be done twice.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply> {
        let until = Instant::now() + PATIENCE;
        let path = format!("/{}{path}", self.db);
        let text = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut last = String::new();
        for router in self.routers.iter().cycle() {
            let headers = [("content-type", "application/json"), ("accept", "application/json")];
            match router.send(method.clone(), &path, &headers, text.clone()).await {
                Ok(reply) if !is_passing(reply.status) => return Ok(reply),
                Ok(reply) => last = format!("{} {}", reply.status, reply.text()),
                Err(failure) => last = failure.to_string(),
            }
            if Instant::now() >= until {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(format!("{method} {path} was not answered for {PATIENCE:?}: {last}").into())
    }

    /// One try through one router.
    pub async fn once(&self, router: usize, method: Method, path: &str, body: Option<&Value>) -> Result<Reply> {
        let text = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let router = &self.routers[router % self.routers.len()];
        let path = format!("/{}{path}", self.db);
        Ok(router.send(method, &path, &[("content-type", "application/json")], text).await?)
    }

    /// GET, which must succeed.
    pub async fn get(&self, path: &str) -> Result<Value> {
        Ok(self.ask(Method::GET, path, None).await?.expect(200)?.json())
    }

    /// POST, which must succeed.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let reply = self.ask(Method::POST, path, Some(body)).await?;
        if reply.status.is_success() {
            Ok(reply.json())
        } else {
            Err(format!("{path}: {} {}", reply.status, reply.text()).into())
        }
    }
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}
