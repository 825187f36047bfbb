//! The room as a whole: a policy folder, an application that answers, people who ask.

mod decisions;
mod deep;
mod facts;
mod folders;
mod learner;
mod learning;
mod loading;
mod mistakes;
mod nested;
mod proofs;
mod reading;
mod shipped;
mod sources;
mod support;
mod testing;
mod values;
