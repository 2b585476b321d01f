//! How each kind of server is asked to do an operation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use memchr::memmem;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Kind, Op, Options};
use crate::Result;
use crate::lean::{Connection, find};

/// Different bodies: enough that no server profits from seeing the same bytes again.
const BODIES: u64 = 64;
/// Loaded documents for each body, above which every body was surely used.
const LOADED_EACH: u64 = 16;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Target {
    options: Options,
    /// Tells the documents of this run from those of earlier ones.
    run: u32,
    bodies: Vec<Vec<u8>>,
}

/// One connection's part: its connection, its randomness, its place.
#[derive(Debug)]
pub(super) struct Worker {
    number: usize,
    /// The row of the report it works for: sets its ids apart from those of workers with its number.
    row: u64,
    sent: u64,
    random: SmallRng,
    connection: Connection,
    since: String,
    /// The last id of a listing; empty at its beginning.
    from: String,
}

impl Target {
    pub(super) fn new(options: &Options) -> Self {
        let mut random: SmallRng = rand::make_rng();
        let run = random.random();
        let bodies = (0..BODIES).map(|n| body(n, options.size, &mut random));
        let encode = |body: Vec<u8>| match options.kind {
            Kind::Etcd => BASE64.encode(body).into_bytes(),
            Kind::Quorate | Kind::Couchdb => body,
        };
        Self { options: options.clone(), run, bodies: bodies.map(encode).collect() }
    }

    pub(super) async fn worker(&self, row: u64, number: usize) -> Result<Worker> {
        let url = &self.options.url[number % self.options.url.len()];
        let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let authorization = self.options.auth.as_ref().map(|auth| format!("Basic {}", BASE64.encode(auth)));
        let connection = Connection::open(address, authorization.as_deref()).await?;
        let random = SmallRng::seed_from_u64(row << 32 | number as u64);
        Ok(Worker { number, row, sent: 0, random, connection, since: "0".to_owned(), from: String::new() })
    }

    /// Makes the database.
    pub(super) async fn prepare(&self) -> Result<()> {
        if self.options.kind == Kind::Etcd {
            return Ok(());
        }
        let mut worker = self.worker(0, 0).await?;
        let path = format!("/{}", self.options.db);
        let answer = worker.connection.exchange("PUT", &path, &[]).await?;
        match answer.status {
            201 | 202 | 412 => Ok(()),
            status => Err(refused("PUT", &path, status, worker.connection.body(answer)).into()),
        }
    }

    /// Writes the documents numbered `numbers`, for reads.
    pub(super) async fn load(&self, worker: &mut Worker, numbers: std::ops::Range<u64>) -> Result<()> {
        if self.options.kind == Kind::Etcd {
            for number in numbers {
                self.put(worker, &self.loaded_id(number)).await?;
            }
            return Ok(());
        }
        let ids = numbers.map(|number| self.loaded_id(number)).collect::<Vec<_>>();
        self.bulk(worker, &ids).await.map(drop)
    }

    /// Does `op` once; how many documents or rows that was.
    pub(super) async fn act(&self, worker: &mut Worker, op: Op) -> Result<u64> {
        worker.sent += 1;
        match op {
            Op::Put => {
                let id = self.new_id(worker, op, 0);
                self.put(worker, &id).await
            }
            Op::Get => {
                let number = worker.random.random_range(0..self.options.docs.max(1));
                self.get(worker, &self.loaded_id(number)).await
            }
            Op::Bulk => {
                let ids: Vec<String> = (0..self.options.batch).map(|n| self.new_id(worker, op, n)).collect();
                self.bulk(worker, &ids).await
            }
            Op::Changes => self.changes(worker, "").await,
            Op::ChangesDocs => self.changes(worker, "&include_docs=true").await,
            Op::AllDocs => self.all_docs(worker).await,
            Op::BulkGet => self.bulk_get(worker).await,
            Op::Find => self.find(worker).await,
            Op::IndexBuild => {
                let name = format!("built-{:x}-{}-{}-{}", self.run, worker.row, worker.number, worker.sent);
                self.index(worker, &name, &["type", "number"]).await
            }
        }
    }

    fn loaded_id(&self, number: u64) -> String {
        format!("load-{:x}-{number}", self.run)
    }

    fn new_id(&self, worker: &Worker, op: Op, part: usize) -> String {
        format!("{}-{:x}-{}-{}-{}-{part}", op.name(), self.run, worker.row, worker.number, worker.sent)
    }

