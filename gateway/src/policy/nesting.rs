//! How deep a Cedar text nests, told before Cedar reads it.
//!
//! Cedar reads, checks and evaluates by recursion, and a stack that overflows ends the process.
//! So a text is measured first, by its brackets and operators alone, and loading runs on a stack
//! of its own that holds whatever passes. What passes is evaluated on the stack of any worker.

use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;
use std::thread;

use crate::config::fault::{Fault, Source};

/// How many brackets, `if`s and operators may lie inside each other. A chain of operators counts
/// too: `a && b && c` is `(a && b) && c`. A debug build needs about 60 KB of stack for each when
/// it evaluates a rule, and a worker has 2 MB.
pub(super) const MAX_NESTING: usize = 24;

/// Enough, several times over, for what [`MAX_NESTING`] lets through, in a debug build.
const STACK_BYTES: usize = 64 << 20;

/// Whose brackets and operators count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// Rules and invariants.
    Rules,
    /// The schema, where `<` is a bracket and nothing is an operator.
    Schema,
}

/// Runs what recurses over policy files on a stack that is large enough for it.
pub(super) fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Fault> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("policy".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|error| Fault::new(format!("no thread to read policies on: {error}")))?;
        let done = worker.join();
        done.map_err(|_| Fault::new("reading the policies ended early: a mistake of ours"))
    })
}

/// Faults a text that nests too deep to be read.
pub(super) fn check(source: &Source, language: Language) -> Result<(), Fault> {
    let Some(span) = too_deep(source.text(), language) else {
        return Ok(());
    };
    let message = format!("this lies more than {MAX_NESTING} brackets and operators deep");
    let fault = source.fault(span, message);
    Err(fault.help("write several rules, or a set: `[…].contains(…)`"))
}

/// Where a text first nests too deep.
fn too_deep(text: &str, language: Language) -> Option<Range<usize>> {
    let mut depth = Depth::default();
    let mut rest = text.char_indices().peekable();
    while let Some((at, character)) = rest.next() {
        let rules = language == Language::Rules;
        match character {
            '"' => skip_string(&mut rest),
            '/' if rest.next_if(|(_, next)| *next == '/').is_some() => {
                // Cedar ends a comment at either (`[^\n\r]*`).
                while rest.next_if(|(_, c)| !matches!(c, '\n' | '\r')).is_some() {}
            }
            '(' => depth.open(')'),
            '[' => depth.open(']'),
            '{' => depth.open('}'),
            '<' if !rules => depth.open('>'),
            ')' | ']' | '}' => depth.close(character),
            '>' if !rules => depth.close(character),
            ',' | ';' => depth.next(),
            '!' | '<' | '>' | '=' if rules => {
                let compares = rest.next_if(|(_, next)| *next == '=').is_some();
                let not = character == '!' && !compares;
                depth
                    .level
                    .step(if not { Step::Tight } else { Step::Middle });
            }
            '&' | '|' if rules => {
                rest.next_if(|(_, next)| *next == character);
                depth.level.step(Step::Loose);
            }
            '.' if rules => depth.level.step(Step::Tight),
            '+' | '-' | '*' | '/' | '%' if rules => depth.level.step(Step::Middle),
            'a'..='z' | 'A'..='Z' | '_' => {
                let step = match read_word(text, at, &mut rest) {
                    "if" | "when" | "unless" => Some(Step::Loose),
                    // `a has b.c` is `a has b && a.b has c`.
                    "has" => Some(Step::Loose),
                    "in" | "is" | "like" => Some(Step::Middle),
                    _ => None,
                };
                if let Some(step) = step.filter(|_| rules) {
                    depth.level.step(step);
                }
            }
            _ => {}
        }
        if depth.most() > MAX_NESTING {
            return Some(at..at + character.len_utf8());
        }
    }
    None
}

/// To the end of a string, whose opening quotation mark has been read.
fn skip_string(rest: &mut Peekable<CharIndices<'_>>) {
    while let Some((_, character)) = rest.next() {
        match character {
            '"' => return,
            '\\' => {
                rest.next();
            }
            _ => {}
        }
    }
}

fn read_word<'t>(text: &'t str, at: usize, rest: &mut Peekable<CharIndices<'_>>) -> &'t str {
    let mut end = at + 1;
    while rest
        .next_if(|(_, c)| c.is_ascii_alphanumeric() || *c == '_')
        .is_some()
    {
        end += 1;
    }
    text.get(at..end).unwrap_or_default()
}

/// The depth at one place in a text: never less than that of the tree that Cedar makes of it.
#[derive(Default)]
struct Depth {
    /// The brackets that are open, each with its level.
    open: Vec<(char, Level)>,
    /// What they and the operators before them come to.
    outside: usize,
    level: Level,
}

