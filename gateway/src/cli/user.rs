//! `portvakt user`: one person at the running gateway.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::gateway::{ask, minute, printable, table};
use super::session::sessions_table;
use super::{ConfigFile, counted, say, say_json};
use crate::admin::operations::{Lane, Sends, SuspendedBy, User};

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Show a person: directory entry, suspension, sessions, devices, spent budgets, open codes
    Show(UserArgs),
    /// Give a person's account its budgets back, so that codes are taken again at once
    Unlock(UserArgs),
    /// Shut a person out: from the next request on, with all sessions and open streams ended
    Suspend(UserArgs),
    /// Take a suspension back; exit 1 if the directory itself suspends the person
    Resume(UserArgs),
}

#[derive(Debug, Args)]
pub(super) struct UserArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The person's e-mail address, in any spelling that the login takes
    #[arg(value_name = "EMAIL")]
    email: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &UserCommand) -> ExitCode {
    match command {
        UserCommand::Show(args) => show(args),
        UserCommand::Unlock(args) => unlock(args),
        UserCommand::Suspend(args) => suspend(args),
        UserCommand::Resume(args) => resume(args),
    }
}

fn show(args: &UserArgs) -> ExitCode {
    let email = args.email.clone();
    ask(
        &args.config,
        async |gateway| gateway.user(email).await,
        |user| {
            if args.json {
                return say_json(&user);
            }
            say(&described(&user));
            ExitCode::SUCCESS
        },
    )
}

fn unlock(args: &UserArgs) -> ExitCode {
    let email = args.email.clone();
    ask(
        &args.config,
        async |gateway| gateway.unlock(email).await,
        |done| {
            if args.json {
                return say_json(&done);
            }
            let forgiven = counted(done.forgiven, "failed attempt");
            say(&format!("unlocked: {forgiven} forgiven\n"));
            ExitCode::SUCCESS
        },
    )
}

fn suspend(args: &UserArgs) -> ExitCode {
    let email = args.email.clone();
    ask(
        &args.config,
        async |gateway| gateway.suspend(email).await,
        |done| {
            if args.json {
                return say_json(&done);
            }
            let before = if done.changed { "" } else { " already" };
            let ended = counted(done.ended, "session");
            say(&format!("suspended{before}: {ended} ended\n"));
            ExitCode::SUCCESS
        },
    )
}

fn resume(args: &UserArgs) -> ExitCode {
    let email = args.email.clone();
    ask(
        &args.config,
        async |gateway| gateway.resume(email).await,
        |done| {
            if args.json {
                say_json(&done);
            } else if done.still_suspended {
                say("still suspended: the directory says so\n");
            } else if done.changed {
                say("resumed: the person may log in again\n");
            } else {
                say("not suspended\n");
            }
            if done.still_suspended {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            }
        },
    )
}

fn described(user: &User) -> String {
    let mut text = String::new();
    let suspended = match user.suspended {
        None => "no",
        Some(SuspendedBy::Directory) => "yes, by the directory",
        Some(SuspendedBy::Ops) => "yes, by `portvakt user suspend`",
    };
    let roles = if user.roles.is_empty() {
        "none".to_owned()
    } else {
        user.roles.join(", ")
    };
    for (name, value) in [
        ("user", user.id.as_str()),
        ("name", &user.name),
        ("e-mail", &user.email),
        ("company", &user.company),
        ("roles", &roles),
        ("phone", &format!("ends in {}", user.phone_ends)),
        ("suspended", suspended),
        (
            "failed",
            &format!("{} since the latest login", user.failed_since_login),
        ),
    ] {
        let _ = writeln!(text, "{name:<10} {}", printable(value));
    }
    let _ = writeln!(text, "\n{}", counted(user.sessions.len(), "session"));
    text.push_str(&sessions_table(&user.sessions));
    let _ = writeln!(text, "\n{}", counted(user.devices.len(), "device"));
    let devices: Vec<_> = user
        .devices
        .iter()
        .map(|one| {
            [
                one.handle.clone(),
                minute(&one.created),
                minute(&one.last_seen),
                one.client.clone(),
            ]
        })
        .collect();
    if !devices.is_empty() {
        let headings = ["HANDLE", "FIRST LOGIN (UTC)", "LATEST", "CLIENT"];
        text.push_str(&table(headings, &devices));
    }
    text.push_str(&budgets(&user.lanes));
    text.push_str(&sends(&user.sends));
    text
}

/// Budgets and open codes, lane by lane.
fn budgets(lanes: &[Lane]) -> String {
    let mut rows = Vec::new();
    let mut codes = Vec::new();
    let mut spent = String::new();
    for lane in lanes {
        let name = match &lane.device {
            None => "unknown devices".to_owned(),
            Some(handle) => format!("device {handle}"),
        };
        for budget in lane.budgets.iter().filter(|budget| budget.used > 0) {
            rows.push([
                name.clone(),
                format!(
                    "{} of {} in {}",
                    budget.used,
                    budget.limit,
                    length(budget.per_seconds)
                ),
                budget.frees.as_deref().map(minute).unwrap_or_default(),
            ]);
        }
        if let Some(until) = &lane.spent_until {
            let _ = writeln!(spent, "{name}: locked until {} UTC", minute(until));
        }
        codes.extend(lane.challenges.iter().map(|challenge| {
            [
                name.clone(),
                minute(&challenge.created),
                minute(&challenge.expires),
                challenge.attempts.to_string(),
            ]
        }));
    }
    let mut text = String::new();
    if rows.is_empty() {
        text.push_str("\nno failed attempt counts\n");
    } else {
        text.push('\n');
        text.push_str(&table(["LANE", "SPENT", "NEXT FREES (UTC)"], &rows));
        text.push_str(&spent);
    }
    if !codes.is_empty() {
        text.push('\n');
        let headings = ["OPEN CODE OF", "MADE (UTC)", "ENDS", "TRIES"];
        text.push_str(&table(headings, &codes));
    }
    text
}

/// What may still be sent.
fn sends(sends: &[Sends]) -> String {
    let mut rows = Vec::new();
    for one in sends {
        let kind = if one.kind == "sms" { "SMS" } else { "mail" };
        let devices = if one.known_devices {
            "known"
        } else {
            "unknown"
        };
        let until = one.spent_until.as_deref().map(minute);
        for budget in &one.budgets {
            rows.push([
                format!("{kind}, {devices} devices"),
                format!(
                    "{} of {} in {}",
                    budget.left,
                    budget.limit,
                    length(budget.per_seconds)
                ),
                until.clone().unwrap_or_else(|| "now".to_owned()),
            ]);
        }
    }
    format!("\n{}", table(["SENDING OF", "LEFT", "NEXT (UTC)"], &rows))
}

/// `24 h`, `30 d`, `90 s`.
fn length(seconds: u64) -> String {
    const HOUR: u64 = 3_600;
    const DAY: u64 = 24 * HOUR;
    if seconds > DAY && seconds.is_multiple_of(DAY) {
        format!("{} d", seconds / DAY)
    } else if seconds >= HOUR && seconds.is_multiple_of(HOUR) {
        format!("{} h", seconds / HOUR)
    } else {
        format!("{seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_said_in_the_unit_that_fits() {
        for (seconds, said) in [(90, "90 s"), (86_400, "24 h"), (2_592_000, "30 d")] {
            assert_eq!(length(seconds), said);
        }
    }
}
