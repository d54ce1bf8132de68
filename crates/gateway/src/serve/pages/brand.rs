//! What a tenant's pages wear. Configuration is trusted for taste, not for syntax: a colour is six hexadecimal digits, a
//! logo an image in a data URI, which browsers never run scripts from.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::words::{Language, Words};

/// Largest logo, in octets; it is part of every page.
pub const MAX_LOGO: usize = 32 * 1024;

/// The least contrast of text, WCAG 2.2 §1.4.3.
const READABLE: f64 = 4.5;

/// What the pages of a tenant wear: its brand, and those of single hosts.
#[derive(Debug, Clone, Default)]
pub struct Brands {
    own: Arc<Brand>,
    hosts: Vec<(Arc<str>, Arc<Brand>)>,
}

impl Brands {
    /// A tenant's brand, and those of some of its hosts by their names.
    pub fn new(own: Brand, hosts: Vec<(Arc<str>, Brand)>) -> Self {
        Self { own: Arc::new(own), hosts: hosts.into_iter().map(|(host, brand)| (host, Arc::new(brand))).collect() }
    }

    /// The brand of pages that belong to this host.
    pub fn of(&self, host: &str) -> &Arc<Brand> {
        self.hosts.iter().find(|(name, _)| **name == *host).map_or(&self.own, |(_, brand)| brand)
    }

    /// The stylesheet of this version; of another, the tenant's own.
    pub fn css(&self, version: Option<&str>) -> Option<&str> {
        let mut all = std::iter::once(&self.own).chain(self.hosts.iter().map(|(_, brand)| brand)).filter_map(|brand| brand.css());
        all.find(|css| version == Some(super::assets::version(css).as_str())).or_else(|| self.own.css())
    }
}

/// A brand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Brand {
    /// The name to show.
    pub title: String,
    /// What the sign-in page is headed by, in place of our words.
    pub heading: Option<String>,
    /// Plain text beside the sign-in form; an empty line ends a paragraph.
    pub aside: Option<String>,
    /// A line under the login form, such as whom to call.
    pub support: Option<String>,
    /// The languages its pages speak, the first where a browser asks for none of them.
    pub languages: Vec<Language>,
    /// A stylesheet that overrides custom properties.
    css: Option<String>,
    /// The logo as a data URI.
    logo: Option<String>,
}

impl Brand {
    /// A brand that has a name only.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), languages: Language::ALL.to_vec(), ..Self::default() }
    }

    /// With an accent colour, `#rrggbb`. It is darkened on light paper and lightened on dark until it can be read.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn with_accent(mut self, accent: &str) -> Result<Self, String> {
        let colour = Colour::parse(accent).ok_or_else(|| format!("`{accent}` is not a colour like #7a5a10"))?;
        let properties = |paper: Colour, towards: Colour| {
            let accent = colour.readable_on(paper, towards);
            let ink = if accent.contrast(WHITE) >= accent.contrast(BLACK) { WHITE } else { BLACK };
            format!(":root{{--accent:{};--on-accent:{}}}", accent.css(), ink.css())
        };
        let (light, dark) = (properties(Colour(0xfa, 0xf8, 0xf4), BLACK), properties(Colour(0x1d, 0x20, 0x26), WHITE));
        self.css = Some(format!("{light}@media (prefers-color-scheme:dark){{{dark}}}"));
        Ok(self)
    }

    /// With a logo in place of our mark.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn with_logo(mut self, media_type: &str, image: &[u8]) -> Result<Self, String> {
        if !matches!(media_type, "image/svg+xml" | "image/png" | "image/webp" | "image/jpeg") {
            return Err(format!("a logo is SVG, PNG, WebP or JPEG, not `{media_type}`"));
        }
        if image.len() > MAX_LOGO {
            return Err(format!("the logo has {} octets, more than {MAX_LOGO}", image.len()));
        }
        self.logo = Some(format!("data:{media_type};base64,{}", STANDARD.encode(image)));
        Ok(self)
    }

    /// The words for a browser that accepts these languages.
    pub fn words(&self, accept_language: Option<&str>) -> &'static Words {
        Language::negotiate(accept_language, &self.languages).words()
    }

    /// The stylesheet, if the brand has one.
    pub fn css(&self) -> Option<&str> {
        self.css.as_deref()
    }

    /// The logo's data URI, if the brand has one.
    pub fn logo(&self) -> Option<&str> {
        self.logo.as_deref()
    }
}

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Colour(u8, u8, u8);

const WHITE: Colour = Colour(0xff, 0xff, 0xff);
const BLACK: Colour = Colour(0x15, 0x17, 0x1b);

impl Colour {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
        Some(Self(red, green, blue))
    }

    fn css(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }

    /// This colour, mixed with `towards` as little as makes it readable on `paper`.
    fn readable_on(self, paper: Self, towards: Self) -> Self {
        let mix = |from: u8, to: u8, step: u32| {
            let mixed = (u32::from(from) * (20 - step) + u32::from(to) * step) / 20;
            u8::try_from(mixed).unwrap_or(to)
        };
        let mixed = |step| Self(mix(self.0, towards.0, step), mix(self.1, towards.1, step), mix(self.2, towards.2, step));
        (0..=20).map(mixed).find(|colour| colour.contrast(paper) >= READABLE).unwrap_or(towards)
    }

    /// WCAG 2.2, contrast ratio.
    fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// WCAG 2.2, relative luminance.
    fn luminance(self) -> f64 {
        let linear = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(self.0) + 0.7152 * linear(self.1) + 0.0722 * linear(self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accent_can_be_read_in_light_and_dark() {
        for text in ["#ffff00", "#000000", "#ffffff", "#0055aa", "#7a5a10", "#ff8800"] {
            let colour = Colour::parse(text).unwrap();
            for (paper, towards) in [(Colour(0xfa, 0xf8, 0xf4), BLACK), (Colour(0x1d, 0x20, 0x26), WHITE)] {
                let accent = colour.readable_on(paper, towards);
                assert!(accent.contrast(paper) >= READABLE, "{text} on {}", paper.css());
                assert!(accent.contrast(WHITE).max(accent.contrast(BLACK)) >= READABLE, "text on {}", accent.css());
            }
        }
    }

    #[test]
    fn a_colour_is_nothing_but_a_colour() {
        for text in ["red", "#fff", "#12345g", "#1234567", "#123456}body{display:none", ""] {
            assert!(Brand::new("x").with_accent(text).is_err(), "{text}");
        }
        assert!(Brand::new("x").with_logo("text/html", b"x").is_err());
        assert!(Brand::new("x").with_logo("image/png", &vec![0; MAX_LOGO + 1]).is_err());
    }
}
