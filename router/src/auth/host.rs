//! Whether a request is addressed to this machine by a name that only means this machine. Pure.
//!
//! Where no admin is configured everybody on this machine is let in, and a browser on it runs the scripts of whatever
//! site is open. A site may have its own name resolve to 127.0.0.1 (DNS rebinding) and read and write here as if it
//! were its own server; the name it is then called by, in `Host`, is the only thing that tells.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::request::Parts;
use http::uri::Authority;
use http::{Version, header};

/// Why a request is not known to be meant for this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// It names nobody, which HTTP/1.1 does not allow.
    #[error("a Host header is needed")]
    Missing,
    /// It names something else.
    #[error(
        "without an admin only requests to localhost are served, and this one is to {0:?}; configure an [admin] to \
         serve other names"
    )]
    Named(String),
}

/// Refuses a request that names another host, in its `Host` header or in its target.
pub fn require_loopback(parts: &Parts) -> Result<(), Foreign> {
    let headers = parts.headers.get_all(header::HOST);
    let named = headers.iter().map(|host| host.as_bytes());
    // The target of a request to a proxy names the host as well; a server must go by it.
    let mut named = named.chain(parts.uri.authority().map(|authority| authority.as_str().as_bytes())).peekable();
    if named.peek().is_none() && parts.version >= Version::HTTP_11 {
        return Err(Foreign::Missing);
    }
    match named.find(|host| !is_loopback(host)) {
        None => Ok(()),
        Some(host) => Err(Foreign::Named(String::from_utf8_lossy(host).into_owned())),
    }
}

/// `localhost`, `127.x.y.z` or `[::1]`, with any port.
fn is_loopback(host: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(host) else { return false };
    let host = authority.host();
    if authority.as_str().contains('@') {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|address| address.to_canonical().is_loopback());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost") || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn required(uri: &str, version: Version, hosts: &[&str]) -> Result<(), Foreign> {
        let request = Request::builder().uri(uri).version(version);
        let request = hosts.iter().fold(request, |request, host| request.header(header::HOST, *host));
        require_loopback(&request.body(()).expect("valid").into_parts().0)
    }

    #[test]
    fn this_machine_has_few_names() {
        for host in ["localhost", "LocalHost:5984", "localhost.:1", "127.0.0.1", "127.9.8.7:80", "[::1]", "[::1]:5984"]
        {
            assert!(is_loopback(host.as_bytes()), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:5984",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.localhost",
            "128.0.0.1",
            "0.0.0.0",
            "2130706433",
            "127.1",
            "0177.0.0.1",
            "192.168.1.5:5984",
            "[::2]",
            "[fe80::1]:5984",
            "::1",
            "user@localhost",
            "localhost, evil.example",
            "localhost/evil",
            "",
            " ",
        ] {
            assert!(!is_loopback(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn every_name_in_a_request_counts() {
        let evil = |name: &str| Err(Foreign::Named(name.to_owned()));
        assert_eq!(required("/db", Version::HTTP_11, &["localhost:5984"]), Ok(()));
        assert_eq!(required("/db", Version::HTTP_11, &["evil.example"]), evil("evil.example"));
        assert_eq!(required("/db", Version::HTTP_11, &["localhost", "evil.example"]), evil("evil.example"));
        assert_eq!(required("http://evil.example:1/db", Version::HTTP_11, &["localhost"]), evil("evil.example:1"));
        assert_eq!(required("http://127.0.0.1:5984/db", Version::HTTP_11, &["localhost"]), Ok(()));
    }

    #[test]
    fn only_old_clients_may_name_nobody() {
        assert_eq!(required("/db", Version::HTTP_10, &[]), Ok(()));
        assert_eq!(
            required("/db", Version::HTTP_10, &["evil.example"]),
            Err(Foreign::Named("evil.example".to_owned()))
        );
        assert_eq!(required("/db", Version::HTTP_11, &[]), Err(Foreign::Missing));
    }
}
