//! The login as a browser and a program see it, on the embedded store and the file directory.

mod account;
mod attacks;
mod counters;
mod faults;
mod flow;
mod refusals;
mod sends;
mod shield;
mod waiting;
mod world;
