//! `[[listener]]` and `[tls]`.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use ipnet::IpNet;

use super::super::fault::Fault;
use super::super::secret_ref::SecretRef;
use super::super::values::nearest;
use super::super::written::{self, At, Hidden, Written};
use super::super::{CertificateFiles, Listener, Tls};
use super::Resolver;

/// Networks from which a platform's router may come where nothing was said: the private ones
/// (RFC 1918, RFC 4193) and those between providers (RFC 6598).
const PRIVATE: [&str; 5] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
];

impl Resolver<'_> {
    pub(super) fn tls(
        &mut self,
        written: &BTreeMap<At<String>, written::Tls>,
    ) -> BTreeMap<String, Tls> {
        let mut sets = BTreeMap::new();
        for (name, set) in written {
            let pairs = set.certificates.as_deref();
            if pairs.is_some_and(<[_]>::is_empty) {
                self.fault(
                    name.span(),
                    format!("`tls.{}` has no certificates", name.get()),
                    "at least one pair, `{ chain = \"…\", key = \"file:…\" }`",
                );
            }
            let certificates = pairs
                .unwrap_or_default()
                .iter()
                .filter_map(|pair| self.certificate(name.get(), pair))
                .collect();
            sets.insert(name.get().clone(), Tls { certificates });
        }
        sets
    }

    fn certificate(&mut self, set: &str, pair: &written::Certificate) -> Option<CertificateFiles> {
        let key = pair.key.as_ref().and_then(|key| self.key_file(set, key));
        let written = pair.chain.as_ref()?;
        let chain = self.path(&format!("tls.{set}.certificates.chain"), Some(written), "");
        self.must_be_file(written.span(), &chain);
        Some(CertificateFiles { chain, key: key? })
    }

    fn key_file(&mut self, set: &str, written: &Hidden) -> Option<PathBuf> {
        if let Ok(SecretRef::File(path)) = SecretRef::parse(written.expose()) {
            let path = std::path::absolute(&path).unwrap_or(path);
            self.must_be_file(written.span(), &path);
            return Some(path);
        }
        self.fault(
            written.span(),
            format!("`tls.{set}.certificates.key` does not say which file holds the key"),
            "write `key = \"file:PATH\"`",
        );
        None
    }

    fn must_be_file(&mut self, span: Range<usize>, path: &std::path::Path) {
        if !(self.around.is_file)(path) {
            self.fault(
                span,
                format!("there is no file `{}`", path.display()),
                "`portvakt certs dev --dir certs/dev` makes certificates for development",
            );
        }
    }

    pub(super) fn listeners(
        &mut self,
        written: &Written,
        tls: &BTreeMap<String, Tls>,
    ) -> Vec<Listener> {
        let plain = written
            .listener
            .iter()
            .position(|one| one.tls.is_none() && !self.taken.contains("listener.tls"));
        let port = if plain.is_some() || written.listener.is_empty() {
            self.platform_port()
        } else {
            None
        };
        let mut listeners: Vec<Listener> = Vec::new();
        for (at, one) in written.listener.iter().enumerate() {
            let port = port.filter(|_| plain == Some(at));
            if let Some(listener) = self.listener(one, port, tls, &listeners) {
                listeners.push(listener);
            }
        }
        if written.listener.is_empty() && !self.taken.contains("listener") {
            listeners.extend(self.platform_listener(port));
        }
        self.unused_tls(written);
        listeners
    }

    fn listener(
        &mut self,
        written: &written::Listener,
        port: Option<u16>,
        tls: &BTreeMap<String, Tls>,
        others: &[Listener],
    ) -> Option<Listener> {
        let trusted_proxies = self.networks(&written.trusted_proxies);
        if let Some(name) = &written.tls {
            self.must_be_set(name, tls);
        }
        let at = written.bind.as_ref()?;
        let bind = match port {
            Some(port) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            None => self.address("listener.bind", at)?,
        };
        let believes_nobody =
            written.trusted_proxies.is_empty() && !self.taken.contains("listener.trusted_proxies");
        let proxy_protocol = written.proxy_protocol.as_ref().is_some_and(|it| *it.get());
        if believes_nobody && written.tls.is_none() && !self.taken.contains("listener.tls") {
            self.fault(
                at.span(),
                format!("the listener `{}` has neither `tls` nor `trusted_proxies`", at.get()),
                "give it `tls = \"NAME\"`, or, behind a router that terminates TLS, the router's networks as `trusted_proxies`",
            );
        } else if believes_nobody && proxy_protocol {
            self.fault(
                at.span(),
                format!("the listener `{}` has `proxy_protocol` without `trusted_proxies`", at.get()),
                "anyone could claim any address: give the load balancer's networks as `trusted_proxies`",
            );
        }
        if let Some(other) = others.iter().find(|other| overlap(other.bind, bind)) {
            self.fault(
                at.span(),
                format!(
                    "the listener `{bind}` is in the way of the listener `{}`",
                    other.bind
                ),
                "one address and port each",
            );
        }
        Some(Listener {
            bind,
            tls: written.tls.as_ref().map(|name| name.get().clone()),
            trusted_proxies,
            proxy_protocol,
        })
    }

    fn must_be_set(&mut self, name: &At<String>, tls: &BTreeMap<String, Tls>) {
        let key = name.get();
        let taken = self.taken.contains("tls") || self.taken.contains(&format!("tls.{key}"));
        if tls.contains_key(key) || taken {
            return;
        }
        let help = match nearest(key, tls.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("add a table `[tls.{key}]` with `certificates`"),
        };
        self.fault(name.span(), format!("there is no `[tls.{key}]`"), help);
    }

    fn networks(&mut self, written: &[At<String>]) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for at in written {
            let text = at.get();
            let network: Option<IpNet> = text
                .parse()
                .ok()
                .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            match network {
                Some(network) if network.prefix_len() == 0 => {
                    self.warn(
                        at.span(),
                        format!("`trusted_proxies` has `{text}`: the forwarding headers of everyone are believed"),
                        "name the router's own networks, unless nothing else can reach this port",
                    );
                    networks.push(network);
                }
                Some(network) => networks.push(network.trunc()),
                None => self.fault(
                    at.span(),
                    format!("`trusted_proxies` has `{text}`, which is no network"),
                    "an address and a prefix length, such as `10.0.0.0/8` or `2001:db8::/32`",
                ),
            }
        }
        networks
    }

    /// `PORT`, as platforms such as Heroku set it.
    fn platform_port(&mut self) -> Option<u16> {
        let text = (self.around.env)("PORT").filter(|text| !text.is_empty())?;
        match text.parse() {
            Ok(0) | Err(_) => {
                self.faults.push(
                    Fault::new(format!("the environment variable `PORT` is `{text}`"))
                        .help("a number from 1 to 65535, or unset it"),
                );
                None
            }
            Ok(port) => Some(port),
        }
    }

    fn platform_listener(&mut self, port: Option<u16>) -> Option<Listener> {
        let Some(port) = port else {
            self.fault(
                0..0,
                "there is no `[[listener]]`",
                "add one with `bind` and `tls`; it may be missing only where the platform sets `PORT`",
            );
            return None;
        };
        let warning = Fault::new(format!(
            "no `[[listener]]`, but `PORT`: listening on port {port} without TLS"
        ));
        self.faults.push(
            warning
                .help(format!(
                    "the router is believed if it comes from {}",
                    PRIVATE.join(", ")
                ))
                .warning(),
        );
        Some(Listener {
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            tls: None,
            trusted_proxies: PRIVATE
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
            proxy_protocol: false,
        })
    }

    fn unused_tls(&mut self, written: &Written) {
        let used: HashSet<&str> = written
            .listener
            .iter()
            .filter_map(|one| one.tls.as_ref().map(|name| name.get().as_str()))
            .collect();
        for name in written.tls.keys() {
            if !used.contains(name.get().as_str()) && !self.taken.contains("listener.tls") {
                self.warn(
                    name.span(),
                    format!("no listener uses `[tls.{}]`", name.get()),
                    "name it in a listener's `tls`, or remove it",
                );
            }
        }
    }
}

/// Whether one of two addresses could not be bound because of the other.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0
        && a.port() == b.port()
        && (a.ip() == b.ip() || everywhere && a.is_ipv4() == b.is_ipv4())
}
