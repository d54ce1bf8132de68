//! Older and newer ways to speak HTTP: 1.0, `Expect`, gRPC over HTTP/2.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::lifecycle::wait_for;
use crate::support::{CONFIG, Gateway, PATIENCE, Scratch, USERS, exchange, free_port, read_answer};

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

#[test]
fn a_client_of_http_1_0_is_served_as_it_understands() {
    let gateway = Gateway::start();
    let host = format!("app.north.localhost:{}", gateway.address.port());
    // The application answers in chunks, which HTTP/1.0 does not know.
    gateway.application.answer_raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let mut stream = connect(&gateway);
    write!(stream, "GET /public/x HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.0 200") && text.ends_with("\r\n\r\nhello"), "{text}");
    assert!(!text.to_lowercase().contains("transfer-encoding"), "{text}");
    assert!(gateway.application.last().line.ends_with("HTTP/1.1"));

    gateway.application.answer_normally();
    let mut stream = connect(&gateway);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..2 {
        write!(stream, "GET /public/x HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n").unwrap();
        let answer = read_answer(&mut reader);
        assert_eq!((answer.status, answer.header("connection")), (200, Some("keep-alive")));
    }
    // An absolute target names the host; without either, nobody is asked.
    let absolute = format!("GET http://{host}/public/x HTTP/1.0\r\n\r\n");
    assert_eq!(exchange(gateway.address, absolute.as_bytes()).status, 200);
    gateway.application.forget();
    for refused in [
        "GET /public/x HTTP/1.0\r\n\r\n".to_owned(),
        format!("POST /public/x HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ] {
        assert_eq!(exchange(gateway.address, refused.as_bytes()).status, 400, "{refused}");
    }
    assert!(gateway.application.received().is_empty());
}

#[test]
fn an_upload_that_asks_first_is_told_to_continue_only_when_it_may() {
    let gateway = Gateway::start().with_users();
    let host = format!("app.north.localhost:{}", gateway.address.port());
    let begin = |who: &str| {
        let mut stream = connect(&gateway);
        write!(
            stream,
            "POST /api/orders HTTP/1.1\r\nHost: {host}\r\n{who}Expect: 100-continue\r\nContent-Length: 12\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        stream
    };
    use base64::Engine as _;
    let token = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", USERS[0].0, USERS[0].1));
    let mut stream = begin(&format!("Authorization: Basic {token}\r\n"));
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    reader.read_line(&mut line).unwrap();
    for piece in ["slow", "ly i", "n it"] {
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(piece.as_bytes()).unwrap();
    }
    assert_eq!(read_answer(&mut reader).status, 200);
    let received = gateway.application.last();
    assert_eq!(received.body, b"slowly in it");
    assert_eq!(received.header("expect"), None, "the application is not asked again");

    gateway.application.forget();
    let refused = read_answer(&mut BufReader::new(begin("")));
    assert_eq!(refused.status, 401, "without an invitation first");
    assert!(gateway.application.received().is_empty());
}

/// A gRPC service and a client of it. Messages are octets: no generated code is needed.
const GRPC: &str = r#"
import base64, sys, grpc
from concurrent import futures

echo = lambda octets: octets

class Service(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/test.Echo/Unary":
            return grpc.unary_unary_rpc_method_handler(self.unary, echo, echo)
        if details.method == "/test.Echo/Stream":
            return grpc.stream_stream_rpc_method_handler(self.stream, echo, echo)
    def unary(self, message, context):
        told = dict(context.invocation_metadata())
        context.set_trailing_metadata((("x-user", told.get("x-vestibule-user", "")), ("x-auth", told.get("authorization", "none"))))
        if message == b"fail":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")
        return message[::-1]
    def stream(self, messages, context):
        count = 0
        for message in messages:
            count += 1
            yield message + b"!"
        context.set_trailing_metadata((("x-count", str(count)),))

if sys.argv[1] == "serve":
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Service(),))
    assert server.add_insecure_port("127.0.0.1:" + sys.argv[2])
    server.start()
    server.wait_for_termination()

port, user, password = sys.argv[2:5]
basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
channel = grpc.insecure_channel("127.0.0.1:" + port, options=[("grpc.default_authority", "app.north.localhost:" + port)])
unary = channel.unary_unary("/test.Echo/Unary", echo, echo)
stream = channel.stream_stream("/test.Echo/Stream", echo, echo)
who = (("authorization", basic),)
answer, call = unary.with_call(b"abc", metadata=who, timeout=20)
trailers = dict(call.trailing_metadata())
assert answer == b"cba" and trailers["x-user"] == user and trailers["x-auth"] == "none", (answer, trailers)
try:
    unary(b"fail", metadata=who, timeout=20)
    assert False, "it did not fail"
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION and error.details() == "not today", error
big = [bytes([n]) * 100_000 for n in range(20)]
call = stream(iter(big), metadata=who, timeout=20)
assert [message for message in call] == [message + b"!" for message in big]
assert dict(call.trailing_metadata())["x-count"] == "20"
try:
    unary(b"abc", timeout=20)
    assert False, "nobody passed"
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
print("passed")
"#;

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Python that knows gRPC, or `None` (and a word).
fn python() -> Option<String> {
    let cache = std::env::var("XDG_CACHE_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cache"))).unwrap_or_default();
    let own = format!("{cache}/vestibule/peers/py/bin/python3");
    let found = [own, "python3".to_owned()].into_iter().find(|python| {
        let asked = Command::new(python).args(["-c", "import grpc"]).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "grpcio is missing");
        println!("SKIPPED: grpcio is not installed");
    }
    found
}

#[test]
fn grpc_passes_with_its_streams_and_trailers() {
    let Some(python) = python() else { return };
    let (scratch, port) = (Scratch::new(), free_port());
    let script = scratch.write("grpc_peer.py", GRPC);
    let _served = Served(Command::new(&python).arg(&script).args(["serve", &port.to_string()]).spawn().unwrap());
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    let upstream = format!("\n[upstream.echo]\nurl = \"http://127.0.0.1:{port}\"\nhttp2 = \"always\"\n");
    let gateway = Gateway::with(&format!("{}{upstream}", CONFIG.replacen("http://{{app}}", "echo", 1))).with_users();
    let output =
        Command::new(&python).arg(&script).args(["call", &gateway.address.port().to_string(), USERS[0].0, USERS[0].1]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
