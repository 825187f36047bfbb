//! `portvakt certs`: development certificates, and the details of the ones in use.

pub mod dev;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

pub use self::dev::{CertsError, DEV_HOSTS, DevCertificates, make_dev, remake_dev};
use super::ConfigFile;

#[derive(Debug, Subcommand)]
pub(super) enum CertsCommand {
    /// Make a certificate for development, signed by an authority made for it alone
    Dev(DevArgs),
    /// Show each configured certificate, and the protocols and ciphers in force
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// The folder for ca.pem, localhost.pem and localhost.key
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Names and addresses it is for [default: localhost *.localhost 127.0.0.1 ::1]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    host: Vec<String>,
    /// Replace a pair that is still good
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &CertsCommand) -> ExitCode {
    match command {
        CertsCommand::Dev(args) => dev_pair(args),
        CertsCommand::Show(args) => show::run(args),
    }
}

fn dev_pair(args: &DevArgs) -> ExitCode {
    let hosts: Vec<&str> = if args.host.is_empty() {
        DEV_HOSTS.to_vec()
    } else {
        args.host.iter().map(String::as_str).collect()
    };
    let make = if args.force { remake_dev } else { make_dev };
    match make(&args.dir, &hosts, super::now()) {
        Ok(made) => {
            super::say(&made.summary());
            ExitCode::SUCCESS
        }
        Err(error) => {
            super::complain(&format!("{error}\n"));
            ExitCode::FAILURE
        }
    }
}