/// What stands between two brackets.
#[derive(Default)]
struct Level {
    /// Operators since the last comma that hold all that stands before them.
    loose: usize,
    /// Those since the last loose one.
    middle: usize,
    /// Those since the last loose or middle one.
    tight: usize,
    /// The deepest bracket since then.
    inside: usize,
    /// The deepest operand of the middle ones.
    operands: usize,
    /// The deepest operand of the loose ones.
    terms: usize,
    /// The deepest member before the last comma.
    members: usize,
}

/// How much an operator holds.
#[derive(Clone, Copy)]
enum Step {
    /// `&&`, `||`, `if`.
    Loose,
    /// Comparisons and sums.
    Middle,
    /// `.` and `!`.
    Tight,
}

impl Level {
    fn step(&mut self, step: Step) {
        match step {
            Step::Loose => {
                let terms = self.term();
                *self = Self {
                    loose: self.loose + 1,
                    terms,
                    members: self.members,
                    ..Self::default()
                };
            }
            Step::Middle => {
                self.operands = self.operands.max(self.tight + self.inside);
                self.middle += 1;
                (self.tight, self.inside) = (0, 0);
            }
            Step::Tight => self.tight += 1,
        }
    }

    /// The deepest term so far.
    fn term(&self) -> usize {
        let operand = self.operands.max(self.tight + self.inside);
        self.terms.max(self.middle + operand)
    }

    /// The operators around what is opened next.
    const fn around(&self) -> usize {
        self.loose + self.middle + self.tight
    }

    fn depth(&self) -> usize {
        self.members.max(self.loose + self.term())
    }
}

impl Depth {
    fn most(&self) -> usize {
        self.outside + self.level.depth()
    }

    fn next(&mut self) {
        self.level = Level {
            members: self.level.depth(),
            ..Level::default()
        };
    }

    fn open(&mut self, closing: char) {
        self.outside += self.level.around() + 1;
        self.open.push((closing, std::mem::take(&mut self.level)));
    }

    fn close(&mut self, closing: char) {
        // What closes nothing is a fault that Cedar tells; it must not hide what is open.
        let Some((_, outer)) = self.open.pop_if(|(expected, _)| *expected == closing) else {
            return;
        };
        let depth = self.level.depth() + 1;
        self.level = outer;
        self.outside -= self.level.around() + 1;
        self.level.inside = self.level.inside.max(depth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Option<usize> {
        too_deep(text, Language::Rules).map(|span| span.start)
    }

    #[test]
    fn what_nests_is_counted_and_what_stands_side_by_side_is_not() {
        for deep in [
            "(", "[", "{", "!", "-", "if ", "a.", "a && ", "a || ", "1 + ",
        ] {
            assert_eq!(place(&deep.repeat(MAX_NESTING)), None, "{deep}");
            let text = deep.repeat(MAX_NESTING + 1);
            let last = MAX_NESTING * deep.len() + deep.find(['.', '&', '|', '+']).unwrap_or(0);
            assert_eq!(place(&text), Some(last), "{deep}");
        }
        // A bracket's chain counts where its own depth ends.
        let half = "!".repeat(MAX_NESTING / 2);
        let wide = format!("({half}) && ({half})");
        assert_eq!(place(&wide), None);
        let chain = format!("({half}){}", " && a".repeat(MAX_NESTING / 2));
        assert!(place(&chain).is_some());
        // Operands of the same operator do not lie in each other.
        let rule = "resource.company == principal.company && ".repeat(MAX_NESTING - 4);
        assert_eq!(place(&format!("when {{ {rule}!true }};")), None);
        for side in ["(a), ", "[1, 2, a && b], ", "permit (a) when { !a };\n"] {
            assert_eq!(place(&side.repeat(1000)), None, "{side}");
        }
    }

    #[test]
    fn brackets_in_texts_and_comments_are_none() {
        let many = "(".repeat(1000);
        assert_eq!(place(&format!("// {many}\n")), None);
        assert_eq!(place(&format!("\"{many}\"")), None);
        assert_eq!(place(&format!("\"\\\"{many}\\\\\"")), None);
        // … and what follows them is read again.
        for before in ["// x\n", "// x\r", "\"x\"", "\"\\\\\"", "a / b", "ø"] {
            assert!(place(&format!("{before}{many}")).is_some(), "{before:?}");
        }
    }

    #[test]
    fn what_closes_nothing_does_not_hide_what_is_open() {
        for text in ["(]", "({)", "[>)", "(;"] {
            assert!(place(&text.repeat(MAX_NESTING + 1)).is_some(), "{text}");
        }
    }

    #[test]
    fn in_a_schema_sets_nest() {
        let sets = |depth| {
            format!(
                "type T = {}Long{};",
                "Set<".repeat(depth),
                ">".repeat(depth)
            )
        };
        assert_eq!(too_deep(&sets(MAX_NESTING), Language::Schema), None);
        assert!(too_deep(&sets(MAX_NESTING + 1), Language::Schema).is_some());
    }
}
