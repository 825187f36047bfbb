//! Load, by h2load: both versions of HTTP over TLS, with one cookie.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::application::Application;
use crate::process;

/// Connections that are kept busy.
pub const CONNECTIONS: usize = 64;

/// How long a load runs before it is looked at: handshakes are over then, caches are warm.
const WARM_UP: Duration = Duration::from_millis(800);

/// Which HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

impl Http {
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "HTTP/1.1",
            Self::Two => "HTTP/2",
        }
    }
}

/// Where load goes, and what it is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Aim<'a> {
    pub port: u16,
    pub cookie: &'a str,
    pub paths: &'a [String],
    pub pids: &'a [u32],
    pub application: &'a Application,
    /// For files of this run.
    pub folder: &'a Path,
}

/// What a while of load showed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// Of all the contender's processes, per request, in microseconds.
    pub cpu: f64,
    pub per_second: f64,
    /// Of the requests, in milliseconds.
    pub p50: f64,
    pub p99: f64,
}

impl Aim<'_> {
    /// Loads as hard as it goes, or with so many requests a second, for `time` after the warm-up.
    ///
    /// # Errors
    ///
    /// A request that was not answered 200, and whatever h2load says.
    pub fn load(
        &self,
        http: Http,
        time: Duration,
        per_second: Option<f64>,
    ) -> Result<Shown, Failure> {
        let log = self.folder.join("h2load.log");
        let said = self.folder.join("h2load.out");
        let uris = self.folder.join("uris");
        let address = |path: &String| format!("https://localhost:{}{path}\n", self.port);
        fs::write(&uris, self.paths.iter().map(address).collect::<String>())?;
        // h2load adds to a log that is there.
        let _ = fs::remove_file(&log);
        let whole = WARM_UP + time + Duration::from_millis(400);
        let mut command = Command::new("h2load");
        if http == Http::One {
            command.arg("--h1");
        }
        command
            .args(["-t1", "-m1", &format!("-c{CONNECTIONS}")])
            .arg(format!("-D{}ms", whole.as_millis()))
            .arg(format!("--log-file={}", log.display()))
            .arg(format!("--header=cookie: {}", self.cookie))
            .arg(format!("--input-file={}", uris.display()));
        if let Some(per_second) = per_second {
            let each = per_second / CONNECTIONS as f64;
            command.arg(format!("--rps={each:.1}"));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(fs::File::create(&said)?)
            .stderr(Stdio::null())
            .spawn()?;
        sleep(WARM_UP);
        let begin = (
            Instant::now(),
            process::cpu(self.pids)?,
            self.application.answered(),
        );
        sleep(time);
        let end = (
            Instant::now(),
            process::cpu(self.pids)?,
            self.application.answered(),
        );
        let status = child.wait()?;
        let said = fs::read_to_string(&said)?;
        if !status.success() {
            return Err(format!("h2load: {status}: {said}").into());
        }
        let requests = end.2 - begin.2;
        if requests == 0 {
            return Err(format!("nothing reached the application: {said}").into());
        }
        let took = latencies(&fs::read_to_string(&log)?)?;
        let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied();
        Ok(Shown {
            cpu: (end.1 - begin.1).as_secs_f64() * 1e6 / requests as f64,
            per_second: requests as f64 / (end.0 - begin.0).as_secs_f64(),
            p50: at(0.5).unwrap_or(f64::NAN),
            p99: at(0.99).unwrap_or(f64::NAN),
        })
    }
}

/// How long each request took, in milliseconds, sorted; the first tenth, of the warm-up, is left
/// out. Lines are: when, in µs; status; how long, in µs.
fn latencies(log: &str) -> Result<Vec<f64>, Failure> {
    let mut all = Vec::new();
    for line in log.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [when, status, took] = fields[..] else {
            return Err(format!("what h2load logs is strange: `{line}`").into());
        };
        // -1: under way when the time was over.
        if status != "200" && status != "-1" {
            return Err(format!("a request was answered {status}").into());
        }
        if status == "200" {
            all.push((when.parse::<u64>()?, took.parse::<f64>()? / 1000.0));
        }
    }
    all.sort_by_key(|(when, _)| *when);
    let mut took: Vec<f64> = all
        .iter()
        .skip(all.len() / 10)
        .map(|(_, took)| *took)
        .collect();
    took.sort_by(f64::total_cmp);
    Ok(took)
}
