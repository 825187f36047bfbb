//! The route table: a trie of segments, so that a thousand routes cost as much as ten.
//!
//! The walk tries a literal first, then fixed text around a name, then one segment of any kind, then `**`, so the first route it
//! finds for a method and host is the most specific one. Each node is visited at most once per
//! request, and nothing is allocated.

use http::Method;

use super::pattern::{Pattern, Segment, Shape, clash};

/// Routes by path. Routes go by their number in the list that the table was built from.
#[derive(Debug, Default)]
pub(super) struct Table {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    /// Sorted by text.
    literals: Vec<(Box<str>, Node)>,
    /// Those with the most fixed text first.
    shaped: Vec<(Shape, Node)>,
    any: Option<Box<Node>>,
    /// Routes that end here, most specific method first.
    here: Vec<Leaf>,
    /// Routes that end here with `**`.
    rest: Vec<Leaf>,
}

/// One route at its place in the trie.
#[derive(Clone, Debug)]
struct Leaf {
    method: Option<Method>,
    /// Empty for every host.
    hosts: Vec<Box<str>>,
    route: usize,
}

/// What is asked of the table.
struct Ask<'a> {
    method: &'a Method,
    host: &'a str,
}

/// Why a route has no place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misplaced {
    /// An earlier route is exactly as specific and matches some of the same requests.
    Twin {
        /// The earlier route.
        of: usize,
        /// The later one.
        route: usize,
    },
    /// More specific routes match all that it could match; this is one of them.
    Shadowed {
        /// One of those that shadow it.
        by: usize,
        /// The route that never matches.
        route: usize,
    },
}

impl Table {
    /// Builds the table, and tells which routes have no place in it.
    pub(super) fn build<'p>(
        routes: impl IntoIterator<Item = (&'p Pattern, &'p [Box<str>])>,
    ) -> (Self, Vec<Misplaced>) {
        let mut table = Self::default();
        let mut misplaced = Vec::new();
        let routes: Vec<_> = routes.into_iter().collect();
        for (route, (pattern, hosts)) in routes.iter().enumerate() {
            let twin = routes
                .iter()
                .take(route)
                .position(|(other, others)| clash(pattern, other) && hosts_meet(hosts, others));
            misplaced.extend(twin.map(|of| Misplaced::Twin { of, route }));
            let leaf = Leaf {
                method: pattern.method.clone(),
                hosts: hosts.to_vec(),
                route,
            };
            misplaced.extend(table.root.insert(&pattern.segments, pattern.rest, leaf));
        }
        table.root.find_shadowed(&mut misplaced);
        (table, misplaced)
    }

    /// The most specific route for a request, if any. The path is a normalised one.
    pub(super) fn find(&self, method: &Method, path: &str, host: &str) -> Option<usize> {
        let inner = path.strip_prefix('/')?;
        let rest = (!inner.is_empty()).then_some(inner);
        self.root.find(rest, &Ask { method, host })
    }
}

impl Node {
    /// `rest` is what stands after the last `/`; `None` at the path's end.
    fn find(&self, rest: Option<&str>, ask: &Ask<'_>) -> Option<usize> {
        let Some(rest) = rest else {
            return best(&self.here, ask).or_else(|| best(&self.rest, ask));
        };
        let (segment, after) = match rest.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        self.literal(segment)
            .and_then(|node| node.find(after, ask))
            .or_else(|| {
                let mut shaped = self.shaped.iter().filter(|(shape, _)| shape.takes(segment));
                shaped.find_map(|(_, node)| node.find(after, ask))
            })
            .or_else(|| {
                let any = self.any.as_ref().filter(|_| !segment.is_empty())?;
                any.find(after, ask)
            })
            .or_else(|| best(&self.rest, ask))
    }

    fn literal(&self, segment: &str) -> Option<&Self> {
        let at = self
            .literals
            .binary_search_by(|(text, _)| (**text).cmp(segment))
            .ok()?;
        self.literals.get(at).map(|(_, node)| node)
    }

