//! Reads and discards what a handler leaves unread of a request's body.
//!
//! A body that is refused (too large, no such path, not allowed) is answered at once, but its sender is often still
//! writing. Were the connection closed then, the kernel would answer what still comes with a reset, and a reset
//! makes the client's side forget the answer it has not read yet: it would see a broken pipe and no status. So the
//! rest is taken in beside the answer, as other servers' lingering close does, and the connection goes on after it.
//! It is bounded in bytes and in time; above that the connection is cut off.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::runtime::Handle;

/// Most bytes discarded. Larger lets a client keep us reading in vain; smaller hides the answer from clients whose
/// body is far too large, who need it most.
const BYTES_MAX: u64 = 64 << 20;
/// Longest wait for the next piece, and in all. A sender on a slow line is worth waiting for, a silent one is not.
const PIECE_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(30);

/// The body, which is read to its end whatever becomes of it here.
pub(super) fn discarding(headers: &HeaderMap, body: Body) -> Body {
    // Who expects to be told to continue sends nothing if told otherwise; reading would be that telling.
    if http_body::Body::is_end_stream(&body) || headers.contains_key(header::EXPECT) {
        return body;
    }
    Body::new(Unread { body: Some(body) })
}

/// A body that is discarded if dropped before its end.
struct Unread {
    /// `None` behind its end, or behind an error.
    body: Option<Body>,
}

impl http_body::Body for Unread {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !http_body::Body::is_end_stream(body)) else { return };
        if let Ok(runtime) = Handle::try_current() {
            // Beside the answer, not before it. It ends with the connection at the latest.
            drop(runtime.spawn(tokio::time::timeout(TIMEOUT, discard(body))));
        }
    }
}

async fn discard(mut body: Body) {
    let mut left = BYTES_MAX;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(PIECE_TIMEOUT, body.frame()).await {
        let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use axum::Router;
    use axum::extract::Request;
    use common::config::Limits;
    use http::StatusCode;
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::http::body;

    /// A server that takes bodies of 8 MiB at most, told to end when the token is.
    async fn started() -> (SocketAddr, CancellationToken) {
        let app = Router::new().fallback(|request: Request| async {
            let (parts, body) = request.into_parts();
            let body = discarding(&parts.headers, body);
            match parts.uri.path() {
                "/unread" => StatusCode::NOT_FOUND,
                _ => match body::read(&parts.headers, body, 8 << 20).await {
                    Ok(_) => StatusCode::OK,
                    Err(_) => StatusCode::PAYLOAD_TOO_LARGE,
                },
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let told = stop.clone();
        tokio::spawn(async move { crate::serve::serve(listener, app, &Limits::default(), told).await });
        (address, stop)
    }

    /// On one connection: writes a whole request, and only then reads, as the plainest of clients do. The statuses.
    fn exchange(address: SocketAddr, requests: &[String]) -> std::io::Result<Vec<String>> {
        let mut stream = TcpStream::connect(address)?;
        let exchanged = requests.iter().map(|request| {
            stream.write_all(request.as_bytes())?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                head.extend_from_slice(&byte);
            }
            Ok(String::from_utf8_lossy(&head[9..12]).into_owned())
        });
        exchanged.collect()
    }

    async fn told(address: SocketAddr, requests: Vec<String>) -> Vec<String> {
        let task = tokio::task::spawn_blocking(move || exchange(address, &requests));
        task.await.expect("no panic").expect("the client may write to its end")
    }

    fn put(path: &str, bytes: usize) -> String {
        format!("PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {bytes}\r\n\r\n{}", "x".repeat(bytes))
    }

    fn chunked(path: &str, bytes: usize) -> String {
        let head = format!("PUT {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
        format!("{head}{bytes:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(bytes))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_client_that_writes_its_refused_body_to_the_end_reads_the_answer() {
        let (address, stop) = started().await;
        for round in 0..20 {
            let bytes = [9 << 20, 20 << 20][round % 2];
            assert_eq!(told(address, vec![put("/", bytes)]).await, ["413"]);
            assert_eq!(told(address, vec![chunked("/", bytes)]).await, ["413"]);
            assert_eq!(told(address, vec![put("/unread", bytes)]).await, ["404"]);
        }
        stop.cancel();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_connection_goes_on_after_a_refused_body() {
        let (address, stop) = started().await;
        let requests = vec![put("/", 9 << 20), put("/", 1000), put("/unread", 2 << 20), put("/", 0)];
        assert_eq!(told(address, requests).await, ["413", "200", "404", "200"]);
        stop.cancel();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_body_that_does_not_end_is_cut_off() {
        let (address, stop) = started().await;
        let task = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).expect("connects");
            let head = "PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000000\r\n\r\n";
            stream.write_all(head.as_bytes()).expect("writes");
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).expect("answered at once");
            assert_eq!(&answer, b"HTTP/1.1 413");
            let piece = vec![b'x'; 1 << 20];
            let written = std::iter::repeat_with(|| stream.write_all(&piece)).take_while(Result::is_ok);
            written.take(1 << 10).count()
        });
        let pieces = task.await.expect("no panic");
        assert!((60..200).contains(&pieces), "cut off after {pieces} MiB");
        stop.cancel();
    }

    #[tokio::test]
    async fn who_waits_to_be_told_to_continue_is_not_told_so() {
        let mut headers = HeaderMap::new();
        headers.insert(header::EXPECT, http::HeaderValue::from_static("100-continue"));
        let polled = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = polled.clone();
        let pieces = futures::stream::poll_fn(move |_| {
            seen.store(true, std::sync::atomic::Ordering::SeqCst);
            Poll::Ready(None::<Result<Bytes, std::io::Error>>)
        });
        drop(discarding(&headers, Body::from_stream(pieces)));
        tokio::task::yield_now().await;
        assert!(!polled.load(std::sync::atomic::Ordering::SeqCst));
    }
}
