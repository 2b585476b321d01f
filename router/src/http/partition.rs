//! `/{db}/_partition/{partition}` and what lies behind it: a part of a database that lies on one shard.

use axum::body::Body;
use common::ids::{DbName, DocId};
use common::partition::Partition;
use http::{Method, StatusCode};

use super::all_docs::{self, Kind};
use super::call::Call;
use super::error::Error;
use super::read::tell_lag;
use super::target::{OfPartition, Target};
use super::{Answer, changes, mango, render, views};

/// Answers for the partition of that name.
pub(super) async fn answer(call: &Call, db: DbName, name: String, asked: OfPartition, body: Body) -> Answer {
    let (ops, method) = (&call.app.ops, call.method());
    let taken = match asked {
        OfPartition::Nothing | OfPartition::Info => method == Method::GET,
        OfPartition::AllDocs | OfPartition::Changes | OfPartition::Index => {
            method == Method::GET || method == Method::POST
        }
        OfPartition::Find | OfPartition::Explain => method == Method::POST,
    };
    if !taken {
        return Err(Error::Method(Target::Partition(db, name, asked).allow()));
    }
    ops.db(&db).await?;
    if asked == OfPartition::Nothing {
        return Err(Error::bad("invalid_partition_req"));
    }
    // In CouchDB's order.
    let partition = if asked == OfPartition::Info {
        let partition = Partition::parse(&name)?;
        ops.partitioned(&db, call.consistency(&call.params())?).await?;
        partition
    } else {
        ops.partitioned(&db, call.consistency(&call.params())?).await?;
        Partition::parse(&name)?
    };
    if call.params().get("partition").is_some_and(|other| other != name) {
        return Err(Error::bad("Conflicting value for `partition` in query string"));
    }
    match asked {
        OfPartition::Nothing | OfPartition::Info => info(call, db, &partition).await,
        OfPartition::AllDocs => all_docs::list_within(call, db, Kind::All, Some(&partition), body).await,
        OfPartition::Changes => changes::feed(call, db, Some(partition), body).await,
        OfPartition::Index if method == Method::POST => mango::create(call, db, body).await,
        OfPartition::Index => mango::list(call, db).await,
        OfPartition::Find => mango::find(call, db, Some(&partition), body).await,
        OfPartition::Explain => mango::explain(call, db, Some(&partition), body).await,
    }
}

/// A view's rows of the partition of that name.
pub(super) async fn view(call: &Call, db: DbName, name: String, (id, view): (DocId, String), body: Body) -> Answer {
    call.app.ops.partitioned(&db, call.consistency(&call.params())?).await?;
    let partition = Partition::parse(&name)?;
    if call.params().get("partition").is_some_and(|other| other != name) {
        return Err(Error::bad("Conflicting value for `partition` in query string"));
    }
    views::view(call, db, id, view, Some(&partition), body).await
}

async fn info(call: &Call, db: DbName, partition: &Partition) -> Answer {
    let consistency = call.consistency(&call.params())?;
    let (counted, lag_ms) = call.app.ops.count(&db, partition, consistency).await?;
    let mut text = b"{\"db_name\":".to_vec();
    render::string(&mut text, db.as_str());
    let sizes = format!(",\"sizes\":{{\"active\":{bytes},\"external\":{bytes}}}", bytes = counted.bytes);
    text.extend_from_slice(sizes.as_bytes());
    text.extend_from_slice(b",\"partition\":");
    render::string(&mut text, partition.as_str());
    let counts = format!(",\"doc_count\":{},\"doc_del_count\":{}}}", counted.docs, counted.deleted);
    text.extend_from_slice(counts.as_bytes());
    let mut response = render::json(StatusCode::OK, text);
    tell_lag(response.headers_mut(), consistency, lag_ms);
    Ok(response)
}
