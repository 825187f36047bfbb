//! `portvakt policy`: work on policy sets before they take effect.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{ConfigFile, report, say};
use crate::config;
use crate::policy::PolicySet;
use crate::policy::report::print_tests;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Run the examples in the policy folder's tests/ and say which are decided otherwise
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Another policy folder than the configuration's
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(command: &PolicyCommand) -> ExitCode {
    match command {
        PolicyCommand::Test(args) => test(args),
    }
}

fn test(args: &TestArgs) -> ExitCode {
    let config = match config::load(&args.config.path, &config::environment) {
        Ok((config, _)) => config,
        Err(faults) => {
            report(&faults);
            return ExitCode::FAILURE;
        }
    };
    let dir = args.dir.as_ref().unwrap_or(&config.policy.dir);
    let loaded = match PolicySet::load(dir, &config.upstream_names()) {
        Ok(loaded) => loaded,
        Err(faults) => {
            report(&faults);
            return ExitCode::FAILURE;
        }
    };
    report(&loaded.warnings);
    let tests = loaded.set.run_tests();
    say(&print_tests(&tests));
    if tests.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
