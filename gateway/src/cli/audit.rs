//! `portvakt audit`: look at the trail, and see that nobody rewrote it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::gateway::printable;
use super::{ConfigFile, complain, counted, now, report, say, say_json};
use crate::app;
use crate::audit::{self, Chosen, Follower, PublicKey};
use crate::config::{self, Config};

mod summary;

use summary::Summary;

/// How often a trail that is followed is looked at.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Go through the trail: its chain, and the signed heads that vouch for it; exit 1 and name the
    /// first record that is wrong
    Verify(VerifyArgs),
    /// Show records, and follow them as they come
    Tail(TailArgs),
    /// Sum up what happened: logins, refusals, writes, changes
    Report(ReportArgs),
}

/// Which trail.
#[derive(Debug, Args)]
struct Trail {
    #[command(flatten)]
    config: ConfigFile,

    /// The folder of the trail, such as a copy of it [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    trail: Trail,

    /// The public key that heads are signed with, as `verify` shows it where the gateway runs; with
    /// `--dir`, no configuration is needed then
    #[arg(long, value_name = "BASE64")]
    key: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct TailArgs {
    #[command(flatten)]
    trail: Trail,

    /// Only records of this user, by identifier
    #[arg(long, value_name = "ID")]
    user: Option<String>,

    /// Only records of this company, by identifier
    #[arg(long, value_name = "ID")]
    company: Option<String>,

    /// Only what ended so: allow, deny, ok, wrong_code …
    #[arg(long, value_name = "RESULT")]
    verdict: Option<String>,

    /// Only what was about this resource, such as Project::7, or about its type
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,

    /// Only this event or kind of event, such as login
    #[arg(long, value_name = "EVENT")]
    event: Option<String>,

    /// Only what is not older than this, such as 30m, 7d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// How many of the last records to show
    #[arg(long, short = 'n', default_value_t = 20)]
    lines: usize,

    /// Go on with those that come, until Ctrl-C
    #[arg(long, short)]
    follow: bool,

    /// Print records as they are, one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    trail: Trail,

    /// From when on, such as 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,

    /// Write a page for browsers into this file; it needs no other
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &AuditCommand) -> ExitCode {
    let done = match command {
        AuditCommand::Verify(args) => verify(args),
        AuditCommand::Tail(args) => tail(args),
        AuditCommand::Report(args) => summarise(args),
    };
    done.unwrap_or_else(|reason| {
        if !reason.is_empty() {
            complain(&format!("portvakt: {reason}\n"));
        }
        ExitCode::FAILURE
    })
}

impl Trail {
    fn config(&self) -> Result<Config, String> {
        let (config, faults) = config::examine(&self.config.path, &config::environment);
        config.ok_or_else(|| {
            report(&faults);
            String::new()
        })
    }

    fn dir(&self) -> Result<PathBuf, String> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(self.config()?.audit.dir),
        }
    }
}

fn verify(args: &VerifyArgs) -> Result<ExitCode, String> {
    let dir = args.trail.dir()?;
    let key = match &args.key {
        Some(text) => PublicKey::parse(text)
            .ok_or_else(|| format!("`{text}` is no public key: it is 32 bytes in base64"))?,
        None => app::audit_key(&args.trail.config()?).map_err(|error| error.to_string())?,
    };
    let seen = audit::verify(&dir, &key);
    let seen =
        seen.map_err(|error| format!("cannot read the trail in `{}`: {error}", dir.display()))?;
    match seen {
        Ok(seen) if args.json => Ok(say_json(
            &json!({ "ok": true, "key": key.to_string(), "trail": seen }),
        )),
        Ok(seen) => {
            let records = counted(
                usize::try_from(seen.records).unwrap_or(usize::MAX),
                "record",
            );
            let span = match seen.records {
                0 => String::new(),
                _ => format!(", {} to {}", seen.first, seen.last),
            };
            say(&format!("{}: {records}{span}, unbroken\n", dir.display()));
            say(&format!(
                "{} signed with the key {key} vouch for all up to record {}\n",
                counted(usize::try_from(seen.heads).unwrap_or(usize::MAX), "head"),
                seen.vouched
            ));
            Ok(ExitCode::SUCCESS)
        }
        Err(broken) => {
            if args.json {
                say_json(&json!({ "ok": false, "key": key.to_string(), "broken": broken }));
            } else {
                say(&printable(&format!("BROKEN {broken}")));
                say("\n");
            }
            Ok(ExitCode::FAILURE)
        }
    }
}

