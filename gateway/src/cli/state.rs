//! `portvakt state`: the store itself, whether a gateway runs or not.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{ConfigFile, complain, now, report, say};
use crate::config::{self, RedisStore, Store};
use crate::store::StoreResult;
use crate::store::redis::{Prepared, Redis};

#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// Prepare a Redis, once: write the epoch that tells a young one from one that was flushed
    ///
    /// Gateways refuse logins on a Redis without an epoch. Where one had an epoch and lost it, the
    /// login's shield is raised as well, until `portvakt shield lower`: nobody knows any more which
    /// guesses were made. A Redis that has an epoch is left as it is.
    Init(InitArgs),
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Say that the Redis has lost what it knew, where no gateway was running that saw it
    #[arg(long)]
    after_loss: bool,
}

pub(super) fn run(command: &StateCommand) -> ExitCode {
    let StateCommand::Init(args) = command;
    let config = match config::load(&args.config.path, &config::environment) {
        Ok((config, warnings)) => {
            report(&warnings);
            config
        }
        Err(faults) => {
            report(&faults);
            return ExitCode::FAILURE;
        }
    };
    let Store::Redis(settings) = &config.store else {
        complain(
            "nothing to prepare: the store is `embedded`, and makes its file at the first start\n",
        );
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let prepared = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(prepare(settings, args.after_loss))),
        Err(error) => {
            complain(&format!("portvakt: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    match prepared {
        Ok(Prepared::Already) => {
            complain("the redis holds an epoch already: nothing was done\n");
            ExitCode::FAILURE
        }
        Ok(Prepared::Young) => {
            say("the redis is prepared: it holds an epoch now\n");
            ExitCode::SUCCESS
        }
        Ok(Prepared::AfterLoss) => {
            say("the redis is prepared again: it holds an epoch now\n\
                 it had lost what it knew, so the shield is raised until `portvakt shield lower`: \
                 unknown devices follow a link in a mail first\n");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("portvakt: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

async fn prepare(settings: &RedisStore, after_loss: bool) -> StoreResult<Prepared> {
    let redis = Redis::open(settings).await?;
    redis.init(now(), after_loss).await
}
