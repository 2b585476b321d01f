//! The way to other servers: HTTP over TCP or TLS, each connection only to an address that may be called.
//!
//! Redirects are not followed: an operator allows URLs, not where they lead.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use common::config;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tower::Service;

use crate::names::Names;
use crate::replicator::address::Rules;

/// Longest wait for a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections kept open to a server beyond those in use.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// Sends requests to other servers. The one seam where a simulation brings its own network.
pub trait Wire: Send + Sync + 'static {
    /// One exchange; errors when there is no answer.
    fn send(&self, request: Request<Body>) -> BoxFuture<'_, io::Result<Response<Body>>>;
}

/// HTTP through some connector.
pub struct HttpWire<C> {
    client: Client<C, Body>,
}

impl HttpWire<HttpsConnector<Guarded>> {
    /// Over TCP, and TLS for `https`. Errors if the file of authorities cannot be read.
    pub fn new(config: &config::Replicator) -> io::Result<Self> {
        let guarded = Guarded { names: Names::system(), rules: Arc::new(Rules::of(config)) };
        let tls = tls(config)?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(guarded);
        Ok(Self::over(connector))
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> HttpWire<C> {
    /// Over any connector.
    pub fn over(connector: C) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Self { client }
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Wire for HttpWire<C> {
    fn send(&self, request: Request<Body>) -> BoxFuture<'_, io::Result<Response<Body>>> {
        async move {
            let answer = self.client.request(request).await;
            answer.map(|response| response.map(Body::new)).map_err(|error| explained(&error))
        }
        .boxed()
    }
}

/// The error with its causes; a refusal of ours stays one.
fn explained(error: &dyn std::error::Error) -> io::Error {
    let (mut text, mut kind, mut cause) = (error.to_string(), io::ErrorKind::Other, error.source());
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        let refused = source.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied);
        if refused {
            kind = io::ErrorKind::PermissionDenied;
        }
        cause = source.source();
    }
    io::Error::new(kind, text)
}

fn tls(config: &config::Replicator) -> io::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = &config.ca_file {
        let unreadable = |error: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidData, format!("replicator.ca_file {}: {error}", file.display()))
        };
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
            roots.add(certificate.map_err(|error| unreadable(&error))?).map_err(|error| unreadable(&error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Connects over TCP to addresses that may be called, and to no others.
#[derive(Clone)]
pub struct Guarded {
    names: Names,
    rules: Arc<Rules>,
}

impl Guarded {
    async fn connect(mut self, uri: Uri) -> io::Result<TokioIo<TcpStream>> {
        let host = uri.host().ok_or_else(|| io::Error::other("the URL names no server"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let addresses: Vec<IpAddr> = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let name = host.parse().map_err(|_| io::Error::other(format!("{host} is no name")))?;
                let found = self.names.call(name).await.map_err(io::Error::other)?;
                found.map(|address| address.ip()).collect()
            }
        };
        // The very address that was checked is connected to: no second look-up may say something else.
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in addresses {
            if !self.rules.admits_address(address) {
                let reason = format!("{host} leads to {address}, which replicator.networks does not allow");
                last = io::Error::new(io::ErrorKind::PermissionDenied, reason);
                continue;
            }
            let connecting = TcpStream::connect(SocketAddr::new(address, port));
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(TokioIo::new(stream));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("no connection to {address}")),
            }
        }
        Err(last)
    }
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn wire(networks: &[&str]) -> HttpWire<HttpsConnector<Guarded>> {
        let networks = networks.iter().map(|network| network.parse().expect("a network")).collect();
        let allow = vec!["*".to_owned()];
        HttpWire::new(&config::Replicator { allow, networks, ..config::Replicator::default() })
            .expect("no file to read")
    }

    async fn get(wire: &impl Wire, uri: String) -> io::Result<Bytes> {
        let request = Request::builder().uri(uri).body(Body::empty()).expect("valid");
        let response = wire.send(request).await?;
        Ok(response.into_body().collect().await.map_err(io::Error::other)?.to_bytes())
    }

    #[tokio::test]
    async fn an_address_is_looked_at_whatever_name_leads_there() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = tokio::spawn(async move {
            let mut served = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                served += 1;
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let answer = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 4\r\nconnection: close\r\n\r\nhere";
                let _ = stream.write_all(answer.as_bytes()).await;
                if served == 2 {
                    return;
                }
            }
        });
        let closed = wire(&["10.0.0.0/8"]);
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "0x7f000001"] {
            let told = get(&closed, format!("http://{host}:{port}/")).await.expect_err(host).to_string();
            assert!(!told.contains("here"), "{told}");
        }
        let told = get(&closed, format!("http://localhost:{port}/")).await.expect_err("refused").to_string();
        assert!(told.contains("replicator.networks does not allow"), "{told}");
        let open = wire(&["127.0.0.0/8", "::1/128"]);
        for host in ["127.0.0.1", "localhost"] {
            assert_eq!(get(&open, format!("http://{host}:{port}/")).await.expect("served"), "here");
        }
        server.await.expect("only those two came in, and the redirect led nowhere");
    }
}
