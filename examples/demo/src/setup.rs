//! What the gateway needs before it can start: a folder for its state, a configuration in it, and
//! ports that are free.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf, absolute};

use portvakt::cli::certs::{CertsError, DEV_HOSTS, DevCertificates, make_dev};
use portvakt::clock::{Clock, SystemClock, Timestamp};
use portvakt::config::{self, Config, fault::Fault};

/// The repository, whose policies and directory the demo uses.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The folder that holds everything the demo writes; open to its owner alone.
#[derive(Debug)]
pub(crate) struct State {
    folder: PathBuf,
}

impl State {
    /// `folder`, made if it is missing, or a fresh one among the system's temporary files.
    ///
    /// # Errors
    ///
    /// The folder cannot be made.
    pub(crate) fn open(folder: Option<&Path>) -> io::Result<Self> {
        let folder = match folder {
            Some(folder) => {
                let folder = absolute(folder)?;
                private_folder(true).create(&folder)?;
                folder
            }
            None => fresh_folder(&std::env::temp_dir())?,
        };
        let state = Self { folder };
        // Who exists is there to be tried out, so a kept folder keeps what was changed.
        if !state.directory().exists() {
            let shipped = Path::new(REPOSITORY).join("config/directory.toml");
            fs::copy(&shipped, state.directory()).map_err(|e| {
                io::Error::new(
                    e.kind(),
                    format!("cannot copy `{}`: {e}", shipped.display()),
                )
            })?;
        }
        Ok(state)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes development certificates, or keeps those that are still good.
    ///
    /// # Errors
    ///
    /// They cannot be made or written.
    pub(crate) fn certificates(&self) -> Result<DevCertificates, CertsError> {
        let now = SystemClock::starting_at(Timestamp::default()).now();
        make_dev(&self.folder.join("certs"), &DEV_HOSTS, now)
    }

    /// Companies and users.
    pub(crate) fn directory(&self) -> PathBuf {
        self.folder.join("directory.toml")
    }

    /// One JSON line per request.
    pub(crate) fn access_log(&self) -> PathBuf {
        self.folder.join("access.log")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("portvakt.toml")
    }

    /// Writes the whole configuration and reads it as `portvakt run` would, but for the
    /// environment: a `PORT` that happens to be set is not meant for the demo.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or has faults.
    pub(crate) fn configure(
        &self,
        ports: Ports,
        certificates: &DevCertificates,
        service: SocketAddr,
    ) -> Result<Config, String> {
        let file = self.configuration();
        fs::write(&file, self.text(ports, certificates, service))
            .map_err(|e| format!("cannot write `{}`: {e}", file.display()))?;
        let (config, warnings) = config::load(&file, &|_| None).map_err(|f| reports(&f))?;
        eprint!("{}", reports(&warnings));
        Ok(config)
    }

    fn text(&self, ports: Ports, certificates: &DevCertificates, service: SocketAddr) -> String {
        let listeners: String = ports
            .public_addresses()
            .iter()
            .map(|bind| format!("[[listener]]\nbind = \"{bind}\"\ntls = \"default\"\n\n"))
            .collect();
        let policies = Path::new(REPOSITORY).join("policies");
        format!(
            r#"# Written by the demo at each start; `directory.toml` beside it is yours to change.
public_url = "{url}"

{listeners}[tls.default]
certificates = [{{ chain = {chain}, key = {key} }}]

[store]
kind = "embedded"
path = {store}

[directory]
kind = "file"
path = {directory}

[sms]
kind = "outbox"

[[upstream]]
name = "projects"
addresses = ["http://{service}"]

[policy]
dir = {policies}

[admin]
bind = "{admin}"
socket = {socket}

[log]
access = {access_log}
"#,
            url = ports.url(),
            chain = quoted(&certificates.chain, ""),
            key = quoted(&certificates.key, "file:"),
            store = quoted(&self.folder.join("portvakt.redb"), ""),
            directory = quoted(&self.directory(), ""),
            policies = quoted(&policies.canonicalize().unwrap_or(policies), ""),
            admin = ports.admin_address(),
            socket = quoted(&self.folder.join("admin.sock"), ""),
            access_log = quoted(&self.access_log(), ""),
        )
    }
}

/// The two ports, both on loopback.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// The gateway.
    pub(crate) public: u16,
    /// Metrics, health, outbox.
    pub(crate) admin: u16,
}