fn tail(args: &TailArgs) -> Result<ExitCode, String> {
    let dir = args.trail.dir()?;
    let since = args.since.as_deref().map(moment).transpose()?;
    let chosen = Chosen {
        user: args.user.clone(),
        company: args.company.clone(),
        verdict: args.verdict.clone(),
        resource: args.resource.clone(),
        event: args.event.clone(),
        since,
    };
    let unreadable = |error| format!("cannot read the trail in `{}`: {error}", dir.display());
    let mut follower = begin(&dir, chosen.since.as_deref()).map_err(unreadable)?;
    let mut last = std::collections::VecDeque::new();
    while let Some(record) = follower.read().map_err(unreadable)? {
        if chosen.takes(&record) {
            if last.len() == args.lines {
                last.pop_front();
            }
            if args.lines > 0 {
                last.push_back(record);
            }
        }
    }
    for record in &last {
        show(record, args.json);
    }
    if !args.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        match follower.read().map_err(unreadable)? {
            Some(record) if chosen.takes(&record) => show(&record, args.json),
            Some(_) => {}
            None => std::thread::sleep(LOOK),
        }
    }
}

fn summarise(args: &ReportArgs) -> Result<ExitCode, String> {
    let dir = args.trail.dir()?;
    let since = moment(&args.since)?;
    let unreadable = |error| format!("cannot read the trail in `{}`: {error}", dir.display());
    let mut follower = begin(&dir, Some(&since)).map_err(unreadable)?;
    let chosen = Chosen {
        since: Some(since.clone()),
        ..Chosen::default()
    };
    let mut summary = Summary::new(since, now().rfc3339());
    while let Some(record) = follower.read().map_err(unreadable)? {
        if chosen.takes(&record) {
            summary.add(&record);
        }
    }
    if let Some(file) = &args.html {
        std::fs::write(file, summary.html()?)
            .map_err(|error| format!("cannot write `{}`: {error}", file.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.json {
        return Ok(say_json(&summary));
    }
    say(&printable_lines(&summary.text()));
    Ok(ExitCode::SUCCESS)
}

fn begin(dir: &std::path::Path, since: Option<&str>) -> std::io::Result<Follower> {
    // A folder that is not there is told; an empty one is a trail without records.
    std::fs::read_dir(dir)?;
    match since.and_then(|since| since.get(..10)) {
        Some(day) => Follower::from_day(dir, day),
        None => Follower::from_the_beginning(dir),
    }
}

/// So long ago, as RFC 3339.
fn moment(text: &str) -> Result<String, String> {
    let back = config::duration(text)
        .ok_or_else(|| format!("`{text}` is no stretch of time: write 30m, 12h, 7d"))?;
    Ok(now().minus(back).rfc3339())
}

fn show(record: &Value, json: bool) {
    if json {
        say(&format!("{record}\n"));
        return;
    }
    let field = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let resources = record.get("resources").and_then(Value::as_array);
    let resources = resources.into_iter().flatten().filter_map(Value::as_str);
    let resources: Vec<&str> = resources.collect();
    let parts = [
        field("at"),
        field("event"),
        field("result"),
        field("user"),
        field("company"),
        field("client"),
        field("target"),
        &resources.join(" "),
        field("rule"),
        field("detail"),
        field("request_id"),
    ];
    let line: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    say(&printable(&line.join("  ")));
    say("\n");
}

fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}
