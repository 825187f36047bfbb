//! Workers: threads that serve, each with a runtime, sockets and upstream connections of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{AppError, other};
use crate::config::Config;
use crate::listener::{self, Listener, tls};
use crate::pipeline::{Pipeline, Shared};
use crate::upstream::Upstreams;

/// For each configured listener, one socket per worker.
pub(super) struct Sockets(Vec<Vec<std::net::TcpListener>>);

impl Sockets {
    /// Where each listener accepts.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let firsts = self.0.iter().filter_map(|sockets| sockets.first());
        firsts
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }
}

/// Opens every socket of every worker.
pub(super) fn bind_all(config: &Config) -> Result<Sockets, AppError> {
    let sockets = config.listeners.iter().map(|listener| {
        let address = listener.bind;
        let fault = |reason: String| AppError::Bind { address, reason };
        if listener::is_taken(address) {
            return Err(fault("another process accepts there".to_owned()));
        }
        listener::bind(address, config.workers).map_err(|error| fault(error.to_string()))
    });
    sockets.collect::<Result<_, _>>().map(Sockets)
}

/// One pipeline per worker.
pub(super) fn pipelines(shared: &Arc<Shared>) -> Result<Vec<Pipeline>, AppError> {
    let one = || Pipeline::new(Arc::clone(shared)).ok_or_else(|| other("no upstream"));
    (0..shared.config.workers).map(|_| one()).collect()
}

/// The threads that serve.
#[derive(Debug)]
pub(super) struct Workers(mpsc::Receiver<()>);

impl Workers {
    /// Starts the threads; each accepts on all its sockets until `stopped` turns true.
    pub(super) fn start(
        shared: &Arc<Shared>,
        pipelines: Vec<Pipeline>,
        sockets: Sockets,
        certificates: &[(String, Arc<tls::Certificates>)],
        stopped: &watch::Receiver<bool>,
    ) -> Result<Self, AppError> {
        let listeners = listeners(shared, certificates)?;
        let mut by_worker: Vec<Vec<_>> = (0..shared.config.workers).map(|_| Vec::new()).collect();
        for (listener, sockets) in listeners.iter().zip(sockets.0) {
            for (worker, socket) in by_worker.iter_mut().zip(sockets) {
                worker.push((listener.clone(), socket));
            }
        }
        let (alive, ended) = mpsc::channel(1);
        for (number, (mine, pipeline)) in by_worker.into_iter().zip(pipelines).enumerate() {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(other)?;
            let (stopped, alive) = (stopped.clone(), alive.clone());
            thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    runtime.block_on(serve_all(mine, pipeline, stopped));
                    drop(alive);
                })
                .map_err(other)?;
        }
        Ok(Self(ended))
    }

    /// Resolves when every worker's last connection is gone.
    pub(super) async fn ended(mut self) {
        self.0.recv().await;
    }
}

async fn serve_all(
    mine: Vec<(Listener, std::net::TcpListener)>,
    pipeline: Pipeline,
    stopped: watch::Receiver<bool>,
) {
    let mut serving = JoinSet::new();
    for (listener, socket) in mine {
        serving.spawn(listener::serve(
            socket,
            listener,
            pipeline.clone(),
            stopped.clone(),
        ));
    }
    while let Some(ended) = serving.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::error!(%error, "a listener ended");
        }
    }
}

fn listeners(
    shared: &Shared,
    certificates: &[(String, Arc<tls::Certificates>)],
) -> Result<Vec<Listener>, AppError> {
    let config = &shared.config;
    let built = config.listeners.iter().map(|listener| {
        let acceptor = match &listener.tls {
            None => None,
            Some(name) => {
                let found = certificates.iter().find(|(known, _)| known == name);
                let (_, found) = found.ok_or_else(|| other(format!("no certificates `{name}`")))?;
                Some(tls::acceptor(Arc::clone(found)).map_err(other)?)
            }
        };
        Ok(Listener {
            tls: acceptor,
            trusted_proxies: listener.trusted_proxies.as_slice().into(),
            limits: config.limits,
            metrics: shared.metrics.clone(),
        })
    });
    built.collect()
}

/// Which upstreams take a connection now.
pub(super) async fn reachable(shared: &Shared) -> Vec<(String, bool)> {
    let Some(upstreams) = Upstreams::new(&shared.config.upstreams, 1, &shared.metrics) else {
        return Vec::new();
    };
    let mut answers = Vec::new();
    for settings in &shared.config.upstreams {
        let reachable = match upstreams.find(Some(&settings.name)) {
            Some(upstream) => upstream.is_reachable().await,
            None => false,
        };
        answers.push((settings.name.clone(), reachable));
    }
    answers
}
