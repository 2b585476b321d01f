//! Which documents live on which shard, as the router's answers tell.

use http::StatusCode;

use crate::Result;
use crate::client::Client;

/// Ids tried before giving up: with any fair hash each shard has its keys long before.
const TRIES: usize = 10_000;

/// Finds `count` ids for each shard that start with `prefix`, by writing documents and reading the header
/// `X-Quorate-Shard` of the answers; the documents found are deleted again.
pub async fn keys_by_shard(
    client: &Client,
    db: &str,
    prefix: &str,
    shards: usize,
    count: usize,
) -> Result<Vec<Vec<String>>> {
    let mut keys = vec![Vec::new(); shards];
    for n in 0..TRIES {
        if keys.iter().all(|keys| keys.len() >= count) {
            return Ok(keys);
        }
        let id = format!("{prefix}-{n}");
        let reply = client.put(&format!("/{db}/{id}"), "{}").await?.expect(201)?;
        let shard = reply.shard().ok_or("the router does not send X-Quorate-Shard on document writes")?;
        let gone = client.delete(&format!("/{db}/{id}?rev={}", reply.field("rev"))).await?;
        if gone.status != StatusCode::OK {
            return Err(format!("cannot delete {id}: {}", gone.text()).into());
        }
        let own = keys.get_mut(usize::try_from(shard)?).ok_or_else(|| format!("there is no shard {shard}"))?;
        if own.len() < count {
            own.push(id);
        }
    }
    Err(format!("no {count} ids for each of {shards} shards within {TRIES} tries").into())
}
