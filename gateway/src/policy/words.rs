//! A policy set in words, for those who read no code: each rule by the comment above it.

use cedar_policy::PolicyId;

use super::PolicySet;
use super::routes::Subject;

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInWords {
    /// The comment above it; the rule itself, on one line, where there is none.
    pub words: String,
    /// Where it stands, such as `projects.cedar:4`.
    pub place: String,
}

impl PolicySet {
    /// Every rule in words, in order.
    #[must_use]
    pub fn in_words(&self) -> Vec<RuleInWords> {
        let names = self.rules.rule_names().into_iter();
        names
            .map(|name| RuleInWords {
                words: self.words_of(&name),
                place: name.to_string(),
            })
            .collect()
    }

    /// How many routes there are.
    #[must_use]
    pub fn route_count(&self) -> usize {
        self.routes.len()
    }

    /// The routes that need no login, such as `GET /assets/**`.
    #[must_use]
    pub fn public_routes(&self) -> Vec<String> {
        let public = self.routes.iter();
        public
            .filter(|route| matches!(route.subject, Subject::Public))
            .map(|route| route.label.to_string())
            .collect()
    }

    fn words_of(&self, rule: &str) -> String {
        let Some((source, span)) = self.rules.place(&PolicyId::new(rule)) else {
            return rule.to_owned();
        };
        let text = source.text();
        let before = text.get(..span.start).unwrap_or_default();
        let above = above(before);
        if above.is_empty() {
            let own = text.get(span.clone()).unwrap_or_default();
            return own.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        above
    }
}

/// The lines of comment that a text ends with.
fn above(text: &str) -> String {
    let comment = |line: &&str| line.trim_start().starts_with("//");
    let lines: Vec<&str> = text.lines().collect();
    let mut lines: Vec<&str> = lines.into_iter().rev().take_while(comment).collect();
    lines.reverse();
    let words = lines
        .into_iter()
        .map(|line| line.trim_start().trim_start_matches('/').trim());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::above;

    #[test]
    fn the_comment_right_above_is_meant_and_no_other() {
        let text = "// What this file is.\n\n// Users open\n//   their own.\n";
        assert_eq!(above(text), "Users open their own.");
        assert_eq!(above("// Far above.\n\n"), "");
        assert_eq!(above("permit (a, b, c);\n"), "");
    }
}
