//! The demo's parts: a small project service that knows nothing of Portvakt. `main.rs` puts
//! Portvakt before it; the tests of the product use it as the application behind the gateway.

pub mod service;
