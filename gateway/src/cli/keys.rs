//! `portvakt keys`: the keys that sign the assertion.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::gateway::ask;
use super::{ConfigFile, say, say_json};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Let the next key sign from now on, and publish a fresh one to come after it
    Rotate(RotateArgs),
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &KeysCommand) -> ExitCode {
    let KeysCommand::Rotate(args) = command;
    ask(
        &args.config,
        async |gateway| gateway.rotate_keys().await,
        |keys| {
            if args.json {
                return say_json(&keys);
            }
            say(&format!(
                "`{}` signs from now on; `{}` comes next\n",
                keys.current, keys.next
            ));
            ExitCode::SUCCESS
        },
    )
}
