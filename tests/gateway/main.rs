//! The gateway from outside: real sockets, a real store, the real sample service behind it.

mod browser;
mod codes;
mod framing;
mod house;
mod identity;
mod model;
mod ops;
mod story;
mod streams;
mod tls;
