//! `portvakt run`: serves until `SIGTERM` or Ctrl-C, then drains.

use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use super::{complain, report};
use crate::app::{self, AppError};
use crate::config::{self, Config};
use crate::listener::inherited::Inherited;

/// Starts the gateway; every fault is shown before exit 1.
pub(super) fn run(path: &Path) -> ExitCode {
    init_log();
    let config = match config::load(path, &config::environment) {
        Ok((config, warnings)) => {
            report(&warnings);
            config
        }
        Err(faults) => {
            report(&faults);
            return ExitCode::FAILURE;
        }
    };
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(AppError::Faults(faults)) => {
            report(&faults);
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&format!("portvakt: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config) -> Result<(), AppError> {
    let names = config::environment("LISTEN_FDNAMES");
    let inherited = Inherited::take_over(names.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| AppError::Start(error.to_string()))?;
    runtime.block_on(async {
        let mut terminate = received(SignalKind::terminate())?;
        let mut interrupt = received(SignalKind::interrupt())?;
        let public_url = config.public_url.origin();
        let running = tokio::select! {
            running = app::start_on(config, None, inherited) => running?,
            // It may have waited for the one before it.
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        for address in &running.addresses {
            tracing::info!(%address, public_url, "serving");
        }
        tracing::info!(address = %running.admin, "metrics and health");
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = interrupt.recv() => tracing::info!("interrupt: draining"),
        }
        running.stop().await;
        Ok(())
    })
}

fn received(kind: SignalKind) -> Result<Signal, AppError> {
    signal(kind).map_err(|error| AppError::Start(error.to_string()))
}

/// Operational messages go to standard error; `RUST_LOG` chooses how many.
pub fn init_log() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env_lossy();
    // A second call finds the first one's subscriber, and that serves as well.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}
