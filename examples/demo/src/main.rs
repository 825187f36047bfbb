//! The demo in one command: a small project service that protects nothing, and Portvakt before it.

mod setup;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use demo::service;
use portvakt::app::{self, AppError};
use portvakt::cli::certs::DevCertificates;
use tokio::signal::unix::{SignalKind, signal};

use setup::{Ports, State};

/// Starts a small sample application and Portvakt before it, on this machine only.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Options {
    /// Folder for state, kept from start to start [default: a fresh one]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Port of the gateway
    #[arg(long, default_value_t = 8443)]
    port: u16,

    /// Port for metrics, health and the outbox
    #[arg(long, default_value_t = 9090)]
    admin_port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {}", problem.trim_end());
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), String> {
    let ports = Ports {
        public: options.port,
        admin: options.admin_port,
    };
    ports.are_free()?;
    let state = State::open(options.state.as_deref())
        .map_err(|e| format!("cannot make a folder for the state: {e}"))?;
    let service = service::start((Ipv4Addr::LOCALHOST, 0).into())
        .await
        .map_err(|e| format!("cannot start the sample service: {e}"))?;
    let certificates = state.certificates().map_err(|e| e.to_string())?;
    let config = state.configure(ports, &certificates, service.address)?;

    let stop = stop()?;
    let gateway = app::start(config, None).await.map_err(|e| match e {
        AppError::Faults(faults) => setup::reports(&faults),
        other => other.to_string(),
    })?;
    announce(ports, &state, &certificates, service.address);
    stop.await;
    println!("stopping");
    gateway.stop().await;
    service.shutdown().await;
    println!("stopped; the state is in {}", state.folder().display());
    Ok(())
}

/// Resolves at Ctrl-C or `SIGTERM`.
fn stop() -> Result<impl Future<Output = ()> + Send, String> {
    let listen = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Tells where everything is.
fn announce(ports: Ports, state: &State, certificates: &DevCertificates, service: SocketAddr) {
    println!(
        "
Portvakt stands before a sample project service.

  open      {url}
            Your browser does not know who made the certificate: go past its warning, or import
            {ca}
  log in    kari@fjord.example   owns project 1, company fjord
            ola@fjord.example    owns project 2, company fjord
            nils@tinde.example   owns project 3, company tinde
  codes     are printed here, and are at http://{admin}/outbox
  try       as ola, change project 1: you are refused, and offered a copy
            as nils, look for project 1: it does not exist for you
            {url}/echo shows what the service sees of you
  service   http://{service}, unprotected: this is what Portvakt protects
  ops       http://{admin}/metrics, /healthz, /readyz; requests are logged in
            {log}
  state     {folder}
  stop      Ctrl-C
",
        url = ports.url(),
        ca = certificates.ca.display(),
        admin = ports.admin_address(),
        log = state.access_log().display(),
        folder = state.folder().display(),
    );
}
