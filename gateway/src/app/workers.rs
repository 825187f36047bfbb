//! Workers: threads that serve, each with a runtime, sockets and upstream connections of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{AppError, other, supervisor};
use crate::config::Config;
use crate::listener::inherited::{self, InheritError, Inherited};
use crate::listener::{self, Listener, tls};
use crate::pipeline::{Pipeline, Shared};
use crate::upstream::Upstreams;

/// For each configured listener its sockets, dealt out among the workers in turn.
pub(super) struct Sockets {
    by_listener: Vec<Vec<std::net::TcpListener>>,
    /// Whether a supervisor holds them, and they live on without us.
    pub(super) outlive: bool,
}

impl Sockets {
    /// Where each listener accepts.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let firsts = self
            .by_listener
            .iter()
            .filter_map(|sockets| sockets.first());
        firsts
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }
}

/// Takes the sockets that were handed over, or opens every socket of every worker.
pub(super) fn bind_all(config: &Config, inherited: &mut Inherited) -> Result<Sockets, AppError> {
    let outlive = inherited.any();
    let sockets = config.listeners.iter().map(|listener| {
        let address = listener.bind;
        let fault = |reason: String| AppError::Bind { address, reason };
        if outlive {
            let handed = inherited.take(address);
            if handed.is_empty() {
                return Err(InheritError::Missing { address }.into());
            }
            return inherited::share(&handed, config.workers)
                .map_err(|error| fault(error.to_string()));
        }
        if listener::is_taken(address) {
            return Err(fault("another process accepts there".to_owned()));
        }
        listener::bind(address, config.workers).map_err(|error| fault(error.to_string()))
    });
    let by_listener = sockets.collect::<Result<_, _>>()?;
    Ok(Sockets {
        by_listener,
        outlive,
    })
}

/// One pipeline per worker.
pub(super) fn pipelines(shared: &Arc<Shared>) -> Result<Vec<Pipeline>, AppError> {
    let one = || Pipeline::new(Arc::clone(shared)).ok_or_else(|| other("no upstream"));
    (0..shared.config.workers).map(|_| one()).collect()
}

/// The threads that serve.
#[derive(Debug)]
pub(super) struct Workers {
    ended: mpsc::Receiver<()>,
    /// Where a supervisor watches: moves as long as each worker does.
    pub(super) beats: Vec<Arc<AtomicU64>>,
}

impl Workers {
    /// Starts the threads; each accepts on all its sockets until `stopped` turns true.
    pub(super) fn start(
        shared: &Arc<Shared>,
        pipelines: Vec<Pipeline>,
        sockets: Sockets,
        certificates: &[(String, Arc<tls::Certificates>)],
        stopped: &watch::Receiver<bool>,
    ) -> Result<Self, AppError> {
        let listeners = listeners(shared, certificates, sockets.outlive)?;
        let mut by_worker: Vec<Vec<_>> = (0..shared.config.workers).map(|_| Vec::new()).collect();
        for (listener, sockets) in listeners.iter().zip(sockets.by_listener) {
            for (number, socket) in sockets.into_iter().enumerate() {
                if let Some(worker) = by_worker.get_mut(number % shared.config.workers) {
                    worker.push((listener.clone(), socket));
                }
            }
        }
        let (alive, ended) = mpsc::channel(1);
        let pace = supervisor::watchdog().map(|patience| patience / 4);
        let mut beats = Vec::new();
        for (number, (mine, pipeline)) in by_worker.into_iter().zip(pipelines).enumerate() {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(other)?;
            let (stopped, alive) = (stopped.clone(), alive.clone());
            let beat = Arc::new(AtomicU64::new(0));
            beats.push(Arc::clone(&beat));
            thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    if let Some(pace) = pace {
                        runtime.spawn(supervisor::beat(beat, pace));
                    }
                    runtime.block_on(serve_all(mine, pipeline, stopped));
                    drop(alive);
                })
                .map_err(other)?;
        }
        Ok(Self { ended, beats })
    }

    /// Resolves when every worker's last connection is gone.
    pub(super) async fn ended(mut self) {
        self.ended.recv().await;
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
    outlived: bool,
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
            proxy_protocol: listener.proxy_protocol,
            limits: config.limits,
            metrics: shared.metrics.clone(),
            outlived,
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
