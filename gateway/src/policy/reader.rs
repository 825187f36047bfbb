//! Reads TOML as people write it: every fault is kept, with its place, and a key that nobody asks
//! for is a fault.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::fault::{Fault, Source};

/// A text with its place.
pub(super) type Text = Spanned<String>;

/// A value as the parser gives it.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// One document under reading.
pub(super) struct Reader<'s> {
    source: &'s Source,
    faults: Vec<Fault>,
}

impl<'s> Reader<'s> {
    /// A reader that only keeps faults.
    pub(super) const fn new(source: &'s Source) -> Self {
        Self {
            source,
            faults: Vec::new(),
        }
    }

    /// Parses a document; `None` where its syntax is broken, with every fault kept.
    pub(super) fn open(source: &'s Source) -> (Self, Option<Spanned<DeTable<'s>>>) {
        let mut reader = Self::new(source);
        let (document, errors) = DeTable::parse_recoverable(source.text());
        let sound = errors.is_empty();
        for error in errors {
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            reader.fault(error.span().unwrap_or_default(), message);
        }
        (reader, sound.then_some(document))
    }

    /// Keeps a fault.
    pub(super) fn fault(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.faults.push(self.source.fault(span, message));
    }

    /// Keeps a fault that says what to do.
    pub(super) fn fault_with_help(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.faults
            .push(self.source.fault(span, message).help(help));
    }

    /// Keeps what refuses nothing, but may be meant otherwise.
    pub(super) fn warn(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let fault = self.source.fault(span, message).help(help);
        self.faults.push(fault.warning());
    }

    /// The document's text and name.
    pub(super) const fn source(&self) -> &'s Source {
        self.source
    }

    /// Everything that was found wrong.
    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// The fields of a table that is called `what` in messages.
    pub(super) fn fields<'r, 'i>(
        &'r mut self,
        table: &'i DeTable<'i>,
        span: Range<usize>,
        what: &str,
    ) -> Fields<'r, 's, 'i> {
        Fields {
            reader: self,
            table,
            span,
            what: what.to_owned(),
            asked: Vec::new(),
        }
    }

    /// The fields of a value that must be a table.
    pub(super) fn table<'r, 'i>(
        &'r mut self,
        value: &'i Value<'i>,
        what: &str,
    ) -> Option<Fields<'r, 's, 'i>> {
        match value.get_ref().as_table() {
            Some(table) => Some(self.fields(table, value.span(), what)),
            None => {
                self.wrong_type(value, what, "a table");
                None
            }
        }
    }

    /// A value that must be a string.
    pub(super) fn string(&mut self, value: &Value<'_>, what: &str) -> Option<Text> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(value, what, "a string");
            return None;
        };
        Some(Spanned::new(value.span(), text.to_owned()))
    }

    fn wrong_type(&mut self, value: &Value<'_>, what: &str, wanted: &str) {
        let found = value.get_ref().type_str();
        self.fault(value.span(), format!("`{what}` is {wanted}, not `{found}`"));
    }
}

/// The fields of one table; what nobody asked for is unknown at [`Fields::finish`].
pub(super) struct Fields<'r, 's, 'i> {
    reader: &'r mut Reader<'s>,
    table: &'i DeTable<'i>,
    span: Range<usize>,
    what: String,
    asked: Vec<Cow<'static, str>>,
}

