//! One key at a time: read its value, or leave a fault and its default.

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use super::super::values;
use super::super::written::At;
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn duration(
        &mut self,
        key: &str,
        written: Option<&At<String>>,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let Some(written) = written else {
            return default;
        };
        let (text, span) = (written.get(), written.span());
        match values::duration(text) {
            Some(duration) if range.contains(&duration) => return duration,
            Some(_) => self.fault(
                span,
                format!("`{key}` is `{text}`, out of bounds"),
                format!("from {:?} to {:?}", range.start(), range.end()),
            ),
            None => self.fault(
                span,
                format!("`{key}` is `{text}`, which is no duration"),
                "a whole number and a unit: `250ms`, `90s`, `5m`, `1h`, `30d`",
            ),
        }
        default
    }

    pub(super) fn size<T: TryFrom<u64>>(
        &mut self,
        key: &str,
        written: Option<&At<String>>,
        range: RangeInclusive<u64>,
        default: T,
    ) -> T {
        let Some(written) = written else {
            return default;
        };
        let (text, span) = (written.get(), written.span());
        match values::size(text).map(|size| (range.contains(&size), T::try_from(size))) {
            Some((true, Ok(size))) => return size,
            Some(_) => self.fault(
                span,
                format!("`{key}` is `{text}`, out of bounds"),
                format!("from {} to {} bytes", range.start(), range.end()),
            ),
            None => self.fault(
                span,
                format!("`{key}` is `{text}`, which is no size"),
                "a whole number and a unit: `512B`, `64KiB`, `8MiB`, `2GiB`",
            ),
        }
        default
    }

    pub(super) fn count<T: TryFrom<u64>>(
        &mut self,
        key: &str,
        written: Option<&At<u64>>,
        range: RangeInclusive<u64>,
        default: T,
    ) -> T {
        let Some(written) = written else {
            return default;
        };
        let number = *written.get();
        match (range.contains(&number), T::try_from(number)) {
            (true, Ok(number)) => number,
            _ => {
                self.fault(
                    written.span(),
                    format!("`{key}` is `{number}`, out of bounds"),
                    format!("from {} to {}", range.start(), range.end()),
                );
                default
            }
        }
    }

    pub(super) fn address(&mut self, key: &str, written: &At<String>) -> Option<SocketAddr> {
        let address = written.get().parse().ok();
        if address.is_none() {
            self.fault(
                written.span(),
                format!(
                    "`{key}` is `{}`, which is no address and port",
                    written.get()
                ),
                "such as `0.0.0.0:8443`, `127.0.0.1:9090` or `[::]:8443`",
            );
        }
        address
    }

    /// A path made absolute against the working directory.
    pub(super) fn path(
        &mut self,
        key: &str,
        written: Option<&At<String>>,
        default: &str,
    ) -> PathBuf {
        let text = match written {
            Some(written) if written.get().is_empty() => {
                self.fault(written.span(), format!("`{key}` is empty"), "a path");
                default
            }
            Some(written) => written.get(),
            None => default,
        };
        std::path::absolute(text).unwrap_or_else(|_| PathBuf::from(text))
    }

    pub(super) fn fault(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.faults
            .push(self.source.fault(span, message).help(help));
    }

    pub(super) fn warn(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let fault = self.source.fault(span, message).help(help);
        self.faults.push(fault.warning());
    }
}
