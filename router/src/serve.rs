//! Serves an HTTP application on any listener, within the configured limits, until told to stop.
//!
//! Headers are bounded in size and in time. Who takes nothing of an answer for too long is cut off: what is sent waits in
//! the kernel's buffer and in one piece of the answer, and no more is read for it meanwhile. On `stop` no connection is accepted any more, requests under way are
//! answered, and what is not done within [`DRAIN`] is cut off.

use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use common::config::Limits;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest wait for requests under way at the end. Longer keeps a long poll's client; shorter cuts large uploads.
pub const DRAIN: Duration = Duration::from_secs(3);
/// hyper takes no smaller buffer.
const BUFFER_BYTES_MIN: usize = 8 << 10;

/// Serves `app` until `stop`; comes back when all connections have ended.
pub async fn serve<L: Listener>(mut listener: L, app: Router, limits: &Limits, stop: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.header_read_timeout_ms))
        .max_buf_size(limits.headers_bytes_max.max(BUFFER_BYTES_MIN))
        // Answers are small and complete: one write for head and body.
        .writev(true);
    let (graceful, tasks, cut) = (GracefulShutdown::new(), TaskTracker::new(), CancellationToken::new());
    while let Some((io, _)) = stop.run_until_cancelled(listener.accept()).await {
        let mut io = TimeoutStream::new(io);
        io.set_write_timeout(Some(Duration::from_millis(limits.send_timeout_ms)));
        let connection = http.serve_connection(TokioIo::new(Box::pin(io)), TowerToHyperService::new(app.clone()));
        let connection = graceful.watch(connection);
        let cut = cut.clone();
        tasks.spawn(async move {
            if let Some(Err(error)) = cut.run_until_cancelled_owned(connection).await {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::info!("cutting off requests that took too long to end");
    }
    cut.cancel();
    tasks.close();
    tasks.wait().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use std::convert::Infallible;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn started(limits: Limits) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "done"
        };
        let endless =
            || async { Body::from_stream(futures::stream::repeat_with(|| Ok::<_, Infallible>(vec![b'x'; 1 << 16]))) };
        let app = Router::new().route("/", get(|| async { "here" })).route("/slow", get(slow));
        let app = app.route("/endless", get(endless));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { serve(listener, app, &limits, stop).await }
        });
        (address, stop, task)
    }

    async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.expect("reads");
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn a_request_under_way_is_answered_before_the_end() {
        let (address, stop, task) = started(Limits::default()).await;
        let slow = tokio::spawn(exchange(address, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.cancel();
        assert!(slow.await.expect("no panic").ends_with("done"));
        task.await.expect("ends");
        assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
    }

    #[tokio::test]
    async fn who_takes_nothing_of_an_answer_is_cut_off_and_who_does_is_not() {
        let (address, stop, task) = started(Limits { send_timeout_ms: 200, ..Limits::default() }).await;
        let ask = async || {
            let mut stream = TcpStream::connect(address).await.expect("connects");
            stream.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("writes");
            stream
        };
        let (mut idle, mut busy) = (ask().await, ask().await);
        let mut piece = vec![0; 64 << 10];
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            busy.read_exact(&mut piece).await.expect("it goes on");
        }
        // What the kernel holds can still be read; then there is an end, as there is none for who reads.
        let mut taken = 0;
        while let Ok(read @ 1..) = idle.read(&mut piece).await {
            taken += read;
            assert!(taken < 256 << 20, "it goes on without being read");
        }
        stop.cancel();
        drop(busy);
        task.await.expect("ends");
    }

    #[tokio::test]
    async fn headers_are_bounded_in_size_and_time() {
        let (address, stop, task) = started(Limits { header_read_timeout_ms: 100, ..Limits::default() }).await;
        let large = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(40_000));
        let mut stream = TcpStream::connect(address).await.expect("connects");
        // The server may hang up before it has read all of it.
        let _ = stream.write_all(large.as_bytes()).await;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.expect("an answer");
        assert_eq!(&start, b"HTTP/1.1 431");
        let cut = tokio::time::timeout(Duration::from_secs(2), exchange(address, "GET / HTTP/1.1\r\nho")).await;
        assert!(!cut.expect("cut off in time").contains("200"));
        stop.cancel();
        task.await.expect("ends");
    }
}
