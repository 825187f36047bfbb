//! Portvakt: a reverse proxy that stands in front of a project application and gives it TLS, a
//! login, company accounts, verified identity and a default of *no*.
//!
//! A map of the house, from the top floor down; each room knows only the floors below its own:
//!
//! | floor | rooms |
//! | --- | --- |
//! | 7 | `main.rs`, [`cli`]: one file per command |
//! | 6 | [`app`]: builds everything from a resolved configuration, reloads, drains |
//! | 5 | [`listener`]: accept, TLS, HTTP server; [`login`]: flow, delivery; [`admin`] |
//! | 4 | [`pipeline`]: the story of one request |
//! | 3 | [`policy`], [`upstream`], [`session`], [`limit`], [`pages`] |
//! | 2 | [`store`], [`directory`], [`audit`], [`metrics`], [`trace`] |
//! | 1 | [`config`]: as written, then resolved |
//! | 0 | [`principal`], [`clock`], [`secret`], [`target`], [`client`], [`cookie`], [`body`], [`postgres`]: words that everyone uses |

pub mod admin;
pub mod app;
pub mod audit;
pub mod body;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod cookie;
pub mod directory;
pub mod limit;
pub mod listener;
pub mod login;
pub mod metrics;
pub mod pages;
pub mod pipeline;
pub mod policy;
pub mod postgres;
pub mod principal;
pub mod secret;
pub mod session;
pub mod store;
pub mod target;
pub mod trace;
pub mod upstream;
