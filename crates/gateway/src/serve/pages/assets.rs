//! The stylesheet and the script: part of the program, so that a page never waits for another host.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use vestibule_engine::request::CheckRequest;

use super::brand::Brands;

/// How all pages look.
pub const STYLE: &str = include_str!("../../assets/vestibule.css");
/// What makes them handier; nothing needs it.
pub const SCRIPT: &str = include_str!("../../assets/vestibule.js");

/// Names the content in an address, so that it may be kept for good.
pub fn version(content: &str) -> String {
    let digest = digest(&SHA256, content.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.as_ref().get(..12).unwrap_or_default())
}

/// The source expression that admits exactly this inline content (CSP level 3 §2.3.1).
pub fn source(content: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, content.as_bytes())))
}

/// The versions of what never changes while we run.
pub static STYLE_VERSION: LazyLock<String> = LazyLock::new(|| version(STYLE));
/// See [`STYLE_VERSION`].
pub static SCRIPT_VERSION: LazyLock<String> = LazyLock::new(|| version(SCRIPT));

/// Answers `/assets/…`; `None` if there is no such asset.
pub fn serve(request: &CheckRequest, tenant: &str, brands: &Brands) -> Option<Response<Full<Bytes>>> {
    let name = request.target.path().strip_prefix("/assets/")?;
    let (content_type, content) = match name {
        "vestibule.css" => ("text/css; charset=utf-8", Bytes::from_static(STYLE.as_bytes())),
        "vestibule.js" => ("text/javascript; charset=utf-8", Bytes::from_static(SCRIPT.as_bytes())),
        _ if *name == brand_name(tenant) => ("text/css; charset=utf-8", Bytes::from(brands.css(request.target.query())?.to_owned())),
        _ => return None,
    };
    let version = version(std::str::from_utf8(&content).ok()?);
    let etag = HeaderValue::from_str(&format!("\"{version}\"")).ok()?;
    let fresh = request.headers.get(IF_NONE_MATCH) == Some(&etag);
    // Only an address that names this very content may be kept for good.
    let cache = if request.target.query() == Some(version.as_str()) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = Response::new(Full::new(if fresh { Bytes::new() } else { content }));
    *response.status_mut() = if fresh { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ETAG, etag);
    Some(response)
}

/// All but what a normalised path leaves as it is (RFC 3986 §2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The file name of a tenant's brand.
pub fn brand_name(tenant: &str) -> String {
    format!("brand-{}.css", utf8_percent_encode(tenant, ESCAPED))
}
