//! A real PostgreSQL for a test: a cluster of its own in a folder of its own, gone at the end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::house::free_port;

/// A server on a port of the loopback address, with the tables of an application in it.
pub(crate) struct Cluster {
    dir: TempDir,
    pub(crate) port: u16,
    options: Vec<String>,
    server: Option<Child>,
}

/// An application's own tables: nothing in them was made for a gateway.
const TABLES: &str = "
create table companies (id text primary key, title text not null);
create table users (
  number serial primary key,
  handle text not null,
  mail text not null,
  mobile text,
  full_name text,
  company_id text not null references companies,
  roles text[] not null default '{}',
  suspended_at timestamptz
);
create index on users (lower(mail));
insert into companies values ('fjord', 'Fjord AS'), ('tinde', 'Tinde AS');
insert into users (handle, mail, mobile, full_name, company_id) values
  ('u-kari', 'Kari@Fjord.example', '+47 900 00 001', 'Kari Nordmann', 'fjord'),
  ('u-ola', 'ola@fjord.example', '+4790000002', 'Ola Nordmann', 'fjord'),
  ('u-nils', 'nils@tinde.example', '+4790000003', 'Nils Hansen', 'tinde');
";

/// The query over them.
pub(crate) const QUERY: &str = "select u.handle as id, u.mail as email, u.mobile as phone, \
u.full_name as name, c.id as company, c.title as company_name, u.roles, \
u.suspended_at is not null as suspended \
from users u join companies c on c.id = u.company_id";

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| Vec::new()).await
    }

    /// With further settings, `name=value`; files that they name may be put into the folder.
    pub(crate) async fn start_with(prepare: impl FnOnce(&Self) -> Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut cluster = Self {
            dir,
            port: free_port(),
            options: Vec::new(),
            server: None,
        };
        cluster.give(cluster.dir.path());
        let made = cluster
            .program("initdb")
            .args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8"])
            .args(["--locale=C.UTF-8", "-D"])
            .arg(cluster.data())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        cluster.options = prepare(&cluster);
        cluster.resume().await;
        cluster.sql(TABLES).await;
        cluster
    }

    /// Starts the server on the data that is there.
    pub(crate) async fn resume(&mut self) {
        let mut command = self.program("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.dir.path())
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.dir.path().join("log")).unwrap());
        for option in &self.options {
            command.args(["-c", option]);
        }
        self.server = Some(command.spawn().unwrap());
        for _ in 0..600 {
            if tokio_postgres::connect(&self.url(), NoTls).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        panic!("PostgreSQL does not answer: {log}");
    }

    /// Stops the server; open connections are cut.
    pub(crate) fn stop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        // Immediate shutdown: the postmaster takes its children with it.
        let told = Command::new("kill")
            .args(["-QUIT", &server.id().to_string()])
            .status();
        assert!(told.unwrap().success());
        server.wait().unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The same through the Unix socket.
    pub(crate) fn socket_url(&self) -> String {
        format!(
            "postgres://postgres@/postgres?host={}&port={}",
            self.dir.path().display(),
            self.port
        )
    }

    /// A connection of one's own; it lives as long as its client.
    pub(crate) async fn client(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    pub(crate) async fn sql(&self, statements: &str) {
        self.client().await.batch_execute(statements).await.unwrap();
    }

    /// Makes a file in the cluster's folder that only the server may read.
    pub(crate) fn keep(&self, name: &str, content: &[u8]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        self.give(&path);
        path
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A program of PostgreSQL; it refuses to run as root, so then as Debian's user for it.
    fn program(&self, name: &str) -> Command {
        let program = programs().join(name);
        let mut command = match unprivileged() {
            Some((user, group)) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={user}"))
                    .arg(format!("--regid={group}"))
                    .args(["--clear-groups", "--"])
                    .arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Makes a file or folder the server's own.
    fn give(&self, path: &Path) {
        if let Some((user, group)) = unprivileged() {
            std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where Debian puts the programs of its newest PostgreSQL.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let newest = versions
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .max();
    newest
        .expect("PostgreSQL is missing: `tests/run.sh` installs Debian's `postgresql`")
        .1
}

/// The user and group `postgres`, where we are root.
fn unprivileged() -> Option<(u32, u32)> {
    let number = |arguments: &[&str]| -> u32 {
        let output = Command::new("id").args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim()
            .parse()
            .expect("the user `postgres` is missing: Debian's `postgresql` makes it")
    };
    (number(&["-u"]) == 0).then(|| (number(&["-u", "postgres"]), number(&["-g", "postgres"])))
}
