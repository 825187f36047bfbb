//! What the commands print.

use std::fmt::Write;

use super::tests_file::TestReport;

/// A test run for a person: every failure with its place, then the warnings, then a sum.
#[must_use]
pub fn print_tests(report: &TestReport) -> String {
    let mut out = String::new();
    for fault in &report.failures {
        out.push_str(&fault.report());
        out.push('\n');
    }
    for warning in &report.warnings {
        let _ = writeln!(out, "warning: {}", warning.message());
    }
    let failed = report.failures.len();
    let passed = report.count - failed.min(report.count);
    let _ = writeln!(out, "{passed} passed, {failed} failed");
    out
}
