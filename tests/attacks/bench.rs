//! The attack bench: strategies played against the login, and what each came to beside its bound.
//!
//! `cargo bench --bench attacks` plays it whole; with `-- short` in a minute or two. Exit 1 if a
//! bound is broken.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a bench that meets what it did not expect shall fail"
)]

#[path = "../gateway/house.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod house;
mod ledger;
mod strategies;
mod time;
mod town;
mod wire;

use std::process::ExitCode;
use std::time::Instant;

use strategies::{Outcome, Scale};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let short = words.iter().any(|word| word == "short");
    // Other words name strategies; what begins with `--` is cargo's.
    let only: Vec<String> = words
        .into_iter()
        .filter(|word| word != "short" && !word.starts_with("--"))
        .collect();
    let scale = if short {
        Scale {
            sprayed: 2_000,
            daily: 30,
            days: 60,
            race: 1_000,
        }
    } else {
        Scale {
            sprayed: 100_000,
            daily: 400,
            days: 360,
            race: 10_000,
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let broken = runtime.block_on(async {
        // Most of its time is waiting for a minute to pass.
        let real = wanted(&only, "wire").then(|| tokio::spawn(wire::in_real_time()));
        let mut broken = play(scale, &only).await;
        if let Some(real) = real {
            tell(&real.await.unwrap(), &mut broken);
        }
        // Nothing else runs while time is measured; a few trials show the way, and no more.
        if wanted(&only, "time") {
            let trials = if short { 50 } else { 2_000 };
            println!("\ntime of an answer, {trials} interleaved trials of each kind");
            for outcome in time::tells_nothing(trials, !short).await {
                tell(&outcome, &mut broken);
            }
        }
        broken
    });
    if broken.is_empty() {
        println!("\nevery bound holds");
        ExitCode::SUCCESS
    } else {
        println!("\nBROKEN: {}", broken.join(", "));
        ExitCode::FAILURE
    }
}

fn wanted(only: &[String], name: &str) -> bool {
    only.is_empty() || only.iter().any(|word| word == name)
}

fn tell(outcome: &Outcome, broken: &mut Vec<&'static str>) {
    println!("\n{}", outcome.name);
    for row in &outcome.rows {
        row.print();
    }
    if outcome.rows.iter().any(|row| !row.holds) {
        broken.push(outcome.name);
    }
}

/// Plays every strategy, and returns those that broke a bound.
async fn play(scale: Scale, only: &[String]) -> Vec<&'static str> {
    let mut broken = Vec::new();
    macro_rules! strategies {
        ($($strategy:ident),* $(,)?) => {$(
            if wanted(only, stringify!($strategy)) {
                let begun = Instant::now();
                let outcome = strategies::$strategy(scale).await;
                tell(&outcome, &mut broken);
                println!("  (played in {:.1} s)", begun.elapsed().as_secs_f64());
            }
        )*};
    }
    strategies!(
        guess_one_account,
        spray,
        resend_to_reset,
        many_challenges,
        race_one,
        race_many,
        restart_in_between,
        lock_out,
        pump_a_prefix,
        pump_from_one_address,
    );
    broken
}
