//! What happens to an upstream's cookies.

use super::super::values::nearest;
use super::super::written::At;
use super::super::{Cookies, PublicUrl};
use super::Resolver;
use crate::cookie;

impl Resolver<'_> {
    pub(super) fn cookies(&mut self, written: Option<&At<String>>) -> Cookies {
        let Some(at) = written else {
            return Cookies::Bind;
        };
        match at.get().as_str() {
            "bind" => Cookies::Bind,
            "pass" => Cookies::Pass,
            "drop" => Cookies::Drop,
            other => {
                let help = match nearest(other, ["bind", "pass", "drop"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`bind`, `pass` or `drop`".to_owned(),
                };
                self.fault(
                    at.span(),
                    format!(
                        "`upstream.cookies` is `{other}`, which is nothing that happens to cookies"
                    ),
                    help,
                );
                Cookies::Bind
            }
        }
    }

    pub(super) fn cookies_readable(
        &mut self,
        written: Option<&At<Vec<At<String>>>>,
    ) -> Vec<String> {
        let mut names = Vec::new();
        for at in written.into_iter().flat_map(At::get) {
            let name = at.get();
            if !cookie::is_token(name.as_bytes()) {
                self.fault(
                    at.span(),
                    format!("`upstream.cookies_readable` has `{name}`, which is no cookie's name"),
                    "the name alone, such as `csrftoken`; upper and lower case differ",
                );
            }
            if cookie::is_ours(name.as_bytes()) {
                self.fault(
                    at.span(),
                    format!("the cookie `{name}` is the gateway's own"),
                    "no application may see or set it",
                );
            }
            names.push(name.clone());
        }
        names
    }

    pub(super) fn cookie_path(&mut self, written: Option<&At<String>>) -> Option<String> {
        let at = written?;
        let path = at.get();
        let fits = |b: u8| b.is_ascii_graphic() && !matches!(b, b';' | b',' | b'?' | b'#' | b'"');
        if !path.starts_with('/') || !path.bytes().all(fits) {
            self.fault(
                at.span(),
                format!("`upstream.cookie_path` is `{path}`, which is no path"),
                "such as `/`",
            );
        }
        Some(path.clone())
    }

    pub(super) fn cookie_domain(
        &mut self,
        written: Option<&At<String>>,
        public: &PublicUrl,
    ) -> Option<String> {
        let at = written?;
        let domain = at.get().to_ascii_lowercase();
        let above = public.host.strip_suffix(domain.as_str());
        let holds = above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if !holds || !domain.contains('.') || domain.starts_with('.') {
            let host = &public.host;
            self.fault(
                at.span(),
                format!("`upstream.cookie_domain` is `{domain}`, which is not above `{host}`"),
                "the public host, or a domain that it is part of; left out, cookies are for that host alone",
            );
        }
        Some(domain)
    }
}
