//! `portvakt policy`: work on policy sets before they take effect.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::gateway::{ask, printable};
use super::{ConfigFile, complain, report, say, say_json};
use crate::admin::operations::Asked;
use crate::audit;
use crate::config::fault::Fault;
use crate::config::{self, Policy};
use crate::policy::report::{self as policy_report, print_proof, print_tests};
use crate::policy::{PolicySet, ProofSettings};

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Run the examples in the policy folder's tests/ and say which are decided otherwise
    Test(SetArgs),
    /// Tell step by step how a request would be decided, or what was recorded of a past one
    Explain(ExplainArgs),
    /// Show that nothing is allowed that invariants.cedar calls a hole, or print a request that is
    Prove(SetArgs),
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Another policy folder than the configuration's
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// For programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  portvakt policy explain --user kari@fjord.example 'PATCH /projects/7'\n  portvakt policy explain 3f2a…   (the request_id of a refusal)"
)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Who would make the request, by their e-mail address
    #[arg(long, value_name = "EMAIL")]
    user: Option<String>,
    /// The host that it would name; default the public URL's
    #[arg(long, value_name = "NAME", requires = "user")]
    host: Option<String>,
    /// A header field that it would have, such as 'Destination: /projects/2'; may come again
    #[arg(long = "header", value_name = "FIELD", requires = "user")]
    headers: Vec<String>,
    /// The type of its body, such as application/json
    #[arg(long, value_name = "TYPE", requires = "user")]
    content_type: Option<String>,
    /// Its body
    #[arg(long, value_name = "TEXT", requires = "user")]
    body: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Method and target, such as 'PATCH /projects/7'; or the request_id of a past request
    #[arg(value_name = "REQUEST")]
    request: String,
}

pub(super) fn run(command: &PolicyCommand) -> ExitCode {
    let done = match command {
        PolicyCommand::Test(args) => test(args),
        PolicyCommand::Prove(args) => prove(args),
        PolicyCommand::Explain(args) => return explain(args),
    };
    done.unwrap_or_else(|faults| {
        report(&faults);
        ExitCode::FAILURE
    })
}

impl SetArgs {
    /// The set that is meant, and how it is proved; warnings are shown. Certificates, people and
    /// secrets play no part in it, so what is wrong with those is no matter here.
    fn load(&self) -> Result<(Policy, Arc<PolicySet>), Vec<Fault>> {
        let (config, faults) = config::examine(&self.config.path, &config::environment);
        let Some(config) = config else {
            return Err(faults);
        };
        let dir = self.dir.as_ref().unwrap_or(&config.policy.dir);
        let loaded = PolicySet::load(dir, &config.upstream_names())?;
        report(&loaded.warnings);
        Ok((config.policy, loaded.set))
    }
}

fn test(args: &SetArgs) -> Result<ExitCode, Vec<Fault>> {
    let (_, set) = args.load()?;
    let tests = set.run_tests();
    if args.json {
        say_json(&policy_report::tests_json(&tests));
    } else {
        say(&print_tests(&tests));
    }
    Ok(exit(tests.passed()))
}

fn prove(args: &SetArgs) -> Result<ExitCode, Vec<Fault>> {
    let (policy, set) = args.load()?;
    let proof = set.prove(&ProofSettings::of(&policy));
    if args.json {
        say_json(&policy_report::proof_json(&proof, set.digest()));
    } else {
        let (errors, warnings) = proof.judge(true);
        report(&warnings);
        report(&errors);
        say(&print_proof(&proof));
    }
    let covered = proof.uncovered.is_empty() || !policy.require_proof;
    Ok(exit(proof.is_proved() && covered))
}

fn explain(args: &ExplainArgs) -> ExitCode {
    let Some(email) = &args.user else {
        if args.request.contains(' ') {
            complain("portvakt: who makes this request? add `--user EMAIL`\n");
            return ExitCode::from(2);
        }
        return recall(args);
    };
    let content_type = args.content_type.as_ref();
    let content_type = content_type.map(|kind| format!("Content-Type: {kind}"));
    let asked = Asked {
        email: email.clone(),
        request: args.request.clone(),
        host: args.host.as_ref().map(|host| host.to_ascii_lowercase()),
        headers: args.headers.iter().cloned().chain(content_type).collect(),
        body: args.body.clone().unwrap_or_default(),
    };
    ask(
        &args.config,
        async |gateway| gateway.explain(&asked).await,
        |told| {
            if args.json {
                return say_json(&told);
            }
            say(&printable_lines(&policy_report::print_explanation(&told)));
            ExitCode::SUCCESS
        },
    )
}

/// What the audit trail says of a past request. The gateway need not run for it.
fn recall(args: &ExplainArgs) -> ExitCode {
    let (config, faults) = config::examine(&args.config.path, &config::environment);
    let Some(config) = config else {
        report(&faults);
        return ExitCode::FAILURE;
    };
    let dir = &config.audit.dir;
    let records = match audit::find(dir, &args.request) {
        Ok(records) => records,
        Err(error) => {
            let dir = dir.display();
            complain(&format!(
                "portvakt: cannot read the audit trail in `{dir}`: {error}\n"
            ));
            return ExitCode::FAILURE;
        }
    };
    if records.is_empty() {
        complain(&format!(
            "portvakt: nothing is recorded of `{}`; take the whole `request_id` from the answer or the access log, or describe the request: portvakt policy explain --user EMAIL 'METHOD /path'\n",
            args.request
        ));
        return ExitCode::FAILURE;
    }
    if args.json {
        return say_json(&records);
    }
    say(&printable_lines(&policy_report::print_records(&records)));
    ExitCode::SUCCESS
}

/// What clients wrote, without what a terminal would obey.
fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}

fn exit(success: bool) -> ExitCode {
    if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
