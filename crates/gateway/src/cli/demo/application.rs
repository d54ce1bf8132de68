//! The sample application of the demo: a page, a REST service and a SOAP service, in one small server.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse};
use axum::routing::{any, get, post};
use serde_json::{Value, json};

/// The application; `title` tells its copies apart.
pub fn application(title: &'static str) -> Router {
    Router::new()
        .route("/", get(move |headers: HeaderMap| async move { page(title, &headers) }))
        .route("/public/status", get(|| async { Json(json!({ "status": "open to everybody" })) }))
        .route("/public/headers", get(|headers: HeaderMap| async move { Json(told(&headers)) }))
        .route("/api/me", get(|headers: HeaderMap| async move { Json(told(&headers)) }))
        .route(
            "/api/orders",
            get(|| async { Json(json!({ "orders": [{ "id": 1, "item": "lantern" }, { "id": 2, "item": "door bell" }] })) }),
        )
        .route("/api/orders/{id}", any(|request: Request| async move { Json(json!({ "done": request.method().as_str() })) }))
        .route("/Services/Integration/{object}", any(|headers: HeaderMap| async move { soap(&headers) }))
        .route("/soap/authenticate", post(|body: Bytes| async move { ([(CONTENT_TYPE, "text/xml; charset=utf-8")], body) }))
        .route("/soap/orders", any(|headers: HeaderMap| async move { soap(&headers) }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "The sample application has no such page.\n") })
}

/// What the gateway told the application about the caller.
fn told(headers: &HeaderMap) -> Value {
    let ours = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-vestibule-"));
    Value::Object(ours.map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes())))).collect())
}

fn user(headers: &HeaderMap) -> String {
    headers.get("x-vestibule-user").map_or_else(|| "nobody".into(), |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn page(title: &str, headers: &HeaderMap) -> Html<String> {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let rows: String = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-vestibule-"))
        .map(|(name, value)| {
            format!("<tr><th>{}<td><code>{}</code>", escape(name.as_str()), escape(&String::from_utf8_lossy(value.as_bytes())))
        })
        .collect();
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}</title>\
         <style>body{{font:16px/1.5 system-ui;max-width:48rem;margin:3rem auto;padding:0 1rem}}th{{text-align:left;padding-right:1rem;vertical-align:top;font-weight:600;white-space:nowrap}}\
         code{{overflow-wrap:anywhere}}</style><h1>{title}</h1><p>Hello, <strong>{}</strong>. This application asked for no password; the gateway told it who you are:</p><table>{rows}</table>\
         <p><a href=/.vestibule/logout>Sign out</a></p></html>",
        escape(&user(headers))
    ))
}

fn soap(headers: &HeaderMap) -> impl IntoResponse + use<> {
    let body = format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><ListOrdersResponse xmlns=\"urn:vestibule:demo\">\
         <AskedBy>{}</AskedBy><Order>lantern</Order></ListOrdersResponse></s:Body></s:Envelope>\n",
        user(headers).replace('&', "&amp;").replace('<', "&lt;")
    );
    ([(CONTENT_TYPE, "text/xml; charset=utf-8")], body)
}
