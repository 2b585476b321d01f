//! An HTTP server that does nothing: it takes each request whole and answers 201 at once. What the load generator gets
//! from it is the most that any server could give it on this machine, so that figures of machines of different speed can
//! be compared.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Parser;
use harness::Result;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// What a write of a document is answered with, about as long as a real answer.
const ANSWER: &str = r#"{"ok":true,"id":"00000000000000000000","rev":"1-00000000000000000000000000000000"}"#;

/// Answers 201 to everything at once, on one thread, until it is ended.
#[derive(Debug, Parser)]
#[command(name = "blank")]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("blank: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<()> {
    let listener = TcpListener::bind(options.listen).await?;
    println!("http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            if let Err(error) = served {
                eprintln!("blank: a connection ended: {error}");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let status = match request.into_body().collect().await {
        Ok(_) => StatusCode::CREATED,
        Err(_) => StatusCode::BAD_REQUEST,
    };
    let answer = Response::builder().status(status).header(http::header::CONTENT_TYPE, "application/json");
    Ok(answer.body(Full::new(Bytes::from_static(ANSWER.as_bytes()))).expect("these headers are valid"))
}