impl<'s, 'i> Fields<'_, 's, 'i> {
    /// Where the table stands: its header, or all of an inline one.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The reader, for faults and nested tables.
    pub(super) const fn reader(&mut self) -> &mut Reader<'s> {
        self.reader
    }

    /// A field's value.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'i Value<'i>> {
        self.asked.push(key.into());
        self.table.get(key)
    }

    /// Every key with its value, for tables whose keys are names.
    pub(super) fn entries(&mut self) -> Vec<(Text, &'i Value<'i>)> {
        self.table
            .iter()
            .map(|(key, value)| (Spanned::new(key.span(), key.get_ref().to_string()), value))
            .collect()
    }

    /// Takes a key whose name is not ours as asked for.
    pub(super) fn known(&mut self, key: &str) {
        self.asked.push(key.to_owned().into());
    }

    /// A string.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Text> {
        let value = self.value(key)?;
        self.reader.string(value, key)
    }

    /// A string that must be there.
    pub(super) fn required(&mut self, key: &'static str) -> Option<Text> {
        if !self.table.contains_key(key) {
            let message = format!("{} has no `{key}`", self.what);
            self.reader.fault(self.span.clone(), message);
        }
        self.text(key)
    }

    /// `true` or `false`; `false` where it is missing.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        let Some(value) = self.value(key) else {
            return false;
        };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.reader.wrong_type(value, key, "`true` or `false`");
            false
        })
    }

    /// A list of values; empty where it is missing.
    pub(super) fn list(&mut self, key: &'static str) -> &'i [Value<'i>] {
        let Some(value) = self.value(key) else {
            return &[];
        };
        match value.get_ref().as_array() {
            Some(array) => array.as_ref(),
            None => {
                self.reader.wrong_type(value, key, "a list");
                &[]
            }
        }
    }

    /// A list of strings; empty where it is missing.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<Text> {
        self.list(key)
            .iter()
            .filter_map(|value| self.reader.string(value, key))
            .collect()
    }

    /// A duration such as `"30s"`.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.text(key)?;
        let duration = parse_duration(text.get_ref());
        if duration.is_none() {
            self.reader.fault_with_help(
                text.span(),
                format!("`{}` is no duration", text.get_ref()),
                "write a whole number with `ms`, `s`, `m`, `h` or `d`, such as \"30s\"",
            );
        }
        duration
    }

    /// A size in bytes such as `"64KiB"`, or a whole number of bytes.
    pub(super) fn size(&mut self, key: &'static str) -> Option<u64> {
        let value = self.value(key)?;
        let written = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().replace('_', ""),
            DeValue::String(text) => text.to_string(),
            _ => {
                self.reader
                    .wrong_type(value, key, "a size such as \"64KiB\"");
                return None;
            }
        };
        let size = parse_size(&written);
        if size.is_none() {
            self.reader.fault_with_help(
                value.span(),
                format!("`{written}` is no size"),
                "write a whole number with `B`, `KiB`, `MiB` or `GiB`, such as \"64KiB\"",
            );
        }
        size
    }

    /// Faults every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if self.asked.iter().any(|asked| asked == name) {
                continue;
            }
            let message = format!("{} has no key `{name}`", self.what);
            let fault = self.reader.source.fault(key.span(), message);
            self.reader.faults.push(
                match nearest(name, self.asked.iter().map(|asked| &**asked)) {
                    Some(known) => fault.help(format!("did you mean `{known}`?")),
                    None => fault,
                },
            );
        }
    }
}

/// A whole number with `ms`, `s`, `m`, `h` or `d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// A whole number, alone or with `B`, `KiB`, `MiB` or `GiB`.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

/// The candidate that a misspelt word most likely meant.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= (word.chars().count() / 3).max(2))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_whole_numbers_and_known_units() {
        assert_eq!(parse_duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_size("2GiB"), Some(2 << 30));
        assert_eq!(parse_size("64 KiB"), Some(65_536));
        assert_eq!(parse_size("12"), Some(12));
        for text in ["", "s", "1.5s", "-1s", "30", "30 parsecs"] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
        for text in ["", "KiB", "1.5KiB", "-1", "1XB", "99999999999999999999"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_misspelt_word_is_told_its_nearest() {
        let known = ["read", "write", "copy"];
        assert_eq!(nearest("wrte", known), Some("write"));
        assert_eq!(nearest("reed", known), Some("read"));
        assert_eq!(nearest("frobnicate", known), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
