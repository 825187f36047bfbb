//! `docs/performance.md` and its plot.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use plotters::prelude::*;

use crate::contender::Kind;
use crate::growth::Growth;
use crate::load::Http;
use crate::table::{Figure, Spread, Table};
use crate::{Failure, Options};

/// Where the measured part of the page begins and ends; what is around it is written by hand.
const BEGIN: &str = "<!-- measured: begin; tests/bench/run.sh writes this -->";
const END: &str = "<!-- measured: end -->";

/// Writes the table into the page, and the plot beside it.
pub fn write(
    folder: &Path,
    table: &Table,
    growth: &[Growth],
    options: &Options,
) -> Result<(), Failure> {
    let text = text(table, growth, options)?;
    println!("{text}");
    fs::create_dir_all(folder)?;
    let page = folder.join("performance.md");
    let old =
        fs::read_to_string(&page).unwrap_or_else(|_| format!("# Performance\n\n{BEGIN}\n{END}\n"));
    let (before, rest) = old
        .split_once(BEGIN)
        .ok_or("performance.md has lost its mark")?;
    let (_, after) = rest
        .split_once(END)
        .ok_or("performance.md has lost its second mark")?;
    fs::write(&page, format!("{before}{BEGIN}\n{text}\n{END}{after}"))?;
    plot(&folder.join("performance.svg"), table)
}

fn text(table: &Table, growth: &[Growth], options: &Options) -> Result<String, Failure> {
    let mut text = machine(options)?;
    for http in [Http::One, Http::Two] {
        if table.absolute(Kind::Nginx, Figure::Cpu(http)).is_none() {
            continue;
        }
        write!(
            text,
            "\n### {} over TLS 1.3\n\n| contender | CPU per request, µs | ratio to nginx | requests/s | p50, ms | p99, ms | p99 at half load, ratio | system calls |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
            http.name()
        )?;
        for kind in Kind::ALL {
            let Some(cpu) = table.absolute(kind, Figure::Cpu(http)) else {
                continue;
            };
            let nginx = |figure| table.ratio(kind, figure, (Kind::Nginx, figure));
            writeln!(
                text,
                "| {} | {:.1} | {} | {} | {} | {} | {} | {} |",
                kind.name(),
                cpu.median,
                range(nginx(Figure::Cpu(http))),
                whole(table.absolute(kind, Figure::PerSecond(http))),
                decimals(table.absolute(kind, Figure::P50(http))),
                decimals(table.absolute(kind, Figure::P99(http))),
                range(nginx(Figure::CalmP99(http))),
                decimals(table.absolute(kind, Figure::Calls(http))),
            )?;
        }
    }
    if table.absolute(Kind::Nginx, Figure::Full).is_some() {
        text.push_str("\n### Connections\n\n| contender | full handshake, CPU µs | ratio | X25519MLKEM768, ratio to nginx with X25519 | resumed, with a request, ratio | memory per idle connection, KiB | ratio |\n| --- | --- | --- | --- | --- | --- | --- |\n");
        for kind in Kind::ALL {
            let Some(full) = table.absolute(kind, Figure::Full) else {
                continue;
            };
            let nginx = |figure| table.ratio(kind, figure, (Kind::Nginx, figure));
            let memory = table.absolute(kind, Figure::Memory);
            writeln!(
                text,
                "| {} | {:.0} | {} | {} | {} | {} | {} |",
                kind.name(),
                full.median,
                range(nginx(Figure::Full)),
                range(table.ratio(kind, Figure::PostQuantum, (Kind::Nginx, Figure::Full))),
                range(nginx(Figure::Resumed)),
                memory.map_or_else(dash, |spread| format!("{:.1}", spread.median / 1024.0)),
                range(nginx(Figure::Memory)),
            )?;
        }
    }
    goals(&mut text, table, growth)?;
    Ok(text)
}

/// The goals, each with what was measured.
fn goals(text: &mut String, table: &Table, growth: &[Growth]) -> Result<(), Failure> {
    let own = |figure, to: (Kind, Figure)| table.ratio(Kind::Portvakt, figure, to);
    let (one, two) = (Figure::Cpu(Http::One), Figure::Cpu(Http::Two));
    let calls = Figure::Calls(Http::One);
    let calm = Figure::CalmP99(Http::One);
    let rows = [
        (
            "CPU per request, TLS HTTP/1.1, whole job, to plain nginx",
            1.15,
            own(one, (Kind::Nginx, one)),
        ),
        ("the same, HTTP/2", 1.25, own(two, (Kind::Nginx, two))),
        (
            "CPU per request, to nginx with `auth_request` to a session service",
            0.58,
            own(one, (Kind::NginxAuth, one)),
        ),
        (
            "the whole job over a bare hyper proxy",
            1.2,
            own(one, (Kind::Hyper, one)),
        ),
        (
            "system calls per keep-alive request, to plain nginx",
            0.7,
            own(calls, (Kind::Nginx, calls)),
        ),
        (
            "CPU per full TLS 1.3 handshake, X25519 on both, to nginx",
            0.5,
            own(Figure::Full, (Kind::Nginx, Figure::Full)),
        ),
        (
            "the same, X25519MLKEM768 on ours",
            0.65,
            own(Figure::PostQuantum, (Kind::Nginx, Figure::Full)),
        ),
        (
            "memory per idle TLS connection, to nginx",
            1.5,
            own(Figure::Memory, (Kind::Nginx, Figure::Memory)),
        ),
        (
            "p99 at half the saturation rate, to plain nginx",
            1.2,
            own(calm, (Kind::Nginx, calm)),
        ),
    ];
    text.push_str("\n### Goals\n\n| figure | at most | measured | |\n| --- | --- | --- | --- |\n");
    for (what, goal, ratio) in rows {
        if let Some(ratio) = ratio {
            row(text, what, goal, ratio)?;
        }
    }
    for grown in growth {
        let what = format!("growth: {}, {} to {}", grown.what, grown.small, grown.large);
        row(text, &what, 1.1, grown.ratio)?;
    }
    Ok(())
}

