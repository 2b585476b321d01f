//! What broken connections and strange answers are taken for, against servers of a few lines.

use common::command::Op;
use common::ids::{DbUid, RequestId, Seq};
use common::query::{Answer, Consistency, DbCounters, Query};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;
use common::command::Outcome;
use common::wire::ReadReply;

const SHARD: ShardId = ShardId(3);

fn node() -> NodeId {
    NodeId::parse("n1").expect("valid")
}

fn commands() -> Vec<Command> {
    vec![Command {
        request: RequestId(Uuid::from_u128(5)),
        retry: false,
        op: Op::DropDb { db: DbUid(Uuid::from_u128(500)) },
    }]
}

fn question() -> ReadRequest {
    ReadRequest {
        consistency: Consistency::Linearizable,
        last_resort: false,
        queries: vec![Query::Info { db: DbUid::DBS }],
    }
}

/// A server that reads each request and answers with these bytes; with none it hangs up.
async fn server(answer: Vec<u8>) -> (HttpTransport<HttpConnector<Names>>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.expect("reads");
            assert!(read > 0, "a request");
            if !answer.is_empty() {
                stream.write_all(&answer).await.expect("writes");
            }
        }
    });
    (HttpTransport::new(node(), &address, Secret::new("a-secret-of-the-cluster").as_ref(), tcp_connector()), task)
}

fn response(status: &str, body: &[u8]) -> Vec<u8> {
    let mut text =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len()).into_bytes();
    text.extend_from_slice(body);
    text
}

async fn both(answer: Vec<u8>) -> (WriteAnswer, ReadAnswer) {
    let (transport, task) = server(answer).await;
    let answers = (transport.write(SHARD, &commands()).await, transport.read(SHARD, &question()).await);
    task.abort();
    answers
}

#[tokio::test]
async fn where_nothing_listens_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let transport = HttpTransport::new(node(), &address, None, tcp_connector());
    assert_eq!(transport.write(SHARD, &commands()).await, Err(Refusal::Unreachable(node())));
    assert_eq!(transport.state().await.err(), Some(Refusal::Unreachable(node())));
}

#[tokio::test]
async fn a_write_that_was_sent_and_not_answered_may_have_happened() {
    let (write, read) = both(Vec::new()).await;
    assert_eq!(write, Err(Refusal::UnknownOutcome { shard: SHARD }));
    assert_eq!(read, Err(Refusal::Unreachable(node())), "a read may be asked anywhere again");
}

#[tokio::test]
async fn an_answer_cut_short_is_no_answer() {
    let whole = response("200 OK", &wire::encode(&WriteAnswer::Ok(vec![Outcome::Done])));
    let (write, _) = both(whole[..whole.len() - 1].to_vec()).await;
    assert_eq!(write, Err(Refusal::UnknownOutcome { shard: SHARD }));
}

#[tokio::test]
async fn answers_and_refusals_arrive_whatever_their_status() {
    let (write, _) = both(response("200 OK", &wire::encode(&WriteAnswer::Ok(vec![Outcome::Done])))).await;
    assert_eq!(write, Ok(vec![Outcome::Done]));
    let reply = ReadReply { answers: vec![Answer::Info(DbCounters { seq: Seq(4), ..Default::default() })], lag_ms: 0 };
    let (_, read) = both(response("200 OK", &wire::encode(&ReadAnswer::Ok(reply.clone())))).await;
    assert_eq!(read, Ok(reply));
    let refusal = Refusal::NotPrimary { shard: SHARD, primary: Some(node()) };
    let (write, _) = both(response("421 Misdirected Request", &wire::encode(&WriteAnswer::Err(refusal.clone())))).await;
    assert_eq!(write, Err(refusal));
}

#[tokio::test]
async fn strange_answers_are_judged_by_their_status() {
    let (write, read) = both(response("500 Internal Server Error", b"oops")).await;
    assert_eq!(write, Err(Refusal::UnknownOutcome { shard: SHARD }));
    assert!(matches!(read, Err(Refusal::OutOfService { .. })), "{read:?}");
    let (write, _) = both(response("401 Unauthorized", b"no")).await;
    assert!(matches!(write, Err(Refusal::OutOfService { .. })), "refused before it was read: {write:?}");
    let (write, _) = both(response("413 Payload Too Large", b"")).await;
    assert!(matches!(write, Err(Refusal::BadBatch(_))), "{write:?}");
}

#[tokio::test]
async fn a_campaign_that_was_refused_is_still_an_answer() {
    let campaign = Campaign::StaleTerm { term: common::ids::Term(9) };
    let (transport, task) = server(response("409 Conflict", &serde_json::to_vec(&campaign).expect("JSON"))).await;
    let promote = Promote { shard: SHARD, term: common::ids::Term(8), planned: false };
    assert_eq!(transport.promote(&promote).await, Ok(campaign));
    task.abort();
}
