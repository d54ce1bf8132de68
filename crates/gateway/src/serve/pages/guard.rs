//! Reading forms, and telling whose they are.

use http::StatusCode;
use http::header::{CONTENT_TYPE, ORIGIN};
use vestibule_engine::request::{Body, CheckRequest, form_pairs};
use vestibule_engine::secret::Secret;

use super::MAX_FORM;

/// Most fields of a form.
const MAX_FIELDS: usize = 32;

/// The fields of a form of ours, each at most once.
#[derive(Debug, Default)]
pub struct Form(pub Vec<(String, Secret<String>)>);

impl Form {
    /// Reads the body of a POST.
    ///
    /// # Errors
    /// The status that says what is wrong with it.
    pub fn read(request: &CheckRequest) -> Result<Self, StatusCode> {
        let media_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let octets = match &request.body {
            Body::Whole(octets) if octets.len() <= MAX_FORM => octets,
            Body::Whole(_) => return Err(StatusCode::PAYLOAD_TOO_LARGE),
            Body::Unread => return Err(StatusCode::BAD_REQUEST),
        };
        let text = std::str::from_utf8(octets).map_err(|_| StatusCode::BAD_REQUEST)?;
        let mut fields: Vec<(String, Secret<String>)> = Vec::new();
        for (name, value) in form_pairs(text) {
            // Twice the same field is two readings of one form.
            if fields.len() == MAX_FIELDS || fields.iter().any(|(held, _)| *held == name) {
                return Err(StatusCode::BAD_REQUEST);
            }
            fields.push((name, Secret::new(value)));
        }
        Ok(Self(fields))
    }

    /// Gives a field another name; `false` if there is one of that name, too.
    pub fn rename(&mut self, from: &str, to: &str) -> bool {
        let taken = self.secret(to).is_some();
        match self.0.iter_mut().find(|(held, _)| held == from) {
            Some(_) if taken => false,
            Some((held, _)) => {
                to.clone_into(held);
                true
            }
            None => true,
        }
    }

    /// The field, if it is there.
    pub fn secret(&self, name: &str) -> Option<&Secret<String>> {
        self.0.iter().find(|(held, _)| held == name).map(|(_, value)| value)
    }

    /// The text of a field that is no secret; empty if it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.secret(name).map(|value| value.reveal().as_str()).unwrap_or_default()
    }
}

/// Whether a page of another origin made the browser send this form.
///
/// A client that sends neither header is no browser, or one so old that only the form's token tells; that is always asked too.
pub fn is_cross_site(request: &CheckRequest, own: &str) -> bool {
    let text = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    match (text("sec-fetch-site"), text(ORIGIN.as_str())) {
        (Some("same-origin" | "none"), None) | (None, None) => false,
        (Some("same-origin" | "none") | None, Some(origin)) => origin != own,
        (Some(_), _) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::request;
    use super::*;

    #[test]
    fn a_form_of_another_origin_is_told() {
        let own = "https://login.example.com";
        for (site, origin, cross) in [
            (None, None, false),
            (Some("same-origin"), None, false),
            (Some("same-origin"), Some(own), false),
            (Some("none"), None, false),
            (None, Some(own), false),
            (None, Some("null"), true),
            (None, Some("https://app.example.com"), true),
            (Some("same-origin"), Some("null"), true),
            (Some("same-site"), Some(own), true),
            (Some("same-site"), None, true),
            (Some("cross-site"), None, true),
            (Some("\u{7f}"), None, true),
        ] {
            let mut request = request("POST", "login.example.com", "/login");
            if let Some(site) = site {
                request.headers.insert(
                    "sec-fetch-site",
                    http::HeaderValue::from_bytes(site.as_bytes()).unwrap_or(http::HeaderValue::from_static("?")),
                );
            }
            if let Some(origin) = origin {
                request.headers.insert(ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(is_cross_site(&request, own), cross, "{site:?} {origin:?}");
        }
    }

    #[test]
    fn a_form_has_each_field_once() {
        let read = |content_type: &str, body: &str| {
            let mut request = request("POST", "login.example.com", "/login");
            request.headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            request.body = Body::Whole(body.to_owned().into());
            Form::read(&request).map(|form| form.text("a").to_owned())
        };
        let urlencoded = "application/x-www-form-urlencoded";
        assert_eq!(read(urlencoded, "a=b+c%21&d="), Ok("b c!".to_owned()));
        assert_eq!(read("Application/X-WWW-form-urlencoded; charset=utf-8", "a=1"), Ok("1".to_owned()));
        assert_eq!(read(urlencoded, "a=1&a=1"), Err(StatusCode::BAD_REQUEST));
        assert_eq!(read(urlencoded, "a=1&%61=1"), Err(StatusCode::BAD_REQUEST));
        assert_eq!(read("text/plain", "a=1"), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert_eq!(read(urlencoded, &"a".repeat(MAX_FORM + 1)), Err(StatusCode::PAYLOAD_TOO_LARGE));
        let many: Vec<String> = (0..=MAX_FIELDS).map(|n| format!("f{n}=")).collect();
        assert_eq!(read(urlencoded, &many.join("&")), Err(StatusCode::BAD_REQUEST));
    }
}