impl Ports {
    pub(crate) fn url(self) -> String {
        format!("https://localhost:{}", self.public)
    }

    pub(crate) fn admin_address(self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.admin).into()
    }

    /// Where `localhost` may lead: browsers try IPv6 first, where there is one.
    fn public_addresses(self) -> Vec<SocketAddr> {
        let mut addresses = vec![(Ipv4Addr::LOCALHOST, self.public).into()];
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            addresses.push((Ipv6Addr::LOCALHOST, self.public).into());
        }
        addresses
    }

    /// Whether both can be had. The gateway's own sockets may share a port with another gateway,
    /// so it would not notice that there is one.
    ///
    /// # Errors
    ///
    /// What to do where one cannot.
    pub(crate) fn are_free(self) -> Result<(), String> {
        let public = self
            .public_addresses()
            .into_iter()
            .map(|address| (address, "--port"));
        for (address, option) in public.chain([(self.admin_address(), "--admin-port")]) {
            TcpListener::bind(address).map_err(|e| match e.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "port {} is in use, perhaps by another demo; stop that, or choose another with `{option}`",
                    address.port()
                ),
                _ => format!("cannot listen on `{address}`: {e}; choose another port with `{option}`"),
            })?;
        }
        Ok(())
    }
}

/// All of them, one after the other.
pub(crate) fn reports(faults: &[Fault]) -> String {
    faults.iter().map(Fault::report).collect()
}

fn private_folder(may_exist: bool) -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700).recursive(may_exist);
    builder
}

/// A new folder below `parent` that nobody else made: one that is there already is passed over,
/// whoever put it there.
fn fresh_folder(parent: &Path) -> io::Result<PathBuf> {
    let process = std::process::id();
    let mut attempt = 0_u32;
    loop {
        let folder = parent.join(format!("portvakt-demo-{process}-{attempt}"));
        match private_folder(false).create(&folder) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
            made => return made.map(|()| folder),
        }
    }
}

/// A path as a TOML string; JSON's way to quote is among TOML's (TOML 1.0, basic strings).
fn quoted(path: &Path, scheme: &str) -> String {
    serde_json::Value::String(format!("{scheme}{}", path.display())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports {
        public: 8443,
        admin: 9090,
    };

    fn service() -> SocketAddr {
        "127.0.0.1:3000".parse().unwrap()
    }

    #[test]
    fn the_configuration_is_one_that_the_gateway_reads() {
        let folder = fresh_folder(&std::env::temp_dir()).unwrap();
        let folder = folder.join("it's a \"folder\" with \\ and æ");
        let state = State::open(Some(&folder)).unwrap();
        let certificates = state.certificates().unwrap();
        let config = state.configure(PORTS, &certificates, service()).unwrap();
        assert_eq!(config.public_url.origin(), "https://localhost:8443");
        assert_eq!(config.listeners[0].bind, "127.0.0.1:8443".parse().unwrap());
        assert_eq!(config.upstreams[0].endpoints[0].port, 3000);
        assert_eq!(
            config.tls["default"].certificates[0].chain,
            certificates.chain
        );
        fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_kept_folder_keeps_who_exists() {
        let folder = fresh_folder(&std::env::temp_dir()).unwrap();
        let state = State::open(Some(&folder)).unwrap();
        fs::write(state.directory(), "# mine\n").unwrap();
        let state = State::open(Some(&folder)).unwrap();
        assert_eq!(fs::read_to_string(state.directory()).unwrap(), "# mine\n");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn two_fresh_folders_are_not_one() {
        let parent = fresh_folder(&std::env::temp_dir()).unwrap();
        let one = fresh_folder(&parent).unwrap();
        let other = fresh_folder(&parent).unwrap();
        assert_ne!(one, other);
        fs::remove_dir_all(parent).unwrap();
    }

    #[test]
    fn a_taken_port_is_told() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let admin = taken.local_addr().unwrap().port();
        let fault = Ports { public: 0, admin }.are_free().unwrap_err();
        assert!(
            fault.contains(&admin.to_string()) && fault.contains("--admin-port"),
            "{fault}"
        );
    }
}