fn row(text: &mut String, what: &str, goal: f64, ratio: Spread) -> Result<(), Failure> {
    let met = if ratio.median <= goal {
        "met"
    } else {
        "**missed**"
    };
    writeln!(text, "| {what} | {goal} | {} | {met} |", range(Some(ratio)))?;
    Ok(())
}

fn machine(options: &Options) -> Result<String, Failure> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("?");
    let cpu = cpu.trim_start_matches([' ', '\t', ':']);
    let said = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        let both = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&both).into_owned();
        text.lines().next().map(str::to_owned)
    };
    let versions: Vec<String> = [
        ("nginx", "-v"),
        ("haproxy", "-v"),
        ("h2load", "--version"),
        ("rustc", "--version"),
        ("uname", "-sr"),
    ]
    .into_iter()
    .filter_map(|(program, argument)| said(program, argument))
    .collect();
    Ok(format!(
        "Measured on {} ({cpu}), {} rounds of {} s, medians with the range of the rounds. {}.\n",
        said("date", "-I").unwrap_or_default(),
        options.rounds,
        options.seconds,
        versions.join("; "),
    ))
}

fn range(spread: Option<Spread>) -> String {
    spread.map_or_else(dash, |spread| {
        format!(
            "{:.2} ({:.2}–{:.2})",
            spread.median, spread.low, spread.high
        )
    })
}

fn decimals(spread: Option<Spread>) -> String {
    spread.map_or_else(dash, |spread| format!("{:.2}", spread.median))
}

fn whole(spread: Option<Spread>) -> String {
    spread.map_or_else(dash, |spread| format!("{:.0}", spread.median))
}

fn dash() -> String {
    "–".to_owned()
}

/// Bars of CPU time per request as ratios to plain nginx, for both versions of HTTP.
fn plot(file: &Path, table: &Table) -> Result<(), Failure> {
    let bars: Vec<(Kind, Vec<(Http, Spread)>)> = Kind::ALL
        .into_iter()
        .filter_map(|kind| {
            let ratio = |http| {
                let figure = Figure::Cpu(http);
                Some((http, table.ratio(kind, figure, (Kind::Nginx, figure))?))
            };
            let both: Vec<_> = [Http::One, Http::Two]
                .into_iter()
                .filter_map(ratio)
                .collect();
            (!both.is_empty()).then_some((kind, both))
        })
        .collect();
    if bars.is_empty() {
        return Ok(());
    }
    let highest = bars
        .iter()
        .flat_map(|(_, both)| both)
        .map(|(_, spread)| spread.high);
    let highest = highest.fold(1.0, f64::max) * 1.15;
    let height = 60 + 64 * u32::try_from(bars.len())?;
    let area = SVGBackend::new(file, (860, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let lines = bars.len() as f64;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "CPU time per request, ratio to plain nginx (less is better)",
            ("sans-serif", 18),
        )
        .margin(12)
        .x_label_area_size(24)
        .build_cartesian_2d(0.0..highest, 0.0..lines)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(8)
        .draw()?;
    for (at, (kind, both)) in bars.iter().enumerate() {
        let top = lines - at as f64;
        chart.draw_series([Text::new(
            kind.name().to_owned(),
            (0.01, top - 0.04),
            ("sans-serif", 14).into_font(),
        )])?;
        for (http, spread) in both {
            let (color, place) = match http {
                Http::One => (RGBColor(31, 95, 139), top - 0.34),
                Http::Two => (RGBColor(201, 111, 38), top - 0.64),
            };
            chart.draw_series([Rectangle::new(
                [(0.0, place - 0.26), (spread.median, place)],
                color.filled(),
            )])?;
            let label = format!("{} {:.2}", http.name(), spread.median);
            chart.draw_series([Text::new(
                label,
                (spread.median + 0.02, place - 0.02),
                ("sans-serif", 13).into_font(),
            )])?;
        }
    }
    area.present()?;
    Ok(())
}
