//! `portvakt session`: who is logged in to the running gateway, and ending it.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::gateway::{ask, minute, table};
use super::{ConfigFile, counted, say, say_json};
use crate::admin::operations::{Session, Which};

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// List the live sessions of the running gateway, the one used last first
    List(ListArgs),
    /// End sessions at once, with their open streams; exit 1 if there were none
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Only this person's
    #[arg(long, value_name = "EMAIL")]
    user: Option<String>,
    /// Only those of this company's people
    #[arg(long, value_name = "ID")]
    company: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    which: WhichArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct WhichArgs {
    /// The session with this handle, as `session list` and the assertion's `sid` show it
    #[arg(value_name = "HANDLE")]
    handle: Option<String>,
    /// All of this person's
    #[arg(long, value_name = "EMAIL")]
    user: Option<String>,
    /// All of this company's people
    #[arg(long, value_name = "ID")]
    company: Option<String>,
    /// Everybody's
    #[arg(long)]
    all: bool,
}

impl WhichArgs {
    fn which(&self) -> Which {
        match (&self.handle, &self.user, &self.company) {
            (Some(handle), ..) => Which::Handle(handle.clone()),
            (_, Some(user), _) => Which::User(user.clone()),
            (.., Some(company)) => Which::Company(company.clone()),
            // The group lets nothing else through.
            (None, None, None) => Which::All,
        }
    }
}

pub(super) fn run(command: &SessionCommand) -> ExitCode {
    match command {
        SessionCommand::List(args) => list(args),
        SessionCommand::Revoke(args) => revoke(args),
    }
}

fn list(args: &ListArgs) -> ExitCode {
    let (user, company) = (args.user.clone(), args.company.clone());
    ask(
        &args.config,
        async |gateway| gateway.sessions(user, company).await,
        |found| {
            if args.json {
                return say_json(&found);
            }
            say(&sessions_table(&found.sessions));
            say(&format!("{}\n", counted(found.sessions.len(), "session")));
            ExitCode::SUCCESS
        },
    )
}

/// Sessions for people; nothing if there are none.
pub(super) fn sessions_table(sessions: &[Session]) -> String {
    if sessions.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = sessions
        .iter()
        .map(|one| {
            [
                one.handle.clone(),
                one.email.clone().unwrap_or_else(|| one.user.clone()),
                one.company.clone(),
                minute(&one.created),
                minute(&one.last_seen),
                minute(&one.expires),
                one.client.clone(),
            ]
        })
        .collect();
    let headings = [
        "HANDLE",
        "USER",
        "COMPANY",
        "LOGIN (UTC)",
        "LAST SEEN",
        "ENDS",
        "CLIENT",
    ];
    table(headings, &rows)
}

fn revoke(args: &RevokeArgs) -> ExitCode {
    let which = args.which.which();
    ask(
        &args.config,
        async |gateway| gateway.revoke(&which).await,
        |done| {
            if args.json {
                say_json(&done);
            } else {
                say(&format!("{} ended\n", counted(done.ended, "session")));
            }
            if done.ended == 0 {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            }
        },
    )
}
