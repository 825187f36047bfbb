//! The benchmark: what a request through Portvakt costs, beside what people run today.
//!
//! `tests/bench/run.sh` builds and starts everything; the result is `docs/performance.md`.
//!
//! Every contender runs one worker on one core; the load and the application behind are on the
//! other. A round measures all of them in turn, so that the machine's moods meet all alike, and
//! what is reported is the median, with the range, of the rounds' ratios to plain nginx.

mod application;
mod contender;
mod fill;
mod growth;
mod load;
mod login;
mod probe;
mod process;
mod report;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use application::Application;
use contender::{Contender, Ground, Kind};
use load::{Aim, Http};
use probe::{Probe, Shake};
use table::{Figure, Table};

/// Anything that keeps a figure from being measured.
pub type Failure = Box<dyn std::error::Error>;

/// Measures and writes `docs/performance.md`.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub struct Options {
    /// How often everything is measured
    #[arg(long, default_value_t = 5)]
    rounds: u32,

    /// How long each load is looked at
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,

    /// Only these contenders, by the beginning of their names; nginx is always there
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Only these figures: cpu, calls, handshakes, memory, latency, growth
    #[arg(long, value_name = "FIGURE")]
    figures: Vec<String>,

    /// Folder for the report [default: docs, in the repository]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Options {
    fn measures(&self, figure: &str) -> bool {
        self.figures.is_empty() || self.figures.iter().any(|name| name == figure)
    }

    fn takes_part(&self, kind: Kind) -> bool {
        let name = kind.name().to_lowercase();
        kind == Kind::Nginx
            || self.only.is_empty()
            || self.only.iter().any(|only| name.starts_with(only))
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()?;
    let certificates = repository.join("certs/dev");
    let folder = tempfile::Builder::new()
        .disable_cleanup(std::env::var_os("BENCH_KEEP").is_some())
        .tempdir()?;
    let ground = Ground {
        folder: folder.path().to_owned(),
        chain: certificates.join("localhost.pem"),
        key: certificates.join("localhost.key"),
        application: Application::start()?,
        repository: repository.clone(),
    };
    let mut contenders = Vec::new();
    for kind in Kind::ALL
        .into_iter()
        .filter(|kind| options.takes_part(*kind))
    {
        contenders.push(Contender::start(kind, &ground)?);
    }
    let authority = certificates.join("ca.pem");
    let mut table = Table::default();
    for round in 1..=options.rounds {
        for contender in &contenders {
            eprintln!(
                "round {round} of {}: {}",
                options.rounds,
                contender.kind.name()
            );
            measure(options, contender, &ground, &authority, &mut table)?;
        }
        table.end_round();
    }
    drop(contenders);
    let growth = match options.measures("growth") {
        true => growth::measure(options, &ground)?,
        false => Vec::new(),
    };
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| repository.join("docs"));
    report::write(&out, &table, &growth, options)
}

fn measure(
    options: &Options,
    contender: &Contender,
    ground: &Ground,
    authority: &std::path::Path,
    table: &mut Table,
) -> Result<(), Failure> {
    let time = Duration::from_secs_f64(options.seconds);
    let paths: Vec<String> = (1..=10)
        .map(|number| format!("/projects/{number}"))
        .collect();
    let pids = contender.pids();
    let aim = Aim {
        port: contender.port,
        cookie: &contender.cookie,
        paths: &paths,
        pids: &pids,
        application: &ground.application,
        folder: &contender.folder,
    };
    let kind = contender.kind;
    for http in [Http::One, Http::Two] {
        if options.measures("cpu") || options.measures("latency") {
            let shown = aim.load(http, time, None)?;
            table.add(kind, Figure::Cpu(http), shown.cpu);
            table.add(kind, Figure::PerSecond(http), shown.per_second);
            table.add(kind, Figure::P50(http), shown.p50);
            table.add(kind, Figure::P99(http), shown.p99);
            if options.measures("latency") {
                // The same absolute load for all: half of what plain nginx can do.
                let half = table
                    .first(Figure::PerSecond(http))
                    .unwrap_or(shown.per_second)
                    / 2.0;
                let calm = aim.load(http, time, Some(half))?;
                table.add(kind, Figure::CalmP50(http), calm.p50);
                table.add(kind, Figure::CalmP99(http), calm.p99);
            }
        }
        if options.measures("calls") {
            let log = contender.folder.join("strace");
            let (before, after) = (ground.application.answered(), ());
            let (calls, load) = process::system_calls(&pids, &log, || {
                aim.load(http, time.min(Duration::from_secs(1)), None)
            })?;
            let () = after;
            load?;
            let requests = ground.application.answered() - before;
            table.add(kind, Figure::Calls(http), calls as f64 / requests as f64);
        }
    }
    let probe = Probe {
        port: contender.port,
        cookie: &contender.cookie,
        authority,
    };
    if options.measures("handshakes") {
        table.add(
            kind,
            Figure::Full,
            probe.handshakes(Shake::Full, 500, &pids)?,
        );
        let resumed = probe.handshakes(Shake::Resumed, 500, &pids)?;
        table.add(kind, Figure::Resumed, resumed);
        if matches!(kind, Kind::Portvakt | Kind::Hyper) {
            let post_quantum = probe.handshakes(Shake::PostQuantum, 500, &pids)?;
            table.add(kind, Figure::PostQuantum, post_quantum);
        }
    }
    if options.measures("memory") {
        // A fresh one: what earlier connections have left behind would serve these.
        let fresh = Contender::start(kind, ground)?;
        let probe = Probe {
            port: fresh.port,
            cookie: &fresh.cookie,
            authority,
        };
        table.add(kind, Figure::Memory, probe.idle(1_000, &fresh.pids())?);
    }
    Ok(())
}
