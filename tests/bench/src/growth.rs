//! Whether a request costs more where more is around: Portvakt beside a Portvakt that has more.

use std::time::Duration;

use crate::contender::{Contender, Ground, Size};
use crate::load::{Aim, Http};
use crate::table::Spread;
use crate::{Failure, Options};

/// What grew, and what a request then cost in comparison.
#[derive(Debug)]
pub struct Growth {
    pub what: &'static str,
    pub small: &'static str,
    pub large: &'static str,
    pub ratio: Spread,
}

/// One thing that grows.
struct Case {
    what: &'static str,
    small: &'static str,
    large: &'static str,
    size: Size,
    /// How many projects are asked for.
    projects: usize,
}

fn cases() -> [Case; 3] {
    [
        Case {
            what: "projects asked for",
            small: "10",
            large: "10,000",
            size: Size::default(),
            projects: 10_000,
        },
        Case {
            what: "rules with a say",
            small: "the shipped set",
            large: "500 more",
            size: Size {
                rules: 500,
                ..Size::default()
            },
            projects: 10,
        },
        Case {
            what: "routes",
            small: "the shipped set",
            large: "1,000 more",
            size: Size {
                routes: 1_000,
                ..Size::default()
            },
            projects: 10,
        },
    ]
}

/// Measures every case, small and large in turn.
pub fn measure(options: &Options, ground: &Ground) -> Result<Vec<Growth>, Failure> {
    let small = Contender::portvakt(ground, &Size::default())?;
    let time = Duration::from_secs_f64(options.seconds);
    let mut grown = Vec::new();
    for case in cases() {
        eprintln!("growth: {}", case.what);
        let large = Contender::portvakt(ground, &case.size)?;
        let mut ratios = Vec::new();
        for _ in 0..options.rounds {
            let before = load(&small, ground, 10, time)?;
            let after = load(&large, ground, case.projects, time)?;
            ratios.push(after / before);
        }
        if let Some(ratio) = Spread::of(ratios) {
            grown.push(Growth {
                what: case.what,
                small: case.small,
                large: case.large,
                ratio,
            });
        }
    }
    Ok(grown)
}

fn load(
    contender: &Contender,
    ground: &Ground,
    projects: usize,
    time: Duration,
) -> Result<f64, Failure> {
    let paths: Vec<String> = (1..=projects)
        .map(|number| format!("/projects/{number}"))
        .collect();
    let pids = contender.pids();
    let aim = Aim {
        port: contender.port,
        cookie: &contender.cookie,
        paths: &paths,
        pids: &pids,
        application: &ground.application,
        folder: &contender.folder,
    };
    Ok(aim.load(Http::One, time, None)?.cpu)
}