    fn insert(&mut self, segments: &[Segment], rest: bool, leaf: Leaf) -> Option<Misplaced> {
        match segments.split_first() {
            Some((Segment::Literal(text), after)) => {
                let at = match self.literals.binary_search_by(|(t, _)| t.cmp(text)) {
                    Ok(at) => at,
                    Err(at) => {
                        self.literals.insert(at, (text.clone(), Self::default()));
                        at
                    }
                };
                let (_, node) = self.literals.get_mut(at)?;
                node.insert(after, rest, leaf)
            }
            Some((Segment::Shaped(shape), after)) => {
                let at = self
                    .shaped
                    .binary_search_by(|(other, _)| other.rank().cmp(&shape.rank()));
                let at = at.unwrap_or_else(|at| {
                    self.shaped.insert(at, ((**shape).clone(), Self::default()));
                    at
                });
                let (_, node) = self.shaped.get_mut(at)?;
                node.insert(after, rest, leaf)
            }
            Some((Segment::Name(_) | Segment::Any, after)) => {
                self.any.get_or_insert_default().insert(after, rest, leaf)
            }
            None => {
                let leaves = if rest { &mut self.rest } else { &mut self.here };
                let twin = leaves.iter().find(|other| other.is_twin(&leaf));
                if let Some(twin) = twin {
                    return Some(Misplaced::Twin {
                        of: twin.route,
                        route: leaf.route,
                    });
                }
                leaves.push(leaf);
                leaves.sort_by_key(Leaf::rank);
                None
            }
        }
    }

    fn find_shadowed(&self, misplaced: &mut Vec<Misplaced>) {
        for leaf in &self.rest {
            let slash = self.literals.iter().find(|(text, _)| text.is_empty());
            let by = covers(&self.here, leaf)
                .and_then(|_| covers(&slash?.1.here, leaf))
                .and_then(|_| self.any.as_ref()?.covers_all(leaf));
            if let Some(by) = by {
                misplaced.push(Misplaced::Shadowed {
                    by,
                    route: leaf.route,
                });
            }
        }
        for (_, node) in &self.literals {
            node.find_shadowed(misplaced);
        }
        for (_, node) in &self.shaped {
            node.find_shadowed(misplaced);
        }
        if let Some(node) = &self.any {
            node.find_shadowed(misplaced);
        }
    }

    /// A route at or below this node that, perhaps with others, takes every request of `leaf`
    /// whose path comes through here.
    fn covers_all(&self, leaf: &Leaf) -> Option<usize> {
        covers(&self.rest, leaf).or_else(|| {
            let below = self.any.as_ref()?.covers_all(leaf)?;
            covers(&self.here, leaf).map(|_| below)
        })
    }
}

impl Leaf {
    /// Whether no rule of precedence tells the two apart.
    fn is_twin(&self, other: &Self) -> bool {
        let meet = match (self.hosts.as_slice(), other.hosts.as_slice()) {
            ([], []) => true,
            (a, b) => a.iter().any(|host| b.contains(host)),
        };
        self.method == other.method && meet
    }

    /// Orders the routes of one path: `HEAD` before the `GET` that covers it, a method before
    /// `*`, a list of hosts before every host.
    fn rank(&self) -> (u8, bool) {
        let method = match &self.method {
            Some(Method::GET) => 1,
            Some(_) => 0,
            None => 2,
        };
        (method, self.hosts.is_empty())
    }

    fn takes(&self, ask: &Ask<'_>) -> bool {
        let method = match &self.method {
            None => true,
            Some(method) => {
                method == ask.method || (*method == Method::GET && *ask.method == Method::HEAD)
            }
        };
        method && (self.hosts.is_empty() || self.hosts.iter().any(|host| **host == *ask.host))
    }

    /// Whether this takes every method and host that `other` takes.
    fn includes(&self, other: &Self) -> bool {
        let method = match (&self.method, &other.method) {
            (None, _) => true,
            (Some(a), Some(b)) => a == b || (*a == Method::GET && *b == Method::HEAD),
            (Some(_), None) => false,
        };
        let hosts = self.hosts.is_empty()
            || (!other.hosts.is_empty() && other.hosts.iter().all(|h| self.hosts.contains(h)));
        method && hosts
    }
}

/// Whether some host is both's.
fn hosts_meet(a: &[Box<str>], b: &[Box<str>]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|host| b.contains(host))
}

fn best(leaves: &[Leaf], ask: &Ask<'_>) -> Option<usize> {
    leaves
        .iter()
        .find(|leaf| leaf.takes(ask))
        .map(|leaf| leaf.route)
}

