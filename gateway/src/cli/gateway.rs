//! What the commands that act on a running gateway share: the way to it, and tables.

use std::process::ExitCode;

use super::{ConfigFile, complain, report};
use crate::admin::client::{ClientError, GatewayClient};
use crate::config;

/// Asks the gateway of this configuration, and shows what it answered; exit 1 if it did not.
///
/// Only the socket's place is read of the configuration: a secret that is not in this shell's
/// environment is no reason not to reach the gateway.
pub(super) fn ask<T>(
    config: &ConfigFile,
    question: impl AsyncFnOnce(&GatewayClient) -> Result<T, ClientError>,
    show: impl FnOnce(T) -> ExitCode,
) -> ExitCode {
    let (found, faults) = config::examine(&config.path, &config::environment);
    let Some(found) = found else {
        report(&faults);
        return ExitCode::FAILURE;
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("portvakt: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let client = GatewayClient::new(found.admin.socket);
    match runtime.block_on(question(&client)) {
        Ok(answer) => show(answer),
        Err(error) => {
            complain(&format!("portvakt: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Rows under their headings, each column as wide as it needs.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let clean: Vec<[String; N]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| printable(cell)))
        .collect();
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in &clean {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    let headings = headings.map(str::to_owned);
    for row in std::iter::once(&headings).chain(&clean) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            let gap = width - cell.chars().count() + 2;
            line.extend(std::iter::repeat_n(' ', gap));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What a client or a directory wrote, without what a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// An RFC 3339 moment to the minute, as `2026-11-24 10:20` in UTC.
pub(super) fn minute(moment: &str) -> String {
    let date = moment.get(..10).unwrap_or(moment);
    let time = moment.get(11..16).unwrap_or_default();
    format!("{date} {time}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_and_nothing_steers_the_terminal() {
        let rows = [
            ["1".to_owned(), "blå\u{1b}[2J".to_owned()],
            ["long".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["A", "B"], &rows),
            "A     B\n1     blå\u{fffd}[2J\nlong\n"
        );
    }

    #[test]
    fn a_moment_is_shown_to_the_minute() {
        assert_eq!(minute("2026-11-24T10:20:07.123Z"), "2026-11-24 10:20");
        assert_eq!(minute("soon"), "soon ");
    }
}