    fn body(&self, worker: &Worker, part: usize) -> &[u8] {
        let n = worker.number * 7 + usize::try_from(worker.sent).unwrap_or(0) + part;
        &self.bodies[n % self.bodies.len()]
    }

    async fn put(&self, worker: &mut Worker, id: &str) -> Result<u64> {
        let body = self.body(worker, 0);
        match self.options.kind {
            Kind::Etcd => {
                let key = BASE64.encode(id);
                let parts = [b"{\"key\":\"", key.as_bytes(), b"\",\"value\":\"", body, b"\"}"];
                expect(&mut worker.connection, "POST", "/v3/kv/put", &parts, 200).await?;
            }
            Kind::Quorate | Kind::Couchdb => {
                let path = format!("/{}/{id}", self.options.db);
                expect(&mut worker.connection, "PUT", &path, &[body], 201).await?;
            }
        }
        Ok(1)
    }

    async fn get(&self, worker: &mut Worker, id: &str) -> Result<u64> {
        match self.options.kind {
            Kind::Etcd => {
                let key = BASE64.encode(id);
                let parts = [b"{\"key\":\"".as_slice(), key.as_bytes(), b"\"}"];
                let answer = expect(&mut worker.connection, "POST", "/v3/kv/range", &parts, 200).await?;
                if find(answer, b"\"kvs\"").is_none() {
                    return Err(format!("{id} is not there").into());
                }
            }
            Kind::Quorate | Kind::Couchdb => {
                let path = format!("/{}/{id}", self.options.db);
                expect(&mut worker.connection, "GET", &path, &[], 200).await?;
            }
        }
        Ok(1)
    }

    async fn bulk(&self, worker: &mut Worker, ids: &[String]) -> Result<u64> {
        let mut text = Vec::with_capacity(ids.len() * (self.options.size + 100));
        text.extend_from_slice(b"{\"docs\":[");
        for (n, id) in ids.iter().enumerate() {
            if n > 0 {
                text.push(b',');
            }
            text.extend_from_slice(format!("{{\"_id\":\"{id}\",").as_bytes());
            text.extend_from_slice(&self.body(worker, n)[1..]);
        }
        text.extend_from_slice(b"]}");
        let path = format!("/{}/_bulk_docs", self.options.db);
        let answer = expect(&mut worker.connection, "POST", &path, &[&text], 201).await?;
        let refused = find(answer, b"\"error\"")
            .map(|at| String::from_utf8_lossy(&answer[at..]).chars().take(200).collect::<String>());
        match refused {
            Some(refused) => Err(format!("_bulk_docs: a row was refused: {refused}").into()),
            None => Ok(ids.len() as u64),
        }
    }

    async fn changes(&self, worker: &mut Worker, more: &str) -> Result<u64> {
        let path = format!("/{}/_changes?limit={}&since={}{more}", self.options.db, self.options.rows, worker.since);
        let answer = expect(&mut worker.connection, "GET", &path, &[], 200).await?;
        let rows = count(answer, b"\"changes\":[");
        let last = memmem::rfind(answer, b"\"last_seq\":\"").ok_or("no last_seq")? + 12;
        let token = text_at(answer, last)?.to_owned();
        worker.since = if rows < self.options.rows { "0".to_owned() } else { token };
        Ok(rows as u64)
    }

    async fn all_docs(&self, worker: &mut Worker) -> Result<u64> {
        let from = match worker.from.as_str() {
            "" => String::new(),
            id => format!("&start_key=%22{id}%22&skip=1"),
        };
        let path = format!("/{}/_all_docs?limit={}{from}", self.options.db, self.options.rows);
        let answer = expect(&mut worker.connection, "GET", &path, &[], 200).await?;
        let rows = count(answer, b"{\"id\":\"");
        let last = match memmem::rfind(answer, b"{\"id\":\"").filter(|_| rows == self.options.rows) {
            None => String::new(),
            Some(at) => text_at(answer, at + 7)?.to_owned(),
        };
        worker.from = last;
        Ok(rows as u64)
    }