fn covers(leaves: &[Leaf], leaf: &Leaf) -> Option<usize> {
    leaves
        .iter()
        .find(|other| other.includes(leaf))
        .map(|other| other.route)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(matches: &[&str]) -> (Vec<Pattern>, Table, Vec<Misplaced>) {
        let patterns: Vec<Pattern> = matches.iter().map(|m| Pattern::parse(m).unwrap()).collect();
        let (table, misplaced) = Table::build(patterns.iter().map(|p| (p, &[][..])));
        (patterns, table, misplaced)
    }

    fn find(matches: &[&'static str], method: Method, path: &str) -> Option<&'static str> {
        let (_, table, misplaced) = table(matches);
        assert_eq!(misplaced, []);
        table.find(&method, path, "h").map(|route| matches[route])
    }

    #[test]
    fn the_most_specific_route_wins_whatever_the_order() {
        let mut routes = vec![
            "* /projects/{project}/**",
            "GET /projects/{project}/**",
            "GET /projects/{project}",
            "GET /projects/new",
            "POST /projects/{project}/copy",
            "GET /projects",
        ];
        for _ in 0..routes.len() {
            routes.rotate_left(1);
            for (method, path, expected) in [
                (Method::GET, "/projects/1", Some("GET /projects/{project}")),
                (Method::GET, "/projects/new", Some("GET /projects/new")),
                (
                    Method::PUT,
                    "/projects/new",
                    Some("* /projects/{project}/**"),
                ),
                (
                    Method::GET,
                    "/projects/1/",
                    Some("GET /projects/{project}/**"),
                ),
                (
                    Method::HEAD,
                    "/projects/1/x",
                    Some("GET /projects/{project}/**"),
                ),
                (
                    Method::POST,
                    "/projects/1/copy",
                    Some("POST /projects/{project}/copy"),
                ),
                (
                    Method::POST,
                    "/projects/1/copy/",
                    Some("* /projects/{project}/**"),
                ),
                (
                    Method::OPTIONS,
                    "/projects/1",
                    Some("* /projects/{project}/**"),
                ),
                (Method::HEAD, "/projects", Some("GET /projects")),
                (Method::GET, "/projects/", None),
                (Method::POST, "/projects", None),
                (Method::GET, "/", None),
                (Method::GET, "/Projects/1", None),
            ] {
                assert_eq!(find(&routes, method.clone(), path), expected, "{path}");
            }
        }
    }

    #[test]
    fn a_dead_end_falls_back_to_a_wider_route() {
        let routes = ["GET /a/b/c", "GET /a/*/d", "GET /**", "HEAD /a/*/d"];
        assert_eq!(find(&routes, Method::GET, "/a/b/d"), Some("GET /a/*/d"));
        assert_eq!(find(&routes, Method::HEAD, "/a/b/d"), Some("HEAD /a/*/d"));
        assert_eq!(find(&routes, Method::GET, "/a/b"), Some("GET /**"));
        assert_eq!(find(&routes, Method::GET, "/"), Some("GET /**"));
    }

    #[test]
    fn equally_specific_routes_are_told() {
        for (matches, twins) in [
            (["GET /a/{x}", "GET /a/*"], true),
            (["GET /a/**", "GET /a/**"], true),
            (["GET /a/**", "GET /a"], false),
            (["GET /a/*", "* /a/*"], false),
            (["GET /a/{x}/b", "GET /a/c/b"], false),
            (["GET /{x}.json", "GET /{y}.json"], true),
            (["GET /{x}.json", "GET /a{y}"], true),
            (["GET /{x}.json", "GET /{y}"], false),
            (["GET /{x}.json", "GET /{y}.min.json"], false),
        ] {
            let expected = [Misplaced::Twin { of: 0, route: 1 }];
            let (_, _, misplaced) = table(&matches);
            assert_eq!(misplaced, expected[..usize::from(twins)], "{matches:?}");
        }
    }

    #[test]
    fn hosts_part_routes_that_are_otherwise_equal() {
        let pattern = Pattern::parse("GET /a").unwrap();
        let (one, two): (Vec<Box<str>>, Vec<Box<str>>) =
            (vec!["one.example".into()], vec!["two.example".into()]);
        let (table, misplaced) =
            Table::build([(&pattern, &[][..]), (&pattern, &one), (&pattern, &two)]);
        assert_eq!(misplaced, []);
        for (host, route) in [("one.example", 1), ("two.example", 2), ("x.example", 0)] {
            assert_eq!(table.find(&Method::GET, "/a", host), Some(route));
        }
        let both: Vec<Box<str>> = vec!["two.example".into(), "one.example".into()];
        let (_, misplaced) = Table::build([(&pattern, &one[..]), (&pattern, &both)]);
        assert_eq!(misplaced, [Misplaced::Twin { of: 0, route: 1 }]);
    }

    #[test]
    fn a_route_that_can_never_match_is_told() {
        for (matches, shadowed) in [
            (&["GET /a/**", "GET /a", "GET /a/", "GET /a/*/**"][..], true),
            (
                &["GET /a/**", "* /a", "* /a/", "* /a/{x}", "* /a/*/*/**"],
                true,
            ),
            // What is left for it is `/a/`.
            (&["GET /a/**", "GET /a", "GET /a/*/**"], false),
            (&["* /a/**", "GET /a", "GET /a/", "GET /a/*/**"], false),
            (&["GET /a/**", "GET /a/*/**"], false),
            (
                &["GET /a/**", "GET /a", "GET /a/", "GET /a/*", "GET /a/b/**"],
                false,
            ),
        ] {
            let (_, _, misplaced) = table(matches);
            let found = misplaced
                .iter()
                .any(|m| matches!(m, Misplaced::Shadowed { route: 0, .. }));
            assert_eq!(found, shadowed, "{matches:?}");
        }
    }

    /// How specific each segment of the pattern is for a path, or `None` if it does not match:
    /// the plainest reading of the rules, to check the trie against.
    fn naive(pattern: &Pattern, method: &Method, path: &str) -> Option<(Vec<u8>, u8)> {
        let by_method = match &pattern.method {
            None => 0,
            Some(own) if own == method => 2,
            Some(own) if own == Method::GET && method == Method::HEAD => 1,
            Some(_) => return None,
        };
        let parts: Vec<&str> = match &path[1..] {
            "" => Vec::new(),
            inner => inner.split('/').collect(),
        };
        let exact = parts.len() == pattern.segments.len();
        let deeper = pattern.rest && parts.len() > pattern.segments.len();
        if !exact && !deeper {
            return None;
        }
        let mut by_segment = Vec::new();
        for (part, segment) in parts.iter().zip(&pattern.segments) {
            by_segment.push(match segment {
                Segment::Literal(text) if **text == **part => 100,
                Segment::Shaped(shape) if shape.takes(part) => {
                    10 + u8::try_from(shape.before.len()).unwrap()
                }
                Segment::Literal(_) | Segment::Shaped(_) => return None,
                _ if part.is_empty() => return None,
                _ => 3,
            });
        }
        by_segment.push(if pattern.rest { 1 } else { 2 });
        Some((by_segment, by_method))
    }

    fn words() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["a", "b", "c", "ab", "abc"]).prop_map(str::to_owned)
    }

    fn patterns() -> impl Strategy<Value = String> {
        let segment = prop_oneof![3 => words(), 1 => Just("*".to_owned()), 2 => Just("{x}".to_owned()),
            1 => Just("a{x}".to_owned()), 1 => Just("ab{x}".to_owned())];
        let method = prop::sample::select(vec!["*", "GET", "HEAD", "POST"]);
        let end = prop::sample::select(vec!["", "", "/", "/**"]);
        (method, prop::collection::vec(segment, 0..4), end).prop_map(|(method, segments, end)| {
            let path: String = segments.iter().map(|s| format!("/{s}")).collect();
            match format!("{path}{end}").as_str() {
                "" => format!("{method} /"),
                path => format!("{method} {path}"),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_trie_agrees_with_the_naive_matcher(
            matches in prop::collection::vec(patterns(), 1..12),
            method in prop::sample::select(vec!["GET", "HEAD", "POST", "PUT"]),
            segments in prop::collection::vec(words(), 0..5),
            slash in any::<bool>(),
        ) {
            let mut path: String = segments.iter().map(|s| format!("/{s}")).collect();
            if slash || path.is_empty() {
                path.push('/');
            }
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let patterns: Vec<Pattern> =
                matches.iter().map(|m| Pattern::parse(m).unwrap()).collect();
            let (table, misplaced) = Table::build(patterns.iter().map(|p| (p, &[][..])));
            let naive = patterns
                .iter()
                .enumerate()
                .filter_map(|(at, p)| naive(p, &method, &path).map(|rank| (rank, at)))
                // Of equally specific ones the table keeps the first.
                .max_by(|(a, x), (b, y)| a.cmp(b).then(y.cmp(x)));
            let found = table.find(&method, &path, "h");
            prop_assert_eq!(found, naive.map(|(_, at)| at), "{:?} {} {}", matches, method, path);
            for entry in misplaced {
                match entry {
                    Misplaced::Twin { route, .. } | Misplaced::Shadowed { route, .. } => {
                        prop_assert_ne!(found, Some(route));
                    }
                }
            }
        }
    }
}
