//! Where a request came from, and how its client reached us: through a proxy or not.
//!
//! `X-Forwarded-For`, `-Proto` and `-Host` are believed when the connection comes from one of `server.trusted_proxies`, and
//! only then. Every proxy appends the address that it saw to `X-Forwarded-For`, so the client is the last one that is not a
//! trusted proxy itself: what comes before that, the client may have made up.

use std::net::IpAddr;

use actix_web::http::header::HeaderMap;
use ipnet::IpNet;

/// What is known about how a request came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The client's address; none for connections that have none.
    pub address: Option<IpAddr>,
    /// `http` or `https`, as the client used it.
    pub scheme: &'static str,
    /// Host and port, as the client used them.
    pub host: String,
}

impl Origin {
    /// The origin of a request over a connection from `peer`.
    pub fn new(
        peer: Option<IpAddr>,
        is_encrypted: bool,
        host: &str,
        headers: &HeaderMap,
        trusted: &[IpNet],
    ) -> Self {
        let direct = Self {
            address: peer,
            scheme: if is_encrypted { "https" } else { "http" },
            host: host.to_owned(),
        };
        let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
        if !peer.as_ref().is_some_and(is_trusted) {
            return direct;
        }
        let forwarded = headers.get_all("x-forwarded-for");
        let addresses: Vec<IpAddr> = forwarded
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map_while(|text| text.trim().parse().ok())
            .collect();
        let client = addresses.iter().rev().find(|address| !is_trusted(address));
        let last = |name: &str| {
            let value = headers.get_all(name).last()?.to_str().ok()?;
            value.rsplit(',').next().map(str::trim)
        };
        Self {
            address: client.or(addresses.first()).copied().or(peer),
            scheme: match last("x-forwarded-proto") {
                Some("https") => "https",
                Some("http") => "http",
                _ => direct.scheme,
            },
            host: last("x-forwarded-host").map_or(direct.host, str::to_owned),
        }
    }

    /// The address as text.
    pub fn address_text(&self) -> String {
        self.address
            .map_or_else(|| "unknown".to_owned(), |address| address.to_string())
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn origin(peer: &str, headers: &[(&'static str, &'static str)]) -> Origin {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        Origin::new(
            Some(peer.parse().unwrap()),
            false,
            "calve:8080",
            &map,
            &trusted,
        )
    }

    fn address(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        origin(peer, headers).address_text()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let headers = [
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "upload.example.com"),
        ];
        let direct = origin("203.0.113.9", &headers);
        assert_eq!(direct.address_text(), "203.0.113.9");
        assert_eq!((direct.scheme, &*direct.host), ("http", "calve:8080"));
        let proxied = origin("10.1.2.3", &headers);
        assert_eq!(proxied.address_text(), "198.51.100.7");
        assert_eq!(
            (proxied.scheme, &*proxied.host),
            ("https", "upload.example.com")
        );
    }

    #[test]
    fn what_the_client_made_up_is_not_its_address() {
        let made_up = [("x-forwarded-for", "127.0.0.1, 198.51.100.7, 10.9.9.9")];
        assert_eq!(address("10.1.2.3", &made_up), "198.51.100.7");
        let in_two = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "198.51.100.7"),
        ];
        assert_eq!(address("10.1.2.3", &in_two), "198.51.100.7");
        let inside = [("x-forwarded-for", "10.4.4.4, 10.5.5.5")];
        assert_eq!(address("10.1.2.3", &inside), "10.4.4.4");
        assert_eq!(address("10.1.2.3", &[]), "10.1.2.3");
        assert_eq!(
            address("fd00::1", &[("x-forwarded-for", "2001:db8::5")]),
            "2001:db8::5"
        );
    }

    #[test]
    fn nonsense_is_passed_over() {
        assert_eq!(
            address("10.1.2.3", &[("x-forwarded-for", "unknown")]),
            "10.1.2.3"
        );
        let odd = origin("10.1.2.3", &[("x-forwarded-proto", "gopher")]);
        assert_eq!(odd.scheme, "http");
    }
}
