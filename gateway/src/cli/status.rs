//! `portvakt status`: the running gateway on one screen.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::gateway::{ask, minute, printable};
use super::{ConfigFile, counted, say, say_json};
use crate::admin::operations::{Budget, Shield};
use crate::admin::status::{Listener, Part, Policy, Status, Upstream};
use crate::policy::Outcome;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &StatusArgs) -> ExitCode {
    ask(
        &args.config,
        async |gateway| gateway.status().await,
        |status| {
            if args.json {
                say_json(&status);
            } else {
                say(&described(&status));
            }
            if status.ready {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        },
    )
}

/// One line a thing, its name in front; of several of a kind, only the first line has it.
#[derive(Default)]
struct Screen(String);

impl Screen {
    fn line(&mut self, name: &str, text: &str) {
        let text = printable(text);
        let _ = writeln!(self.0, "{name:<11}{}", text.trim_end());
    }

    fn lines(&mut self, name: &str, texts: impl IntoIterator<Item = String>) {
        let mut name = name;
        for text in texts {
            self.line(name, &text);
            name = "";
        }
    }
}

fn described(status: &Status) -> String {
    let mut screen = Screen::default();
    let up = stretch(status.uptime_seconds);
    screen.line(
        "portvakt",
        &format!("{}, up {up}, {}", status.version, status.public_url),
    );
    let ready = if status.ready { "yes" } else { "NO" };
    screen.line("ready", ready);
    let troubles = status.checks.iter().filter(|check| !check.ok);
    screen.lines(
        "",
        troubles.map(|check| {
            let reason = check.reason.as_deref().unwrap_or("not as it should be");
            format!("- {}: {reason}", check.name)
        }),
    );
    screen.lines("listeners", status.listeners.iter().flat_map(listener));
    screen.lines("upstreams", status.upstreams.iter().map(upstream));
    screen.lines("policy", policy(&status.policy));
    screen.line("directory", &part(&status.directory));
    screen.line("store", &part(&status.store));
    screen.line("shield", &shield(status.shield.as_ref()));
    screen.line("messages", &messages(status.messages.as_deref()));
    let connections = usize::try_from(status.connections).unwrap_or_default();
    screen.line(
        "sessions",
        &format!(
            "{} live, {} open",
            status.sessions,
            counted(connections, "connection")
        ),
    );
    screen.0
}

fn listener(listener: &Listener) -> Vec<String> {
    let address = &listener.address;
    if !listener.tls {
        return vec![format!("{address}  without TLS, behind a router")];
    }
    let certificates = listener.certificates.iter();
    let told = certificates.map(|one| {
        let (name, until, days) = (&one.name, minute(&one.not_after), one.days_left);
        let days = counted(usize::try_from(days).unwrap_or(usize::MAX), "day");
        format!("{address}  TLS, `{name}` until {until} UTC, {days} left")
    });
    told.collect()
}

fn upstream(upstream: &Upstream) -> String {
    let up = if upstream.up { "up" } else { "DOWN" };
    let failures = upstream.failures.iter();
    let failures: String = failures
        .map(|(kind, count)| format!(", {count} failed ({kind})"))
        .collect();
    format!(
        "{}  {up} at {}, {} of {} requests under way{failures}",
        upstream.name,
        upstream.addresses.join(", "),
        upstream.under_way,
        upstream.limit
    )
}

fn policy(policy: &Policy) -> Vec<String> {
    let digest = policy.digest.get(..12).unwrap_or(&policy.digest);
    let proof = match policy.proof {
        Outcome::Proved => "proved",
        Outcome::NotShown => "not proved",
        Outcome::Failed => "WITH A HOLE",
    };
    let age = stretch(policy.age_seconds);
    let (generation, refused) = (policy.generation, policy.failures);
    let mut lines = vec![format!(
        "generation {generation}, {digest}, {proof}, in force for {age}"
    )];
    lines.extend(policy.last_failure.as_ref().map(|failure| {
        let at = minute(&failure.at);
        format!(
            "{refused} refused, the last at {at} UTC: {}",
            failure.message
        )
    }));
    lines
}

fn part(part: &Part) -> String {
    let place = part.place.as_ref();
    let place = place
        .map(|place| format!(", `{place}`"))
        .unwrap_or_default();
    let state = match (&part.reason, part.up) {
        (_, true) => "answers".to_owned(),
        (Some(reason), false) => format!("DOES NOT ANSWER: {reason}"),
        (None, false) => "DOES NOT ANSWER".to_owned(),
    };
    format!("{}{place}, {state}", part.kind)
}

fn shield(shield: Option<&Shield>) -> String {
    let Some(shield) = shield else {
        return "not known: the store does not tell".to_owned();
    };
    let state = match (&shield.raised, shield.by_hand) {
        (None, _) => "down".to_owned(),
        (Some(since), false) => format!("RAISED since {} UTC", minute(since)),
        (Some(since), true) => format!("RAISED by hand since {} UTC", minute(since)),
    };
    let (left, burst) = (shield.left, shield.burst);
    format!("{state}, {left} of {burst} guesses left at everyone together")
}

fn messages(budgets: Option<&[Budget]>) -> String {
    let Some(budgets) = budgets else {
        return "not known: the store does not tell".to_owned();
    };
    let each = budgets.iter().map(|budget| {
        let per = stretch(budget.per_seconds);
        format!("{} of {} in {per}", budget.used, budget.limit)
    });
    each.collect::<Vec<_>>().join(", ")
}

/// A stretch of time in its two largest units, such as `3d 4h` or `12m`.
fn stretch(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, length) in units {
        let count = rest / length;
        rest %= length;
        // Of nothing but larger units, what follows the first is left out if it is nothing.
        if count > 0 {
            parts.push(format!("{count}{name}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() {
        return "0s".to_owned();
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_told_in_its_two_largest_units() {
        for (seconds, told) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3600, "1h"),
            (3661, "1h 1m"),
            (86_400, "1d"),
            (86_401, "1d"),
            (90_000, "1d 1h"),
        ] {
            assert_eq!(stretch(seconds), told, "{seconds}");
        }
    }

    #[test]
    fn nothing_that_a_file_says_steers_the_terminal() {
        let mut screen = Screen::default();
        screen.line("policy", "refused: \u{1b}[2J\nready yes");
        assert_eq!(
            screen.0,
            "policy     refused: \u{fffd}[2J\u{fffd}ready yes\n"
        );
    }
}
