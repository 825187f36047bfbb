//! `portvakt statement`: what protects the application, claim by claim with its evidence.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::gateway::ask;
use super::{ConfigFile, complain, say};
use crate::pages::Language;
use crate::pages::safety::Statement;

/// How it is written.
#[derive(Debug, Args)]
pub(super) struct StatementArgs {
    #[command(flatten)]
    config: ConfigFile,

    /// The language of the claims; rules are in the words of their files
    #[arg(long, value_enum, default_value_t = Spoken::En)]
    language: Spoken,

    /// Write a page for browsers, in one file that needs no other
    #[arg(long, conflicts_with = "json")]
    html: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Where to write it [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A language, by its tag.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Spoken {
    /// English
    En,
    /// Norwegian
    Nb,
}

pub(super) fn run(args: &StatementArgs) -> ExitCode {
    ask(
        &args.config,
        async |gateway| gateway.statement().await,
        |statement| match written(args, &statement) {
            Ok(text) => put(args, &text),
            Err(reason) => {
                complain(&format!(
                    "error: the statement cannot be written: {reason}\n"
                ));
                ExitCode::FAILURE
            }
        },
    )
}

fn written(args: &StatementArgs, statement: &Statement) -> Result<String, String> {
    let language = match args.language {
        Spoken::En => Language::English,
        Spoken::Nb => Language::Norwegian,
    };
    if args.json {
        let json = serde_json::to_string_pretty(statement).map_err(|error| error.to_string())?;
        return Ok(json + "\n");
    }
    if args.html {
        return statement.file(language).map_err(|error| error.to_string());
    }
    Ok(statement.text(language))
}

fn put(args: &StatementArgs, text: &str) -> ExitCode {
    let Some(file) = &args.out else {
        say(text);
        return ExitCode::SUCCESS;
    };
    match std::fs::write(file, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!(
                "error: cannot write `{}`: {error}\n",
                file.display()
            ));
            ExitCode::FAILURE
        }
    }
}
