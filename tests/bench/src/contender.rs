//! Who is measured: how each is configured, started and logged in to. One worker each.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::application::Application;
use crate::login;
use crate::process::{self, Process};

/// The contenders, in the order of the table; the first is what the others are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Nginx,
    NginxAuth,
    Haproxy,
    Pingora,
    Hyper,
    Portvakt,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Nginx,
        Self::NginxAuth,
        Self::Haproxy,
        Self::Pingora,
        Self::Hyper,
        Self::Portvakt,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx, plain",
            Self::NginxAuth => "nginx + auth_request to a session service",
            Self::Haproxy => "HAProxy, plain",
            Self::Pingora => "pingora-proxy, bare",
            Self::Hyper => "hyper + tokio-rustls, bare",
            Self::Portvakt => "Portvakt, its whole job",
        }
    }
}

/// What all contenders are given.
#[derive(Clone, Debug)]
pub struct Ground {
    /// A folder for everything that is written.
    pub folder: PathBuf,
    /// The repository.
    pub repository: PathBuf,
    /// Chain and key, P-256, for `localhost`.
    pub chain: PathBuf,
    pub key: PathBuf,
    pub application: Application,
}

/// One that runs.
#[derive(Debug)]
pub struct Contender {
    pub kind: Kind,
    pub port: u16,
    pub cookie: String,
    pub folder: PathBuf,
    processes: Vec<Process>,
}

/// What differs between two Portvakts of which the growth is measured.
#[derive(Clone, Debug, Default)]
pub struct Size {
    /// Rules beside the shipped ones, and routes.
    pub rules: usize,
    pub routes: usize,
}

impl Contender {
    /// Starts one and waits until it serves.
    pub fn start(kind: Kind, ground: &Ground) -> Result<Self, Failure> {
        if kind == Kind::Portvakt {
            return Self::portvakt(ground, &Size::default());
        }
        let port = free_port()?;
        let folder = ground.folder.join(format!("{kind:?}").to_lowercase());
        fs::create_dir_all(&folder)?;
        let place = Place {
            port,
            folder: &folder,
            ground,
        };
        let processes = match kind {
            Kind::Nginx => vec![place.nginx(&place.nginx_location())?],
            Kind::NginxAuth => place.nginx_with_service()?,
            Kind::Haproxy => vec![place.haproxy()?],
            Kind::Pingora => vec![place.yardstick("pingora-proxy")?],
            Kind::Hyper | Kind::Portvakt => vec![place.yardstick("hyper-proxy")?],
        };
        process::wait_for(([127, 0, 0, 1], port).into())?;
        Ok(Self {
            kind,
            port,
            cookie: COOKIE.to_owned(),
            folder,
            processes,
        })
    }

    /// Portvakt as it ships, logged in to, with as much around as asked for.
    pub fn portvakt(ground: &Ground, size: &Size) -> Result<Self, Failure> {
        let (port, admin) = (free_port()?, free_port()?);
        let folder = tempfile::Builder::new()
            .prefix("portvakt-")
            .tempdir_in(&ground.folder)?
            .keep();
        let place = Place {
            port,
            folder: &folder,
            ground,
        };
        let config = place.portvakt(admin, size)?;
        let built = std::env::var_os("BENCH_PORTVAKT").map(PathBuf::from);
        let program = built.unwrap_or_else(|| ground.repository.join("target/dist/portvakt"));
        let arguments = ["run", "--config", &config.display().to_string()];
        let process = Process::start(&program, &arguments, &folder.join("output"))?;
        process::wait_for(([127, 0, 0, 1], port).into())?;
        let cookie = login::log_in(ground, port, admin)?;
        Ok(Self {
            kind: Kind::Portvakt,
            port,
            cookie,
            folder,
            processes: vec![process],
        })
    }

    /// Every process whose work is this contender's.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().flat_map(Process::family).collect()
    }
}

/// The session's cookie where nobody looks at it, as long as Portvakt's.
const COOKIE: &str = "__Host-portvakt=0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

struct Place<'a> {
    port: u16,
    folder: &'a Path,
    ground: &'a Ground,
}

