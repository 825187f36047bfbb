//! Sockets that a supervisor has opened and holds, and hands over as systemd's socket activation
//! does (`sd_listen_fds(3)`): they outlive a gateway, and connections wait in them for the next.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::SockRef;

use super::BACKLOG;

/// Sockets that were handed over and that no listener has taken yet.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Handed>,
    any: bool,
}

#[derive(Debug)]
struct Handed {
    name: String,
    address: SocketAddr,
    socket: TcpListener,
}

/// Why what was handed over is of no use.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// Not what we accept on.
    #[error(
        "the socket `{name}`, number {number} of those handed over, is none to accept TCP \
         connections on: {reason}; it takes `ListenStream=ADDRESS:PORT` and `Accept=no`"
    )]
    Useless {
        /// What its unit calls it.
        name: String,
        /// Counted from 1.
        number: usize,
        /// What the system said.
        reason: String,
    },
    /// Connections on it would wait for ever.
    #[error(
        "the socket `{name}` on {address} was handed over, but no listener has `bind = \
         \"{address}\"` (there are {listeners}); make `ListenStream=` and `bind` the same"
    )]
    Unknown {
        /// What its unit calls it.
        name: String,
        /// Where it is bound.
        address: SocketAddr,
        /// Where listeners are configured.
        listeners: String,
    },
    /// Connections on this one would be lost at every restart.
    #[error(
        "sockets were handed over, but none for the listener `{address}`; add \
         `ListenStream={address}` to the socket's unit"
    )]
    Missing {
        /// What is configured.
        address: SocketAddr,
    },
}

impl Inherited {
    /// What this process's supervisor handed over, if it did; to be called once, before there are
    /// threads. `names` is `LISTEN_FDNAMES`.
    ///
    /// # Errors
    ///
    /// [`InheritError::Useless`] for anything but a TCP socket that listens.
    pub fn take_over(names: Option<&str>) -> Result<Self, InheritError> {
        let mut handed = ListenFd::from_env();
        let mut names = names.unwrap_or_default().split(':');
        let mut sockets = Vec::new();
        for at in 0..handed.len() {
            let name = names.next().unwrap_or_default().to_owned();
            let taken = handed.take_tcp_listener(at).and_then(|socket| {
                let socket = socket.ok_or_else(|| io::Error::other("it is taken"))?;
                prepare(&socket).map(|address| (socket, address))
            });
            match taken {
                Ok((socket, address)) => sockets.push(Handed {
                    name,
                    address,
                    socket,
                }),
                Err(error) => {
                    return Err(InheritError::Useless {
                        name,
                        number: at + 1,
                        reason: error.to_string(),
                    });
                }
            }
        }
        Ok(Self {
            any: !sockets.is_empty(),
            sockets,
        })
    }

    /// Whether a supervisor handed anything over.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.any
    }

    /// The sockets of an address; none if none was handed over.
    pub fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        let (own, rest) = std::mem::take(&mut self.sockets)
            .into_iter()
            .partition(|handed| handed.address == address);
        self.sockets = rest;
        let own: Vec<Handed> = own;
        own.into_iter().map(|handed| handed.socket).collect()
    }

    /// Every socket has been taken.
    ///
    /// # Errors
    ///
    /// [`InheritError::Unknown`] for the first that was not; `listeners` is where there are any.
    pub fn nothing_left(&self, listeners: &[SocketAddr]) -> Result<(), InheritError> {
        let Some(left) = self.sockets.first() else {
            return Ok(());
        };
        let listeners: Vec<String> = listeners.iter().map(ToString::to_string).collect();
        Err(InheritError::Unknown {
            name: left.name.clone(),
            address: left.address,
            listeners: listeners.join(", "),
        })
    }
}

/// As our own sockets are: nobody waits on it, and many may wait in it.
fn prepare(socket: &TcpListener) -> io::Result<SocketAddr> {
    let inner = SockRef::from(socket);
    if !inner.is_listener()? {
        return Err(io::Error::other("it does not listen"));
    }
    socket.set_nonblocking(true)?;
    inner.listen(BACKLOG)?;
    socket.local_addr()
}

/// So many handles on the sockets of one address that every worker has one and every socket is
/// somebody's; the `n`th is the worker's of that number, modulo `workers`.
///
/// # Errors
///
/// What the system says, such as that there is no descriptor left.
pub fn share(sockets: &[TcpListener], workers: usize) -> io::Result<Vec<TcpListener>> {
    let handles = workers.max(sockets.len());
    let each = sockets.iter().cycle().take(handles);
    each.map(TcpListener::try_clone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(name: &str) -> Handed {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        Handed {
            name: name.to_owned(),
            address: socket.local_addr().unwrap(),
            socket,
        }
    }

    #[test]
    fn sockets_go_to_the_listener_of_their_address_and_none_may_be_left() {
        let (one, two) = (handed("web"), handed("other"));
        let (first, second) = (one.address, two.address);
        let mut inherited = Inherited {
            sockets: vec![one, two],
            any: true,
        };
        assert_eq!(inherited.take(first).len(), 1);
        assert_eq!(inherited.take(first).len(), 0);
        let error = inherited.nothing_left(&[first]).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "the socket `other` on {second} was handed over, but no listener has `bind = \
                 \"{second}\"` (there are {first}); make `ListenStream=` and `bind` the same"
            )
        );
        assert_eq!(inherited.take(second).len(), 1);
        assert!(inherited.nothing_left(&[]).is_ok());
    }

    #[test]
    fn every_worker_and_every_socket_is_served() {
        let sockets = [handed("a").socket, handed("b").socket, handed("c").socket];
        for (few, workers, handles) in [(1, 4, 4), (3, 2, 3), (2, 2, 2)] {
            let shared = share(&sockets[..few], workers).unwrap();
            assert_eq!(shared.len(), handles);
            for socket in &sockets[..few] {
                let address = socket.local_addr().unwrap();
                let own = |one: &TcpListener| one.local_addr().unwrap() == address;
                assert!(shared.iter().any(own));
            }
        }
    }

    #[test]
    fn a_socket_that_does_not_listen_is_told() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let error = prepare(&socket.unwrap().into()).unwrap_err();
        assert_eq!(error.to_string(), "it does not listen");
    }
}
