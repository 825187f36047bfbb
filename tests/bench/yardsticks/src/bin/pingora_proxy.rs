//! A bare pingora-proxy: one thread, TLS in front, HTTP/1.1 or HTTP/2 by ALPN.
//!
//! `pingora-proxy ADDRESS UPSTREAM CHAIN KEY`

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Server;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Bare {
    upstream: String,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let peer = HttpPeer::new(self.upstream.as_str(), false, String::new());
        Ok(Box::new(peer))
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("which {what}?"));
    let (address, upstream) = (next("address")?, next("upstream")?);
    let (chain, key) = (next("chain")?, next("key")?);
    let settings = ServerConf {
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: 256,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, settings);
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Bare { upstream });
    let mut tls = TlsSettings::intermediate(&chain, &key)?;
    tls.enable_h2();
    proxy.add_tls_with_settings(&address, None, tls);
    server.add_service(proxy);
    server.run_forever()
}
