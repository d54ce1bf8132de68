//! The pages in a real Chromium, with the steps of `tests/browser/browser.cjs`, over a small server of their own.
//!
//! SKIPPED where Chromium, Node or playwright-core is missing, unless `VESTIBULE_PEERS=required`.

use std::convert::Infallible;
use std::process::Stdio;

use http::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::process::Command;

use super::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_browser_finds_its_way() {
    if let Some(missing) = missing().await {
        assert_ne!(std::env::var("VESTIBULE_PEERS").as_deref(), Ok("required"), "{missing} is missing");
        #[expect(clippy::print_stderr, reason = "whoever runs the tests must see what was not tested")]
        {
            eprintln!("SKIPPED: {missing} is missing");
        }
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = Arc::new(World::at(port).await);
    tokio::spawn(serve(listener, world));
    let output = Command::new("node")
        .args(["browser.cjs"])
        .current_dir(FOLDER)
        .env("VESTIBULE_PORTAL", format!("http://{LOGIN}:{port}"))
        .env("VESTIBULE_PAGE", format!("http://{APP}:{port}/page"))
        .env("VESTIBULE_OTHER", format!("http://{SHOP}:{port}/page"))
        .env("VESTIBULE_USER", "ada")
        .env("VESTIBULE_PASSWORD", "ada-password")
        .env("VESTIBULE_FRESH_USER", "fresh")
        .env("VESTIBULE_FRESH_PASSWORD", "fresh-password")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    #[expect(clippy::print_stderr, reason = "shown with a failure, or with --nocapture")]
    {
        eprintln!("{said}");
    }
    assert!(output.status.success(), "{said}");
    assert!(said.matches("ok   ").count() >= 14, "{said}");
}

async fn missing() -> Option<&'static str> {
    let chromium = std::env::var("CHROMIUM").unwrap_or("/usr/bin/chromium".into());
    if !std::path::Path::new(&chromium).exists() {
        return Some("Chromium");
    }
    let node = |code: &'static str| async move {
        let mut command = Command::new("node");
        command.args(["-e", code]).current_dir(FOLDER).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().await.is_ok_and(|status| status.success())
    };
    if !node("").await {
        return Some("Node");
    }
    (!node("require('playwright-core')").await).then_some("playwright-core")
}

async fn serve(listener: TcpListener, world: Arc<World>) {
    while let Ok((stream, _)) = listener.accept().await {
        let world = world.clone();
        let service = service_fn(move |request| {
            let world = world.clone();
            async move { Ok::<_, Infallible>(answer(&world, request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(world: &World, incoming: http::Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = incoming.into_parts();
    let host = parts.headers["host"].to_str().unwrap().to_owned();
    let mut request = request(parts.method.as_str(), &host, parts.uri.path_and_query().unwrap().as_str());
    request.id = RequestId::new(world.portal.engine.clock.now()).unwrap();
    request.headers = parts.headers;
    request.body = Body::Whole(body.collect().await.unwrap().to_bytes());
    if request.host.name() == LOGIN || request.target.path().starts_with("/.vestibule/") {
        return world.portal.handle(request, world.found.clone()).await;
    }
    // The application: whoever has no session is sent to the login.
    let token = request.cookies("vestibule").next().unwrap_or_default();
    let now = world.portal.engine.clock.now();
    match world.portal.engine.sessions.find(&"north".into(), request.host.name(), token, now).await.unwrap() {
        Ok(identity) => Response::new(Full::new(Bytes::from(format!("Hello, {}.", identity.user.name)))),
        Err(_) if request.target.path() == "/page" => reply::redirect(&landing(&request.target.to_string())),
        Err(_) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}
