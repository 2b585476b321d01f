//! Which servers a replication may call. Pure.
//!
//! A URL must be on the list of those allowed; and the address that its name leads to must be a public one, or in a
//! network that the operator named. The second is asked of every connection when its address is known, so that a name
//! that leads elsewhere tomorrow leads nowhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use common::config;
use http::Uri;
use ipnet::IpNet;

/// What may be called.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// `None` for every server.
    prefixes: Vec<Option<Prefix>>,
    networks: Vec<IpNet>,
}

/// The start of URLs.
#[derive(Debug, Clone)]
struct Prefix {
    scheme: String,
    host: String,
    port: u16,
    path: String,
}

impl Rules {
    /// The rules of a configuration, which was checked when it was read.
    pub(crate) fn of(config: &config::Replicator) -> Self {
        let prefix = |entry: &String| match entry.as_str() {
            "*" => Some(None),
            text => Prefix::of(&text.parse().ok()?).map(Some),
        };
        Self { prefixes: config.allow.iter().filter_map(prefix).collect(), networks: config.networks.clone() }
    }

    /// Whether a URL is on the list.
    pub(crate) fn admits(&self, uri: &Uri) -> bool {
        let Some(asked) = Prefix::of(uri) else { return false };
        self.prefixes.iter().any(|prefix| prefix.as_ref().is_none_or(|prefix| prefix.covers(&asked)))
    }

    /// Whether an address may be connected to.
    pub(crate) fn admits_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.networks.iter().any(|network| network.contains(&address))
    }
}

impl Prefix {
    fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let port = match (uri.port_u16(), scheme.as_str()) {
            (Some(port), "http" | "https") => port,
            (None, "http") => 80,
            (None, "https") => 443,
            _ => return None,
        };
        let host = uri.host()?.trim_end_matches('.').to_ascii_lowercase();
        // A path that climbs could leave the prefix behind.
        let path = uri.path().trim_end_matches('/').to_owned();
        let climbs = path.split('/').any(|segment| {
            let segment = percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
            matches!(segment.as_ref(), "." | "..")
        });
        (!climbs).then_some(Self { scheme, host, port, path })
    }

    fn covers(&self, asked: &Self) -> bool {
        let host = match self.host.strip_prefix("*.") {
            Some(domain) => asked.host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
            None => asked.host == self.host,
        };
        let path = asked.path.strip_prefix(&self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        host && path && asked.scheme == self.scheme && asked.port == self.port
    }
}

/// Whether an address is one of the internet at large: neither this machine nor its network, nor one that means many,
/// nobody, or something else in disguise.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // "This" network; shared by a provider's customers; protocol assignments; 6to4 relays; benchmarks; reserved.
        (0, _, _) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) | (240..=255, _, _) => true,
        _ => false,
    };
    let local = address.is_loopback() || address.is_private() || address.is_link_local();
    !(special || local || address.is_multicast() || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let last = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        // An address of version 4 in disguise: translated (NAT64), compatible, 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] => {
            !matches!(segments, [0, 0, 0, 0, 0, 0, 0, 0..=1]) && is_public_v4(last(high, low))
        }
        [0x2002, high, low, ..] => is_public_v4(last(high, low)),
        // Only this part is given out at all; Teredo and the rest of the protocols' own block, and documentation, are
        // not places.
        [0x2001, 0x0000..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => false,
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], networks: &[&str]) -> Rules {
        Rules::of(&config::Replicator {
            allow: allow.iter().map(|entry| (*entry).to_owned()).collect(),
            networks: networks.iter().map(|network| network.parse().expect("a network")).collect(),
            ..config::Replicator::default()
        })
    }

    #[test]
    fn nothing_is_allowed_unless_it_is_listed() {
        let admits = |allow: &[&str], url: &str| rules(allow, &[]).admits(&url.parse().expect("a URL"));
        for (allow, url, wanted) in [
            ("", "https://db.example/a", false),
            ("*", "http://anything.example:1/a", true),
            ("https://db.example", "https://db.example/a", true),
            ("https://db.example", "https://DB.example.:443/a", true),
            ("https://db.example", "https://user:pass@db.example/a", true),
            ("https://db.example", "http://db.example/a", false),
            ("https://db.example", "https://db.example:5984/a", false),
            ("https://db.example", "https://db.example.evil.example/a", false),
            ("https://db.example", "https://evil.example/https://db.example", false),
            ("https://db.example", "https://db.example@evil.example/a", false),
            ("https://*.example", "https://a.b.example/x", true),
            ("https://*.example", "https://example/x", false),
            ("https://*.example", "https://evilexample/x", false),
            ("http://h:5984/team", "http://h:5984/team/db", true),
            ("http://h:5984/team", "http://h:5984/teammate", false),
            ("http://h:5984/team/", "http://h:5984/team", true),
            ("http://h:5984/team", "http://h:5984/team/../other", false),
            ("http://h:5984/team", "http://h:5984/team/%2e%2e/other", false),
            ("*", "ftp://h/a", false),
        ] {
            assert_eq!(
                admits(if allow.is_empty() { &[] } else { std::slice::from_ref(&allow) }, url),
                wanted,
                "{allow} {url}"
            );
        }
    }

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        let admits = |text: &str| rules(&["*"], &[]).admits_address(text.parse().expect("an address"));
        for public in
            ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "64:ff9b::0101:0101", "::ffff:1.1.1.1"]
        {
            assert!(admits(public), "{public}");
        }
        for refused in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "::7f00:1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "4000::1",
        ] {
            assert!(!admits(refused), "{refused}");
        }
    }

    #[test]
    fn a_network_that_is_named_may_be_called() {
        let rules = rules(&["*"], &["127.0.0.0/8", "fd00::/16"]);
        let admits = |text: &str| rules.admits_address(text.parse().expect("an address"));
        assert!(admits("127.0.0.1") && admits("::ffff:127.0.0.1") && admits("fd00::1"));
        assert!(!admits("10.0.0.1") && !admits("::1") && !admits("fd01::1"));
    }
}
