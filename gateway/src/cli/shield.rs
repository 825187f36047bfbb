//! `portvakt shield`: what the login of the running gateway asks of unknown devices.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::gateway::{ask, minute};
use super::{ConfigFile, say, say_json};
use crate::admin::operations::Shield;

#[derive(Debug, Subcommand)]
pub(super) enum ShieldCommand {
    /// Say whether the shield is raised, and how many guesses the fleet's budget has left
    Status(ShieldArgs),
    /// Raise it until it is lowered by hand: unknown devices follow a link in a mail first
    Raise(ShieldArgs),
    /// Lower it, however it was raised, and fill the fleet's budget up to half
    Lower(ShieldArgs),
}

#[derive(Debug, Args)]
pub(super) struct ShieldArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &ShieldCommand) -> ExitCode {
    let (ShieldCommand::Status(args) | ShieldCommand::Raise(args) | ShieldCommand::Lower(args)) =
        command;
    ask(
        &args.config,
        async |gateway| match command {
            ShieldCommand::Status(_) => gateway.shield().await,
            ShieldCommand::Raise(_) => gateway.raise_shield().await,
            ShieldCommand::Lower(_) => gateway.lower_shield().await,
        },
        |shield| {
            if args.json {
                return say_json(&shield);
            }
            say(&described(&shield));
            ExitCode::SUCCESS
        },
    )
}

fn described(shield: &Shield) -> String {
    let state = match &shield.raised {
        None => "down".to_owned(),
        Some(since) => {
            let since = minute(since);
            if shield.by_hand {
                format!("raised by hand since {since} UTC, until `portvakt shield lower`")
            } else {
                format!("raised since {since} UTC, until half of the budget is there again")
            }
        }
    };
    let Shield {
        left,
        burst,
        refill_per_day,
        ..
    } = shield;
    format!(
        "the shield is {state}\n\
         {left} of {burst} guesses are left at everyone together; {refill_per_day} come back a day\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shield_is_described_for_a_person() {
        let mut shield = Shield {
            raised: None,
            by_hand: false,
            left: 480,
            burst: 500,
            refill_per_day: 25,
        };
        assert_eq!(
            described(&shield),
            "the shield is down\n480 of 500 guesses are left at everyone together; 25 come back a day\n"
        );
        shield.raised = Some("2026-11-24T10:20:07.123Z".to_owned());
        assert!(described(&shield).contains("since 2026-11-24 10:20 UTC, until half"));
        shield.by_hand = true;
        assert!(described(&shield).contains("until `portvakt shield lower`"));
    }
}
