//! Pages as responses: what every page of ours forbids a browser to do with it.

use askama::Template;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, REFRESH, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::keys::PUBLISHED_MAX_AGE;
use crate::serve::answer::{Notice, Page};

use super::Visit;
use super::assets::{self, SCRIPT, STYLE};
use super::brand::Brand;
use super::view::{Display, Dress, ErrorPage, Problem, Shell};

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// A page of a visit. Its forms may lead to `own` and, after the redirect, to the tenant's applications: browsers hold
/// `form-action` against every redirect that follows a form (CSP level 3 §6.3.1).
pub(super) fn page(visit: &Visit<'_>, status: StatusCode, template: &impl Template) -> Response<Full<Bytes>> {
    let origins = visit.tenant.origins.iter().chain(&visit.tenant.portal_origin);
    let targets: Vec<&str> = origins.map(String::as_str).collect();
    render(&visit.shell(), status, template, &targets)
}

/// Such a page whose one form leads to a partner at `action`. What answers there may lead anywhere: browsers hold
/// `form-action` against that, too, so that it names no host; the address is ours to choose, and escaped.
pub(super) fn page_to(visit: &Visit<'_>, template: &impl Template, action: &str) -> Response<Full<Bytes>> {
    let schemes: &[&str] = if action.starts_with("https:") { &["https:"] } else { &["http:", "https:"] };
    let mut response = render(&visit.shell(), StatusCode::OK, template, schemes);
    // The partner may look from which origin a message comes; `same-origin` would make browsers say `Origin: null` (Fetch §3.2).
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("strict-origin"));
    response
}

/// A page that leads on to `location` by itself.
pub(super) fn page_on(visit: &Visit<'_>, template: &impl Template, location: &str) -> Response<Full<Bytes>> {
    let Ok(refresh) = HeaderValue::try_from(format!("0; url={location}")) else { return redirect(location) };
    let mut response = render(&visit.shell(), StatusCode::OK, template, &[]);
    response.headers_mut().insert(REFRESH, refresh);
    // The address holds a message.
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// A page whose form, after our redirect, leads to identity providers, and by theirs to hosts that we do not know, or to a tenant
/// that is not to be named before somebody has signed in to it.
pub(super) fn page_away(visit: &Visit<'_>, status: StatusCode, template: &impl Template) -> Response<Full<Bytes>> {
    let away = if visit.origin.starts_with("https:") { &["https:"][..] } else { &["https:", "http:"] };
    render(&visit.shell(), status, template, away)
}

/// The page of a refusal, for any host; carries its style with it, since nothing else may be ours there.
pub fn refusal(brand: &Brand, notice: &Notice<'_>) -> Page {
    let words = brand.words(notice.accept_language);
    let shell = Shell { brand, words, tenant: "", display: Display::Page, dress: Dress::Inline };
    let id = notice.id.to_string();
    let problem = Problem { sentence: words.of(notice.sentence), advice: words.of(notice.advice), id: Some(&id) };
    let way = notice.sign_in.map(|url| (words.sign_in, url));
    let template = ErrorPage { shell: shell.clone(), status: notice.status, problem, way };
    Page { html: template.render().unwrap_or_default(), content_security_policy: policy(&shell, &[]) }
}

fn render(shell: &Shell<'_>, status: StatusCode, template: &impl Template, targets: &[&str]) -> Response<Full<Bytes>> {
    let Ok(html) = template.render() else {
        // INVARIANT: our templates render any value; this is for the type only, and still fails closed.
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    };
    let mut response = Response::new(Full::new(Bytes::from(html)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(shell.words.tag));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    // Not `no-referrer`: browsers then send `Origin: null` with our own forms (Fetch, "append a request Origin header").
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    // A window cut off from its opener may not close itself, which is a popup's whole point.
    if shell.display != Display::Popup {
        headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    }
    headers.insert(CONTENT_SECURITY_POLICY, policy(shell, targets));
    response
}

fn policy(shell: &Shell<'_>, targets: &[&str]) -> HeaderValue {
    let (style, script) = match shell.dress {
        Dress::Linked => ("'self'".to_owned(), "'self'".to_owned()),
        Dress::Inline => {
            let styles: Vec<String> = std::iter::once(STYLE).chain(shell.brand.css()).map(assets::source).collect();
            (styles.join(" "), assets::source(SCRIPT))
        }
    };
    let plain = |target: &&&str| target.bytes().all(|b| b.is_ascii_graphic() && b != b';' && b != b',');
    let targets: String = targets.iter().filter(plain).flat_map(|target| [" ", target]).collect();
    let text = format!(
        "default-src 'none'; style-src {style}; script-src {script}; img-src 'self' data:; \
         form-action 'self'{targets}; frame-ancestors 'none'; base-uri 'none'"
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Sends the browser on with a GET.
pub(super) fn redirect(location: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let Ok(value) = HeaderValue::from_str(location) else {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    };
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(LOCATION, value);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The address of a landing holds a code.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Adds a cookie.
pub(super) fn set_cookie(response: &mut Response<Full<Bytes>>, cookie: &str) {
    // INVARIANT: cookie names are ours and values base64url, so this is always a header value.
    if let Ok(mut value) = HeaderValue::from_str(cookie) {
        value.set_sensitive(true);
        response.headers_mut().append(SET_COOKIE, value);
    }
}

/// Our metadata (SAML metadata, appendix A).
pub(super) fn metadata(text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/samlmetadata+xml"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The published keys (RFC 7517 §8.5.2).
pub(super) fn jwks(keys: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(keys));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    let age = format!("public, max-age={}", PUBLISHED_MAX_AGE.as_secs());
    // INVARIANT: words and digits are always a header value.
    headers.extend(HeaderValue::try_from(age).ok().map(|age| (CACHE_CONTROL, age)));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
