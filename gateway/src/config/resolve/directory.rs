//! `[directory]`: a file, or a query over the application's own users table.

use std::ops::Range;
use std::time::Duration;

use super::super::values::nearest;
use super::super::written::{self, At, Hidden};
use super::super::{Directory, Postgres};
use super::Resolver;
use super::database::Database;

const KINDS: [&str; 2] = ["file", "postgres"];

impl Resolver<'_> {
    pub(super) fn directory(&mut self, written: Option<&written::Directory>) -> Directory {
        let Some(written) = written else {
            return self.file(None);
        };
        match written.kind.as_ref().map(|at| at.get().as_str()) {
            Some("postgres") => {
                self.strangers("file", "postgres", [("path", place(&written.path))]);
                Directory::Postgres(Box::new(self.postgres(written)))
            }
            kind => {
                if let (Some(kind), Some(at)) = (kind.filter(|it| *it != "file"), &written.kind) {
                    let help = match nearest(kind, KINDS) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => "this version has `file` and `postgres`".to_owned(),
                    };
                    let message = format!("`directory.kind` is `{kind}`, which is unknown");
                    self.fault(at.span(), message, help);
                    return self.file(written.path.as_ref());
                }
                let others = [
                    ("url", written.url.as_ref().map(Hidden::span)),
                    ("query", place(&written.query)),
                    ("ca", place(&written.ca)),
                    ("max_age", place(&written.max_age)),
                    ("connections", place(&written.connections)),
                    ("connect_timeout", place(&written.connect_timeout)),
                    ("query_timeout", place(&written.query_timeout)),
                ];
                self.strangers("postgres", "file", others);
                if let (Some(kind), None) = (&written.kind, &written.path)
                    && !self.taken.contains("directory.path")
                {
                    self.fault(
                        kind.span(),
                        "`path` is missing in `directory`",
                        "the file of companies and users, such as `config/directory.toml`",
                    );
                }
                self.file(written.path.as_ref())
            }
        }
    }

    fn file(&mut self, path: Option<&At<String>>) -> Directory {
        Directory::File {
            path: self.path("directory.path", path, "config/directory.toml"),
        }
    }

    /// Keys of another kind of directory: who wrote them expects what will not be.
    fn strangers<const N: usize>(
        &mut self,
        theirs: &str,
        ours: &str,
        keys: [(&str, Option<Range<usize>>); N],
    ) {
        for (key, span) in keys {
            if let Some(span) = span {
                self.fault(
                    span,
                    format!("`directory.{key}` is for a directory of kind `{theirs}`"),
                    format!("this one is of kind `{ours}`"),
                );
            }
        }
    }

    fn postgres(&mut self, written: &written::Directory) -> Postgres {
        let kind = written.kind.as_ref().map_or(0..0, At::span);
        let second = Duration::from_secs(1);
        let database = Database {
            table: "directory",
            url: written.url.as_ref(),
            ca: written.ca.as_ref(),
            connections: written.connections.as_ref(),
            connect_timeout: written.connect_timeout.as_ref(),
            query_timeout: written.query_timeout.as_ref(),
        };
        Postgres {
            database: self.database(&database, kind.clone()),
            query: self.query(written.query.as_ref(), kind),
            max_age: self.duration(
                "directory.max_age",
                written.max_age.as_ref(),
                second..=second * 60,
                second * 10,
            ),
        }
    }

    /// A query that stands in brackets: without a semicolon, and without parameters of its own.
    fn query(&mut self, written: Option<&At<String>>, kind: Range<usize>) -> String {
        let Some(at) = written else {
            if !self.taken.contains("directory.query") {
                self.fault(kind, "`query` is missing in `directory`", COLUMNS);
            }
            return String::new();
        };
        let text = at.get().trim();
        let text = text.strip_suffix(';').unwrap_or(text).trim_end();
        let first = text.split(|c: char| !c.is_ascii_alphabetic()).next();
        let reads = first.is_some_and(|word| {
            word.eq_ignore_ascii_case("select") || word.eq_ignore_ascii_case("with")
        });
        if !reads {
            let message = "`directory.query` does not begin with `select` or `with`";
            self.fault(at.span(), message, COLUMNS);
        }
        let mut after_dollar = text.split('$').skip(1);
        if after_dollar.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            self.fault(
                at.span(),
                "`directory.query` has a parameter (`$1`)",
                "it yields every user; Portvakt asks it for single ones by `id` and `email`",
            );
        }
        text.to_owned()
    }
}

const COLUMNS: &str = "a query that yields `id`, `email`, `phone`, `name`, `company` and \
                       `company_name` of every user, and perhaps `login`, `roles` and `suspended`";

fn place<T>(written: &Option<At<T>>) -> Option<Range<usize>> {
    written.as_ref().map(At::span)
}
