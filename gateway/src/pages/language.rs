//! Which language a page speaks: what `Accept-Language` likes best of those that we have.

use http::{HeaderMap, header};

use super::texts::{self, Texts};

/// A language that the pages speak.
///
/// Adding one is adding a file of [`texts`] and its line in each list here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English, and whatever else a client prefers that we do not speak.
    #[default]
    English,
    /// Norwegian bokmål; also for those who ask for nynorsk or just Norwegian.
    Norwegian,
}

impl Language {
    /// Every language, the default first.
    pub const ALL: [Self; 2] = [Self::English, Self::Norwegian];

    /// The language that a request's `Accept-Language` likes best (RFC 9110, section 12.5.4).
    /// Of several liked equally, the one named first.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut best = (Self::default(), 0);
        let mut any = None;
        let mut named = Vec::new();
        let ranges = headers
            .get_all(header::ACCEPT_LANGUAGE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','));
        for range in ranges {
            let (tag, weight) = weigh(range);
            if tag == "*" {
                any.get_or_insert(weight);
            } else if let Some(language) = Self::speaking(tag) {
                named.push(language);
                if weight > best.1 {
                    best = (language, weight);
                }
            }
        }
        // `*` stands for what was not named (RFC 4647, section 3.4).
        let rest = Self::ALL.into_iter().find(|each| !named.contains(each));
        match (any, rest) {
            (Some(weight), Some(rest)) if weight > best.1 => rest,
            _ => best.0,
        }
    }

    /// The BCP 47 tag, for `<html lang>`.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self.texts().tags {
            [first, ..] => first,
            [] => "en",
        }
    }

    pub(super) const fn texts(self) -> &'static Texts {
        match self {
            Self::English => &texts::en::TEXTS,
            Self::Norwegian => &texts::nb::TEXTS,
        }
    }

    fn speaking(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or(tag);
        Self::ALL.into_iter().find(|language| {
            let tags = language.texts().tags;
            tags.iter().any(|own| own.eq_ignore_ascii_case(primary))
        })
    }
}

/// A language range and its weight in thousandths; one that cannot be read weighs nothing.
fn weigh(range: &str) -> (&str, u16) {
    let mut parts = range.split(';').map(str::trim);
    let tag = parts.next().unwrap_or_default();
    let weight = match parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q="))) {
        None => 1000,
        Some(text) => thousandths(text).unwrap_or(0),
    };
    (tag, weight)
}

/// `0`, `1`, or either with up to three decimals, at most 1 (RFC 9110, section 12.4.2).
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = decimals.bytes().all(|b| b.is_ascii_digit());
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !digits {
        return None;
    }
    let whole: u16 = whole.parse().ok()?;
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    Some(whole * 1000 + decimals).filter(|&weight| weight <= 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_liked_best_is_spoken() {
        use Language::{English, Norwegian};
        for (accept, language) in [
            ("", English),
            ("en", English),
            ("nb", Norwegian),
            ("nb-NO,nb;q=0.9,en;q=0.8", Norwegian),
            ("no", Norwegian),
            ("nn-NO", Norwegian),
            ("NB", Norwegian),
            ("en;q=0.5, nb;q=0.7", Norwegian),
            ("en;q=0.7, nb;q=0.5", English),
            ("nb, en", Norwegian),
            ("en, nb", English),
            ("de, nb;q=0.1", Norwegian),
            ("de, fr", English),
            ("nb;q=0", English),
            ("nb;q=0, *", English),
            ("en;q=0, *", Norwegian),
            ("en;q=0.1, *;q=0.5", Norwegian),
            ("*", English),
            ("*;q=0.5, nb;q=0.4", English),
            ("nb;q=2", English),
            ("nb;q=abc", English),
            ("nb;q=1.000", Norwegian),
            ("nb;q=0.0001, en;q=0.001", English),
            (",,;;q=,", English),
        ] {
            let headers = HeaderMap::from_iter([(
                header::ACCEPT_LANGUAGE,
                http::HeaderValue::from_static(accept),
            )]);
            assert_eq!(Language::of(&headers), language, "{accept:?}");
        }
        assert_eq!(Language::of(&HeaderMap::new()), English);
    }

    #[test]
    fn every_language_has_its_own_tags() {
        let tags = || Language::ALL.into_iter().flat_map(|l| l.texts().tags);
        for tag in tags() {
            assert_eq!(tags().filter(|other| *other == tag).count(), 1, "{tag}");
        }
        assert_eq!(Language::English.tag(), "en");
        assert_eq!(Language::Norwegian.tag(), "nb");
    }
}
