//! The room as a whole: a policy folder, an application that answers, people who ask.

mod decisions;
mod deep;
mod facts;
mod folders;
mod learning;
mod loading;
mod mistakes;
mod proofs;
mod reading;
mod shipped;
mod support;
mod testing;
mod values;
