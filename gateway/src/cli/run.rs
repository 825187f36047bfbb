//! `portvakt run`: serves until `SIGTERM` or Ctrl-C, then drains.

use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use super::FAILED;
use crate::app::{self, AppError};
use crate::config::Config;
use crate::config::fault::Fault;

/// Starts the gateway; every fault is shown before exit 1.
pub(super) fn run(config: &Path, env: &dyn Fn(&str) -> Option<String>) -> ExitCode {
    init_log();
    let config = match crate::config::load(config, env) {
        Ok((config, warnings)) => {
            show(&warnings);
            config
        }
        Err(faults) => {
            show(&faults);
            return FAILED;
        }
    };
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(AppError::Faults(faults)) => {
            show(&faults);
            FAILED
        }
        Err(error) => {
            eprintln!("portvakt: {error}");
            FAILED
        }
    }
}

fn serve(config: Config) -> Result<(), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| AppError::Start(error.to_string()))?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = match (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => return Err(AppError::Start(error.to_string())),
        };
        let (public_url, admin) = (config.public_url.origin(), config.admin.bind);
        let running = app::start(config, None).await?;
        for address in &running.addresses {
            tracing::info!(%address, %public_url, "serving");
        }
        tracing::info!(%admin, "metrics and health");
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = interrupt.recv() => tracing::info!("interrupt: draining"),
        }
        running.stop().await;
        Ok(())
    })
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

fn show(faults: &[Fault]) {
    for fault in faults {
        eprintln!("{}", fault.report());
    }
}
