//! The commands: one file each. They print for people on standard output, faults on standard
//! error, and end with 0 (yes), 1 (what was asked for is not so) or 2 (not understood).

mod audit;
pub mod certs;
pub mod check;
mod gateway;
mod keys;
mod policy;
pub mod run;
mod session;
mod shield;
mod state;
mod statement;
mod status;
mod user;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::config::fault::Fault;

/// A gatekeeper before a web application: TLS, a two-step login by e-mail and SMS, company
/// accounts, policies that refuse whatever they do not allow, and an identity the application can
/// trust.
#[derive(Debug, Parser)]
#[command(
    name = "portvakt",
    version,
    arg_required_else_help = true,
    after_help = "To begin: portvakt certs dev --dir certs/dev && portvakt check && portvakt run"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C
    Run(ConfigFile),
    /// Say everything that is wrong with the configuration; start nothing
    Check(check::CheckArgs),
    /// Show the running gateway on one screen; exit 1 if it is not ready
    Status(status::StatusArgs),
    /// Write what protects the application, each claim with its evidence
    Statement(statement::StatementArgs),
    /// Look at the audit trail; see that nobody rewrote it
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Test policies before they take effect
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Look at one person at the running gateway; unlock, suspend or resume them
    #[command(subcommand)]
    User(user::UserCommand),
    /// List or end sessions of the running gateway
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Look at the login's shield; raise or lower it by hand
    #[command(subcommand)]
    Shield(shield::ShieldCommand),
    /// Rotate the keys that sign the assertion
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Prepare the store that several gateways share
    #[command(subcommand)]
    State(state::StateCommand),
    /// Make development certificates, or show the ones in use
    #[command(subcommand)]
    Certs(certs::CertsCommand),
}

/// Which configuration a command is about.
#[derive(Clone, Debug, Args)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(
        long = "config",
        value_name = "FILE",
        default_value = "config/portvakt.toml"
    )]
    pub path: PathBuf,
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(config) => run::run(&config.path),
        Command::Check(args) => check::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Statement(args) => statement::run(&args),
        Command::Audit(command) => audit::run(&command),
        Command::Policy(command) => policy::run(&command),
        Command::User(command) => user::run(&command),
        Command::Session(command) => session::run(&command),
        Command::Shield(command) => shield::run(&command),
        Command::Keys(command) => keys::run(&command),
        Command::State(command) => state::run(&command),
        Command::Certs(command) => certs::run(&command),
    }
}

/// The time, for a command that lives for a moment.
fn now() -> Timestamp {
    SystemClock::starting_at(Timestamp::default()).now()
}

/// Prints. A reader that went away, as `head` does, is no reason to fail.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints on standard error.
fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Shows faults, each with the line that it is about.
fn report(faults: &[Fault]) {
    for fault in faults {
        let report = fault.report();
        complain(&report);
        if report.lines().nth(1).is_some() {
            complain("\n");
        }
    }
}

/// `1 fault`, `2 faults`.
fn counted(number: usize, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {word}{plural}")
}

/// JSON for programs, with a line end.
fn say_json(value: &impl serde::Serialize) -> ExitCode {
    match serde_json::to_string_pretty(value) {
        Ok(text) => {
            say(&text);
            say("\n");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("cannot write JSON: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_default_configuration_is_config_portvakt_toml() {
        let cli = Cli::try_parse_from(["portvakt", "check"]).unwrap();
        let Command::Check(args) = cli.command else {
            panic!("{cli:?}");
        };
        assert_eq!(args.config.path, PathBuf::from("config/portvakt.toml"));
    }

    #[test]
    fn what_is_not_understood_is_usage() {
        for line in [
            &["portvakt"][..],
            &["portvakt", "dance"],
            &["portvakt", "check", "--confg", "x"],
            &["portvakt", "certs", "dev"],
            &["portvakt", "user", "suspend"],
            &["portvakt", "session", "revoke"],
            &["portvakt", "session", "revoke", "h", "--all"],
            &[
                "portvakt",
                "session",
                "revoke",
                "--user",
                "a",
                "--company",
                "b",
            ],
        ] {
            assert_eq!(Cli::try_parse_from(line).unwrap_err().exit_code(), 2);
        }
    }
}