    async fn bulk_get(&self, worker: &mut Worker) -> Result<u64> {
        let mut text = b"{\"docs\":[".to_vec();
        for n in 0..self.options.batch {
            let number = worker.random.random_range(0..self.options.docs.max(1));
            let comma = if n > 0 { "," } else { "" };
            text.extend_from_slice(format!("{comma}{{\"id\":\"{}\"}}", self.loaded_id(number)).as_bytes());
        }
        text.extend_from_slice(b"]}");
        let path = format!("/{}/_bulk_get", self.options.db);
        let answer = expect(&mut worker.connection, "POST", &path, &[&text], 200).await?;
        match count(answer, b"{\"ok\":{") {
            found if found == self.options.batch => Ok(found as u64),
            found => Err(format!("_bulk_get: {found} of {} documents", self.options.batch).into()),
        }
    }

    async fn find(&self, worker: &mut Worker) -> Result<u64> {
        let number = worker.random.random_range(0..BODIES);
        let query = format!("{{\"selector\":{{\"number\":{number}}},\"limit\":10}}");
        let path = format!("/{}/_find", self.options.db);
        let answer = expect(&mut worker.connection, "POST", &path, &[query.as_bytes()], 200).await?;
        if answer.starts_with(b"{\"docs\":[]") && self.options.docs >= BODIES * LOADED_EACH {
            return Err(format!("_find: no document has number {number}").into());
        }
        Ok(1)
    }

    /// The index for [`Op::Find`].
    pub(super) async fn make_index(&self) -> Result<()> {
        let mut worker = self.worker(0, 0).await?;
        self.index(&mut worker, "by-number", &["number"]).await.map(drop)
    }

    /// Makes an index and waits until a query can use it; how many documents there were.
    async fn index(&self, worker: &mut Worker, name: &str, fields: &[&str]) -> Result<u64> {
        let path = format!("/{}", self.options.db);
        let info: serde_json::Value =
            serde_json::from_slice(expect(&mut worker.connection, "GET", &path, &[], 200).await?)?;
        let docs = info["doc_count"].as_u64().ok_or("no doc_count")?;
        let index = serde_json::json!({ "index": { "fields": fields }, "ddoc": name, "name": name }).to_string();
        let path = format!("/{}/_index", self.options.db);
        expect(&mut worker.connection, "POST", &path, &[index.as_bytes()], 200).await?;
        let selector: serde_json::Map<String, serde_json::Value> =
            fields.iter().map(|field| ((*field).to_owned(), serde_json::json!({ "$gt": null }))).collect();
        let query = serde_json::json!({
            "selector": selector, "limit": 1, "use_index": [name, name], "allow_fallback": false,
        });
        let query = query.to_string();
        let path = format!("/{}/_find", self.options.db);
        loop {
            let answer = worker.connection.exchange("POST", &path, &[query.as_bytes()]).await?;
            match answer.status {
                200 => return Ok(docs),
                503 => {}
                status => return Err(refused("POST", &path, status, worker.connection.body(answer)).into()),
            }
        }
    }
}

/// How often `wanted` stands in `text`.
fn count(text: &[u8], wanted: &[u8]) -> usize {
    memmem::find_iter(text, wanted).count()
}

/// What stands in `text` from a place up to the next quotation mark.
fn text_at(text: &[u8], from: usize) -> Result<&str> {
    let length = memchr::memchr(b'"', &text[from..]).ok_or("no end of a text")?;
    Ok(std::str::from_utf8(&text[from..from + length])?)
}

impl Worker {
    /// Connects anew after an error.
    pub(super) async fn recover(&mut self) -> Result<()> {
        self.connection.reopen().await
    }
}

async fn expect<'a>(
    connection: &'a mut Connection,
    method: &str,
    path: &str,
    body: &[&[u8]],
    status: u16,
) -> Result<&'a [u8]> {
    let answer = connection.exchange(method, path, body).await?;
    if answer.status == status {
        return Ok(connection.body(answer));
    }
    Err(refused(method, path, answer.status, connection.body(answer)).into())
}

fn refused(method: &str, path: &str, status: u16, body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
    format!("{method} {path}: {status} {text}")
}

/// A JSON object of `size` bytes whose text does not compress to nothing.
fn body(number: u64, size: usize, random: &mut SmallRng) -> Vec<u8> {
    let mut text = format!("{{\"type\":\"bench\",\"number\":{number},\"text\":\"").into_bytes();
    while text.len() + 2 < size {
        text.push(random.random_range(b'a'..=b'z'));
    }
    text.extend_from_slice(b"\"}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_of_the_size_asked_for() {
        let mut random = SmallRng::seed_from_u64(1);
        let text = body(3, 1024, &mut random);
        assert_eq!(text.len(), 1024);
        let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(json["number"], 3);
    }
}