impl Place<'_> {
    fn nginx(&self, server: &str) -> Result<Process, Failure> {
        let config = self.folder.join("nginx.conf");
        let folder = self.folder.display();
        let text = format!(
            "daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 12000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000000; keepalive_timeout 300s;
  upstream application {{ server {application}; keepalive 256; keepalive_requests 1000000000; }}
  {server}
}}
",
            application = self.ground.application.address,
        );
        fs::write(&config, text)?;
        let config = config.display().to_string();
        let arguments = ["-p", &folder.to_string(), "-c", &config];
        let output = self.folder.join("output");
        Ok(Process::start(Path::new("nginx"), &arguments, &output)?)
    }

    fn nginx_location(&self) -> String {
        self.nginx_server(
            "location / { proxy_pass http://application; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }",
        )
    }

    fn nginx_server(&self, locations: &str) -> String {
        format!(
            "server {{
    listen 127.0.0.1:{port} ssl http2 backlog=4096; server_name localhost;
    ssl_certificate {chain}; ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3; ssl_ecdh_curve X25519:P-256; ssl_session_tickets on;
    {locations}
  }}",
            port = self.port,
            chain = self.ground.chain.display(),
            key = self.ground.key.display(),
        )
    }

    fn nginx_with_service(&self) -> Result<Vec<Process>, Failure> {
        let service = free_port()?;
        let address = format!("127.0.0.1:{service}");
        let session = Process::start(
            &self.built("session-service"),
            &[&address, COOKIE],
            &self.folder.join("service.output"),
        )?;
        process::wait_for(address.parse()?)?;
        let server = self.nginx_server(
            "location / {
      auth_request /session; auth_request_set $user $upstream_http_x_user_id;
      auth_request_set $company $upstream_http_x_company_id;
      proxy_set_header X-User-Id $user; proxy_set_header X-Company-Id $company;
      proxy_pass http://application; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
    }
    location = /session {
      internal; proxy_pass http://sessions; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_pass_request_body off; proxy_set_header Content-Length \"\";
    }",
        );
        let sessions = format!(
            "upstream sessions {{ server {address}; keepalive 256; keepalive_requests 1000000000; }}\n  {server}"
        );
        Ok(vec![self.nginx(&sessions)?, session])
    }

    fn haproxy(&self) -> Result<Process, Failure> {
        let both = self.folder.join("both.pem");
        let pem = [fs::read(&self.ground.chain)?, fs::read(&self.ground.key)?].concat();
        fs::write(&both, pem)?;
        let config = self.folder.join("haproxy.cfg");
        let text = format!(
            "global
  nbthread 1
  maxconn 6000
  tune.ssl.default-dh-param 2048
defaults
  mode http
  timeout client 300s
  timeout server 30s
  timeout connect 5s
  timeout http-keep-alive 300s
  http-reuse always
frontend web
  bind 127.0.0.1:{port} ssl crt {pem} alpn h2,http/1.1 curves X25519:P-256
  default_backend application
backend application
  server one {application}
",
            port = self.port,
            pem = both.display(),
            application = self.ground.application.address,
        );
        fs::write(&config, text)?;
        let config = config.display().to_string();
        let output = self.folder.join("output");
        Ok(Process::start(
            Path::new("haproxy"),
            &["-f", &config],
            &output,
        )?)
    }

    fn yardstick(&self, name: &str) -> Result<Process, Failure> {
        let address = format!("127.0.0.1:{}", self.port);
        let arguments = [
            &address,
            &self.ground.application.address.to_string(),
            &self.ground.chain.display().to_string(),
            &self.ground.key.display().to_string(),
        ];
        let arguments = arguments.map(String::as_str);
        let output = self.folder.join("output");
        Ok(Process::start(&self.built(name), &arguments, &output)?)
    }

    fn built(&self, name: &str) -> PathBuf {
        self.ground
            .repository
            .join("tests/bench/target/dist")
            .join(name)
    }

    /// Writes Portvakt's configuration and policies; returns the configuration's place.
    fn portvakt(&self, admin: u16, size: &Size) -> Result<PathBuf, Failure> {
        let policies = self.folder.join("policies");
        let shipped = self.ground.repository.join("policies");
        let copied = Command::new("cp")
            .arg("-r")
            .arg(&shipped)
            .arg(&policies)
            .status()?;
        if !copied.success() {
            return Err("the policies cannot be copied".into());
        }
        crate::fill::policies(&policies, size)?;
        let text = format!(
            r#"public_url = "https://localhost:{port}"
workers = 1
[[listener]]
bind = "127.0.0.1:{port}"
tls = "default"
[tls.default]
certificates = [{{ chain = "{chain}", key = "file:{key}" }}]
[store]
kind = "embedded"
path = "{folder}/portvakt.redb"
[directory]
kind = "file"
path = "{repository}/config/directory.toml"
[sms]
kind = "outbox"
[[upstream]]
name = "projects"
addresses = ["http://{application}"]
headers = {{ x-user-id = "{{user.id}}", x-user-email = "{{user.email}}", x-company-id = "{{company.id}}", x-portvakt-assertion = "{{assertion}}" }}
[policy]
dir = "{policies}"
[admin]
bind = "127.0.0.1:{admin}"
socket = "{folder}/admin.sock"
[log]
access = "{folder}/access.log"
[audit]
dir = "{folder}/audit"
[limits]
connections = 6000
"#,
            port = self.port,
            chain = self.ground.chain.display(),
            key = self.ground.key.display(),
            folder = self.folder.display(),
            repository = self.ground.repository.display(),
            application = self.ground.application.address,
            policies = policies.display(),
        );
        let config = self.folder.join("portvakt.toml");
        fs::write(&config, text)?;
        Ok(config)
    }
}

fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
