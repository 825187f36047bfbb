//! The gateway from outside: real sockets, a real store, the real sample service behind it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets what it did not expect shall fail"
)]

mod addresses;
mod alike;
mod audit;
mod browser;
mod cluster;
mod codes;
mod commands;
mod cookies;
mod deploy;
mod drain;
mod example;
mod examples_json_server;
mod examples_radicale;
mod facts;
mod faults;
mod faulty;
mod framing;
mod handover;
mod house;
mod identity;
mod kills;
mod mail;
mod model;
mod ops;
mod overrides;
mod pages;
mod people;
mod policies;
mod postgres;
mod prometheus;
mod provider;
mod proxied;
mod ran;
mod reading;
mod receipts;
mod recorder;
mod redis;
mod restart;
mod scarce;
mod scraper;
mod sentinel;
mod shared;
mod shield;
mod sms;
mod standing;
mod statement;
mod status;
mod story;
mod streams;
mod supervised;
mod table;
mod tls;
mod traces;
mod values;
