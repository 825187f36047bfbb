//! Faults in what people wrote: each says what, where, and what to do; all are shown at once.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

/// A text file that was read, kept for pointing at.
#[derive(Clone, Debug)]
pub struct Source {
    path: PathBuf,
    text: Arc<NamedSource<String>>,
}

impl Source {
    /// A text with the name it goes by.
    #[must_use]
    pub fn new(path: &Path, text: impl Into<String>) -> Self {
        let name = path.display().to_string();
        Self {
            path: path.to_owned(),
            text: Arc::new(NamedSource::new(name, text.into())),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// A [`Fault`] that names the file and what the system said.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        std::fs::read_to_string(path)
            .map(|text| Self::new(path, text))
            .map_err(|error| Fault::new(format!("cannot read `{}`: {error}", path.display())))
    }

    /// Where it came from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.inner()
    }

    /// A fault at a place in this text, as byte offsets.
    #[must_use]
    pub fn fault(&self, span: Range<usize>, message: impl Into<String>) -> Fault {
        Fault {
            place: Some((self.clone(), span)),
            ..Fault::new(message)
        }
    }

    /// Line and column (from 1) of a byte offset.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let text = self.text();
        let before = text.get(..offset.min(text.len())).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        (line, column)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    message: String,
    help: Option<String>,
    place: Option<(Source, Range<usize>)>,
    warning: bool,
}

impl Fault {
    /// A fault that stands at no place in a text.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            place: None,
            warning: false,
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Makes it a warning: shown, but it refuses nothing.
    #[must_use]
    pub const fn warning(mut self) -> Self {
        self.warning = true;
        self
    }

    /// Whether it is only a warning.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        self.warning
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// `file:line:column`, where it stands in a text.
    #[must_use]
    pub fn location(&self) -> Option<String> {
        let (source, span) = self.place.as_ref()?;
        let (line, column) = source.position(span.start);
        Some(format!("{}:{line}:{column}", source.path().display()))
    }

    /// Where it begins in its text, in bytes; faults without a place come first.
    pub(super) fn start(&self) -> usize {
        self.place.as_ref().map_or(0, |(_, span)| span.start)
    }

    /// Place and message in one line, for a log.
    #[must_use]
    pub fn one_line(&self) -> String {
        match self.location() {
            Some(place) => format!("{place}: {}", self.message),
            None => self.message.clone(),
        }
    }

    /// The whole report for a terminal: `file:line:column: message`, the offending line, and help.
    #[must_use]
    pub fn report(&self) -> String {
        let kind = if self.warning { "warning: " } else { "" };
        let mut out = match self.location() {
            Some(location) => format!("{location}: {kind}{}\n", self.message),
            None => format!("{kind}{}\n", self.message),
        };
        let theme = miette::GraphicalTheme::unicode_nocolor();
        let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(100);
        let mut excerpt = String::new();
        if self.place.is_some() && handler.render_report(&mut excerpt, self).is_ok() {
            // What miette puts before the excerpt is the message once more.
            let start = excerpt.find('╭').unwrap_or(0);
            let line = excerpt.get(..start).and_then(|before| before.rfind('\n'));
            out.push_str(
                excerpt
                    .get(line.map_or(0, |at| at + 1)..)
                    .unwrap_or_default(),
            );
        } else if let Some(help) = &self.help {
            out.push_str("  help: ");
            out.push_str(help);
            out.push('\n');
        }
        out
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Diagnostic for Fault {
    fn severity(&self) -> Option<Severity> {
        Some(if self.warning {
            Severity::Warning
        } else {
            Severity::Error
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place
            .as_ref()
            .map(|(source, _)| source.text.as_ref() as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, span) = self.place.as_ref()?;
        let label = LabeledSpan::new(Some("here".to_owned()), span.start, span.len());
        Some(Box::new(std::iter::once(label)))
    }
}
