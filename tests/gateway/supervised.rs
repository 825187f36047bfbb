//! The gateway as a process that a supervisor starts: it holds the listening sockets, hands them
//! over as systemd does, and is told how the process fares.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

use crate::house::House;

/// What systemd would hold: one listening socket, for as long as it lives.
pub(crate) struct Supervisor {
    socket: TcpListener,
    config: PathBuf,
    folder: PathBuf,
    started: usize,
    watchdog: Option<Duration>,
    descriptors: Option<u32>,
}

/// One process that it has started.
pub(crate) struct Process {
    child: Child,
    told: Arc<Mutex<Vec<String>>>,
    log: PathBuf,
}

impl Supervisor {
    /// Holds the socket of a house's address, whose own gateway has ended.
    pub(crate) fn of(house: &House) -> Self {
        assert!(
            house.gateway.is_none(),
            "the house's gateway is still there"
        );
        Self::on(house, ([127, 0, 0, 1], house.port).into())
    }

    pub(crate) fn on(house: &House, address: SocketAddr) -> Self {
        Self {
            socket: TcpListener::bind(address).unwrap(),
            config: house.config_file(),
            folder: house.dir.path().to_owned(),
            started: 0,
            watchdog: None,
            descriptors: None,
        }
    }

    pub(crate) fn watching(mut self, patience: Duration) -> Self {
        self.watchdog = Some(patience);
        self
    }

    /// With so few descriptors (`RLIMIT_NOFILE`).
    pub(crate) fn scarce(mut self, descriptors: u32) -> Self {
        self.descriptors = Some(descriptors);
        self
    }

    /// Starts the gateway on the socket, as `sd_listen_fds(3)` and `sd_notify(3)` have it.
    pub(crate) fn start(&mut self) -> Process {
        self.started += 1;
        let notify = self.folder.join(format!("notify-{}", self.started));
        let log = self.folder.join(format!("log-{}", self.started));
        let out = std::fs::File::create(&log).unwrap();
        let told = listen(&notify);
        // Only the process itself knows its number, and the socket must be its third descriptor.
        let script = "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 0</dev/null";
        let script = match self.descriptors {
            Some(few) => format!("ulimit -n {few}; {script}"),
            None => script.to_owned(),
        };
        let mut command = Command::new("sh");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_portvakt")])
            .args(["run", "--config"])
            .arg(&self.config)
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "web")
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::from(OwnedFd::from(self.socket.try_clone().unwrap())))
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .kill_on_drop(true);
        if let Some(patience) = self.watchdog {
            command.env("WATCHDOG_USEC", patience.as_micros().to_string());
        }
        let child = command.spawn().unwrap();
        Process { child, told, log }
    }
}

fn listen(path: &Path) -> Arc<Mutex<Vec<String>>> {
    let socket = UnixDatagram::bind(path).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            log.lock().unwrap().push(text);
        }
    });
    told
}

impl Process {
    /// Everything that the supervisor was told.
    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until a line was told for the `times`th time.
    pub(crate) async fn tells(&mut self, line: &str, times: usize) {
        for _ in 0..6_000 {
            let told = self.told();
            let lines = told.iter().flat_map(|one| one.lines());
            if lines.filter(|one| one.starts_with(line)).count() >= times {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!(
                    "ended with {status} before it told `{line}`: {}",
                    self.log()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("`{line}` was not told: {:?}\n{}", self.told(), self.log());
    }

    /// How much of a processor it has used so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let id = self.child.id().expect("it runs");
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|one| one.parse::<u64>().unwrap()).sum();
        // Ticks are hundredths of a second on every Linux of today (`proc_pid_stat(5)`).
        Duration::from_millis(ticks * 10)
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let id = self.child.id().expect("it runs");
        std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([name, &id]).status().await;
        assert!(sent.unwrap().success());
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait());
        ended.await.expect("it ends").unwrap()
    }

    /// `SIGTERM`, and the end.
    pub(crate) async fn stop(mut self) {
        self.signal("-TERM").await;
        let status = self.ended().await;
        assert!(status.success(), "{status}: {}", self.log());
    }
}
