//! A contender's processes: started on their core, measured through `/proc`, stopped at the end.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Failure;

/// The core of what is measured.
pub const MEASURED: &str = "0";

/// A process that ends with this value.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a program on the measured core; its output goes to a file.
    pub fn start(program: &Path, arguments: &[&str], log: &Path) -> io::Result<Self> {
        let log = fs::File::create(log)?;
        let child = Command::new("taskset")
            .args(["-c", MEASURED])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self(child))
    }

    /// It, and what it started.
    pub fn family(&self) -> Vec<u32> {
        let mut family = vec![self.0.id()];
        let mut at = 0;
        while let Some(pid) = family.get(at).copied() {
            at += 1;
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.unwrap_or_default();
            family.extend(
                children
                    .split(' ')
                    .filter_map(|pid| pid.trim().parse::<u32>().ok()),
            );
        }
        family
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for pid in self.family().into_iter().rev() {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
        let patience = Instant::now() + Duration::from_secs(5);
        while Instant::now() < patience {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something accepts connections there.
pub fn wait_for(address: SocketAddr) -> Result<(), Failure> {
    let patience = Instant::now() + Duration::from_secs(20);
    while Instant::now() < patience {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(20));
    }
    Err(format!("nothing listens on {address}").into())
}

/// User and system time of processes so far, from `/proc/PID/stat`.
pub fn cpu(pids: &[u32]) -> Result<Duration, Failure> {
    let mut ticks = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name may hold anything, even blanks; what follows its last bracket is numbers.
        let (_, rest) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        for at in [11, 12] {
            ticks += fields.get(at).ok_or("a short stat")?.parse::<u64>()?;
        }
    }
    // USER_HZ is 100 on every Linux that this runs on.
    Ok(Duration::from_millis(ticks * 10))
}

/// Memory of processes that is theirs, shared pages counted in part (PSS), in bytes.
pub fn memory(pids: &[u32]) -> Result<u64, Failure> {
    let mut total = 0;
    for pid in pids {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line.ok_or("no PSS")?.trim().trim_end_matches(" kB");
        total += kib.parse::<u64>()? * 1024;
    }
    Ok(total)
}

/// How many system calls processes make while `meanwhile` runs, as strace counts them.
pub fn system_calls<T>(
    pids: &[u32],
    log: &Path,
    meanwhile: impl FnOnce() -> T,
) -> Result<(u64, T), Failure> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(log);
    for pid in pids {
        strace.args(["-p", &pid.to_string()]);
    }
    let mut strace = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    sleep(Duration::from_millis(500));
    let outcome = meanwhile();
    Command::new("kill")
        .args(["-INT", &strace.id().to_string()])
        .status()?;
    strace.wait()?;
    let table = fs::read_to_string(log)?;
    let total = table.lines().rev().find(|line| line.ends_with("total"));
    let calls = total.and_then(|line| line.split_whitespace().nth(3));
    let calls = calls.ok_or_else(|| format!("strace counted nothing: {table}"))?;
    Ok((calls.parse()?, outcome))
}
