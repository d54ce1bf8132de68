#!/usr/bin/env python3
"""Writes requests.jsonl: what attackers send to the doors of a gateway, one request to a line.

Rows are those of the project's list of published attacks. The house they are sent to is that of the end-to-end tests: the
tenant `north` with the application's host app.north.localhost, `/public/**` open, everything else protected; the user bob may
read. `{port}` stands for the port a client sees. What must never happen holds for every line (see the test); what is
answered is in answers.json, per door, written by the test with VESTIBULE_WRITE_CORPUS=1 and read by people.
"""
import base64
import json
import pathlib

HOST = "app.north.localhost:{port}"
PORTAL = "login.north.localhost:{port}"
BOB = "Basic " + base64.b64encode(b"bob:staple of the north").decode()
lines = []


def raw(name, row, octets, **more):
    """Octets as a string, each character one octet."""
    lines.append({"name": name, "row": row, "octets": octets, **more})


def request(name, row, target="/page", method="GET", fields=(), host=HOST, body="", version="HTTP/1.1", **more):
    head = f"{method} {target} {version}\r\n"
    if host is not None:
        head += f"Host: {host}\r\n"
    for field, value in fields:
        head += f"{field}: {value}\r\n"
    if body:
        head += f"Content-Length: {len(body)}\r\n"
    raw(name, row, head + "Connection: close\r\n\r\n" + body, **more)


# 77, 78: ways from what is open to what is not.
ups = ["..", ".", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "..;", "..;x=1", "%2e%2e;", "..%00", "..%0d", "%c0%ae%c0%ae", "%u002e%u002e",
       "%ef%bc%8e%ef%bc%8e", "..%20", "%20..", "...", "%2e%2e%2f.."]
slashes = ["/", "//", "/./", "%2f", "%2F", "%5c", "\\", "/%2f", "%252f", ";/", "/;/", "%c0%af", "/%3b/", "%ef%bc%8f"]
for up, u in zip(ups, range(99)):
    for slash, s in zip(slashes, range(99)):
        request(f"target-up{u}-slash{s}", 77, f"/public{slash}{up}{slash}page")
ends = ["", "/", "//", "/.", "/..", "/../page", ";", ";x", ";x=/public/", "?", "?/public/", "?x=/public", "%3f/public", "%23/public", "#/public", "%00",
        "%00.png", "%0a", "%0d%0a", "%09", "%20", "%", "%z1", "%2", "%ff", "%c3%28", "%ed%a0%80", "\xff", "\x01", "\x7f", ".", "..", "~", "*", "|",
        "\"", "<", "^", "`", "{x}", "%25", "%2e", "%2f", "%5c", "/%2e%2e/public", ".json", "/index.php/..;/public", ";/../public/"]
bases = {"page": "/page", "public": "/public/x", "upper": "/PUBLIC/x", "title": "/Public", "two-slashes": "//page", "three-slashes": "///page", "dot": "/./page", "escaped": "/%70age", "escaped-slash": "/public%2fx"}
for base, target in bases.items():
    for end, e in zip(ends, range(99)):
        request(f"target-{base}-end{e}", 78, target + end)
for name, target in [
    ("absolute-other-host", "http://app.south.localhost/page"), ("absolute-own-host", "http://app.north.localhost:{port}/page"),
    ("absolute-no-path", "http://app.north.localhost:{port}"), ("absolute-userinfo", "http://x@app.north.localhost:{port}/page"),
    ("absolute-file", "file:///etc/passwd"), ("authority", "app.north.localhost:{port}"), ("asterisk", "*"), ("empty", ""), ("no-slash", "page"),
    ("query-only", "?x"), ("backslash", "\\page"), ("long-path", "/public/" + "a" * 9000), ("long-query", "/public/?" + "a" * 40000),
    ("many-segments", "/public" + "/a" * 200), ("skip-by-query", "/page?x=/public/"), ("skip-by-fragment", "/page%23/public/"),
]:
    request(f"target-{name}", 80 if name.startswith("skip") else 82, target)
request("target-space", 82, "/pa ge")
request("target-asterisk-options", 82, "*", method="OPTIONS")

# 81, 108, 112: the host.
for name, host in [
    ("upper", "APP.NORTH.LOCALHOST:{port}"), ("dot", "app.north.localhost.:{port}"), ("dots", "app.north.localhost..:{port}"), ("empty", ""), ("none", None),
    ("port-empty", "app.north.localhost:"), ("port-huge", "app.north.localhost:99999"), ("port-text", "app.north.localhost:80x"), ("other-port", "app.north.localhost:1"),
    ("userinfo", "x@app.north.localhost"), ("space", "app north"), ("comma", "app.north.localhost, app.south.localhost"), ("path", "app.north.localhost/public"),
    ("unknown", "evil.example"), ("metadata", "169.254.169.254"), ("loopback", "127.0.0.1"), ("ipv6", "[::1]"), ("ipv6-zone", "[fe80::1%25eth0]"), ("nul", "app.north.localhost\x00.evil.example"),
    ("wide", "app\xef\xbc\x8enorth\xef\xbc\x8elocalhost"), ("long", "a." * 200 + "localhost"), ("portal", PORTAL), ("percent", "app%2enorth.localhost"),
]:
    request(f"host-{name}", 81, "/page", host=host)
raw("host-twice", 86, f"GET /page HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")
raw("host-twice-other", 86, f"GET /page HTTP/1.1\r\nHost: {HOST}\r\nHost: app.south.localhost\r\nConnection: close\r\n\r\n")

# 83, 84, 86: what only we may say, in every spelling.
names = ["X-Vestibule-User", "X-Vestibule-Groups", "X-Vestibule-Tenant", "X-Vestibule-Profile", "X-Vestibule-Scheme", "X-Vestibule-Id", "X-Vestibule-Auth", "X-Vestibule-Anything"]
spell = {
    "plain": lambda n: n, "lower": str.lower, "upper": str.upper, "underscore": lambda n: n.replace("-", "_"), "last-underscore": lambda n: "_".join(n.rsplit("-", 1)),
    "dot": lambda n: n.replace("-", "."), "mixed": lambda n: n.replace("-", "_", 1), "star": lambda n: n.replace("-", "*"), "bang": lambda n: n.replace("-", "!"), "tilde": lambda n: n.replace("-", "~"),
    "space-before-colon": lambda n: n + " ", "tab-before-colon": lambda n: n + "\t", "leading-space": lambda n: " " + n, "nul": lambda n: n + "\x00", "high": lambda n: n + "\xad",
}
for name in names:
    for kind, how in spell.items():
        request(f"header-{name.lower()[12:]}-{kind}-nobody", 84, "/public/x", fields=[(how(name), "root")])
        request(f"header-{name.lower()[12:]}-{kind}-bob", 84, "/page", fields=[("Authorization", BOB), (how(name), "root")], known=True)
for name in names[:2]:
    request(f"header-{name.lower()[12:]}-twice", 86, "/page", fields=[("Authorization", BOB), (name, "root"), (name, "root")], known=True)
    request(f"header-{name.lower()[12:]}-folded", 84, "/page", fields=[("Authorization", BOB), (name, "x\r\n root")], known=True)
    request(f"header-{name.lower()[12:]}-empty", 84, "/page", fields=[("Authorization", BOB), (name, "")], known=True)
for name, value in [
    ("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-For", "garbage"), ("X-Forwarded-For", "127.0.0.1, " * 100), ("X-Forwarded-Host", "app.south.localhost"), ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "443"), ("X-Forwarded-Prefix", "//evil.example"), ("X-Forwarded-Server", "evil.example"), ("X-Forwarded-Uri", "/public/x"), ("X-Forwarded-Method", "OPTIONS"), ("Forwarded", "for=127.0.0.1;host=app.south.localhost"),
    ("X-Real-IP", "127.0.0.1"), ("X-Original-URL", "/public/x"), ("X-Original-URI", "/public/x"), ("X-Original-Method", "OPTIONS"), ("X-Rewrite-URL", "/public/x"), ("X-HTTP-Method-Override", "GET"), ("X-Method-Override", "GET"),
    ("X-Envoy-Original-Path", "/public/x"), ("X-Envoy-Auth-Partial-Body", "true"), ("X-Envoy-Internal", "true"), ("X-Auth-Request-User", "root"), ("Remote-User", "root"), ("User-Agent", "kube-probe/1.30"), ("User-Agent", "GoogleHC/1.0"),
    ("ContactCenterId", "south"), ("X-Vestibule-Status", "200"), ("Proxy", "http://evil.example"), ("Upgrade", "h2c"), ("Sec-WebSocket-Key", "x"), ("Max-Forwards", "0"), ("Range", "bytes=0-"), ("Expect", "100-continue"), ("Expect", "200-ok"),
]:
    key = f"{name.lower()}-{sum(1 for line in lines if line['name'].startswith('claim-' + name.lower()))}"
    request(f"claim-{key}", 83 if name.startswith("X-F") else 88, "/page", fields=[(name, value)])

# 85, 110: fields of the connection.
for token, t in zip(["X-Vestibule-User", "x-vestibule-user", "X-VESTIBULE-USER, close", "close, X-Vestibule-Id", "Authorization", "Cookie", "Host", "X-Forwarded-For", "x_vestibule_user", "a," * 40 + "X-Vestibule-User", "\xff", "X-Vestibule-User;q=1"], range(99)):
    raw(f"hop-{t}", 85, f"GET /page HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {BOB}\r\nConnection: {token}\r\n\r\n", known=True, close=True)

# 87: one reader sees one request, the next sees two.
# Whoever judges the second request by itself refuses it; whoever does not sees it whole.
SECOND = f"GET /page?smuggled HTTP/1.1\r\nHost: {HOST}\r\nX-Vestibule-User: root\r\n\r\n"
def smuggle(name, fields, body, method="POST", target="/public/x"):
    raw(f"smuggle-{name}", 87, f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n{body}", close=True)
chunked = "0\r\n\r\n" + SECOND
for kind, te in {"plain": "chunked", "space": " chunked", "tab": "\tchunked", "upper": "CHUNKED", "x": "xchunked", "identity": "chunked, identity", "twice": "chunked, chunked", "quoted": '"chunked"', "vtab": "\x0bchunked", "trail": "chunked\x0b", "comma": "chunked,", "gzip": "gzip, chunked", "cow": "cow"}.items():
    smuggle(f"cl-te-{kind}", f"Content-Length: {len(chunked)}\r\nTransfer-Encoding: {te}\r\n", chunked)
    smuggle(f"te-cl-{kind}", f"Transfer-Encoding: {te}\r\nContent-Length: 4\r\n", f"{len(SECOND):x}\r\n{SECOND}\r\n0\r\n\r\n")
for kind, field in {"space-colon": "Transfer-Encoding : chunked", "lead": " Transfer-Encoding: chunked", "fold": "Transfer-Encoding:\r\n chunked", "lf": "X: y\nTransfer-Encoding: chunked", "cr": "X: y\rTransfer-Encoding: chunked", "nul": "Transfer-Encoding: chunked\x00", "under": "Transfer_Encoding: chunked", "no-colon": "Transfer-Encoding chunked", "twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"}.items():
    smuggle(f"te-{kind}", f"Content-Length: {len(chunked)}\r\n{field}\r\n", chunked)
for kind, value in {"plus": "+5", "minus": "-5", "hex": "0x5", "list": "5, 5", "list-other": "5, 6", "space": "5 5", "huge": "99999999999999999999999", "empty": "", "float": "5.0", "lead-zero": "005", "unicode": "\xd9\xa5"}.items():
    smuggle(f"length-{kind}", f"Content-Length: {value}\r\n", "hello" + SECOND)
smuggle("length-twice", "Content-Length: 5\r\nContent-Length: 6\r\n", "hello!" + SECOND)
smuggle("length-twice-same", "Content-Length: 5\r\nContent-Length: 5\r\n", "hello" + SECOND)
smuggle("length-zero-prefixed-get", f"Content-Length: {len(SECOND)}\r\n", SECOND, method="GET")
for kind, body in {"ext": "5;x=\n\r\nhello\r\n0\r\n\r\n", "bad-size": "5x\r\nhello\r\n0\r\n\r\n", "negative": "-5\r\nhello\r\n0\r\n\r\n", "huge": "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n", "lf": "5\nhello\n0\n\n", "no-crlf": "5\r\nhelloX0\r\n\r\n", "trailer": "0\r\nX-Vestibule-User: root\r\n\r\n"}.items():
    smuggle(f"chunk-{kind}", "Transfer-Encoding: chunked\r\n", body + SECOND)
for kind, octets in {
    "bare-lf": f"GET /page HTTP/1.1\nHost: {HOST}\n\n", "bare-cr": f"GET /page HTTP/1.1\rHost: {HOST}\r\r", "no-version": "GET /page\r\n\r\n", "http09": "GET /page HTTP/0.9\r\n\r\n", "http2-text": f"GET /page HTTP/2.0\r\nHost: {HOST}\r\n\r\n", "http3": f"GET /page HTTP/3.0\r\nHost: {HOST}\r\n\r\n",
    "lower-version": f"GET /page http/1.1\r\nHost: {HOST}\r\n\r\n", "two-spaces": f"GET  /page HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "tab": f"GET\t/page\tHTTP/1.1\r\nHost: {HOST}\r\n\r\n", "lead-crlf": f"\r\n\r\nGET /page HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n",
    "first-field-folded": f"GET /page HTTP/1.1\r\n Host: {HOST}\r\nHost: {HOST}\r\n\r\n", "field-nul": f"GET /page HTTP/1.1\r\nHost: {HOST}\r\nX: a\x00b\r\n\r\n", "field-no-name": f"GET /page HTTP/1.1\r\nHost: {HOST}\r\n: x\r\n\r\n", "field-high": f"GET /page HTTP/1.1\r\nHost: {HOST}\r\nX-\xff: x\r\nConnection: close\r\n\r\n",
    "method-lower": f"get /page HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n", "method-odd": f"G{{T /page HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "method-connect": "CONNECT app.north.localhost:443 HTTP/1.1\r\nHost: app.north.localhost:443\r\n\r\n", "method-trace": f"TRACE /public/x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n",
    "method-long": f"{'A' * 5000} /page HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "tls-hello": "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "nothing-but-nul": "\x00" * 64, "proxy-protocol": f"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET /page HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
}.items():
    raw(f"head-{kind}", 87, octets, close=True)
request("head-fields-many", 87, "/public/x", fields=[(f"X-{n}", "x") for n in range(300)])
request("head-field-long", 87, "/public/x", fields=[("X", "x" * 70000)])
request("head-name-long", 87, "/public/x", fields=[("X" * 70000, "x")])

# 86, 92, 98, 99, 101: credentials.
def basic(pair):
    return "Basic " + base64.b64encode(pair.encode("latin-1")).decode()
for kind, fields in {
    "twice": [("Authorization", BOB)] * 2, "twice-other": [("Authorization", BOB), ("Authorization", basic("ada:x"))], "comma": [("Authorization", BOB + ", " + BOB)], "empty": [("Authorization", "")], "scheme-only": [("Authorization", "Basic")], "spaces": [("Authorization", "Basic    ")],
    "bad-base64": [("Authorization", "Basic ****")], "url-base64": [("Authorization", "Basic __--")], "no-colon": [("Authorization", basic("bob"))], "empty-name": [("Authorization", basic(":staple of the north"))], "empty-password": [("Authorization", basic("bob:"))], "nul-password": [("Authorization", basic("bob:\x00"))],
    "nul-name": [("Authorization", basic("bob\x00x:staple of the north"))], "control": [("Authorization", basic("bob\r\n:x"))], "long-name": [("Authorization", basic("b" * 300 + ":x"))], "long-password": [("Authorization", basic("bob:" + "x" * 2000))], "huge": [("Authorization", "Basic " + "QUFB" * 8000)],
    "star": [("Authorization", basic("*:*"))], "filter": [("Authorization", basic("bob)(uid=*:x"))], "dn": [("Authorization", basic("uid=bob,ou=people:x"))], "or": [("Authorization", basic("' or 1=1 --:x"))], "other-tenant": [("Authorization", basic("bob@south:staple of the north"))], "two-at": [("Authorization", basic("bob@evil@north:x"))],
    "wide": [("Authorization", basic("\xef\xbd\x82\xef\xbd\x8f\xef\xbd\x82:wrong"))], "utf16": [("Authorization", basic("\xff\xfeb\x00o\x00b\x00:\x00x\x00"))], "password-space": [("Authorization", basic("bob: staple of the north"))], "password-case": [("Authorization", basic("bob:Staple of the north"))],
    "bearer-none": [("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ.")], "bearer-empty": [("Authorization", "Bearer ")], "bearer-junk": [("Authorization", "Bearer x")], "negotiate": [("Authorization", "Negotiate YII=")], "digest": [("Authorization", 'Digest username="bob"')],
    "proxy": [("Proxy-Authorization", BOB)], "x-auth": [("X-Authorization", BOB)], "lower-under": [("authorization_", BOB)],
    "cookie-junk": [("Cookie", "vestibule=x")], "cookie-empty": [("Cookie", "vestibule=")], "cookie-long": [("Cookie", "vestibule=" + "A" * 8000)], "cookie-right-length": [("Cookie", "vestibule=" + "A" * 43)], "cookie-twice": [("Cookie", "vestibule=a; vestibule=b")], "cookie-quoted": [("Cookie", 'vestibule="a"')], "cookie-octets": [("Cookie", "vestibule=\xff\xfe")],
    "cookie-many": [("Cookie", "; ".join(f"vestibule={n}" for n in range(500)))], "cookie-nameless": [("Cookie", "=vestibule=x")], "cookie-host": [("Cookie", "__Host-vestibule=" + "A" * 43)], "cookie-comma": [("Cookie", "vestibule=a, vestibule=b")], "cookie-two-lines": [("Cookie", "vestibule=a"), ("Cookie", "vestibule=b")],
    "cookie-bomb": [("Cookie", "vestibule-bounces=99999999999999999999")], "cookie-chunks": [("Cookie", "vestibule_chunks=999999999; vestibule_0=x")],
}.items():
    request(f"credential-{kind}", 101 if kind.startswith("bearer") else 90 if kind.startswith("cookie") else 98, "/page", fields=fields)

# 95, 111: where a login returns to.
for target, t in zip([
    "//evil.example", "https://evil.example", "http:evil.example", "https:/evil.example", "https:///evil.example", "/\\evil.example", "\\\\evil.example", "/%09/evil.example", "%09//evil.example", "/%5cevil.example", "//evil.example/%2e%2e", "http://app.north.localhost@evil.example", "http://app.north.localhost:x@evil.example/",
    "http://app.north.localhost.evil.example", "http://evil.example#app.north.localhost", "http://evil.example?app.north.localhost", "http://evil.example\\@app.north.localhost", "javascript:alert(1)", "data:text/html,x", "vbscript:x", "http://[::1]@evil.example", "http://evil.example%00.north.localhost", "http://evil.example%2f.north.localhost",
    "http://evilnorth.localhost", "http://app.north.localhost%40evil.example", "http://APP.NORTH.LOCALHOST.evil.example", "https://app.north.localhost:{port}%40evil.example", "////evil.example", "/.x.example", "///evil.example/..", "http://evil.example/%0d%0aSet-Cookie:x=y", "%0d%0aLocation:http://evil.example", "http://%65vil.example", "//%65vil.example", "http://evil。example",
    "http://app.south.localhost:{port}/", "http://login.north.localhost:{port}/logout", "/login?return_to=//evil.example",
], range(99)):
    for kind, host, path in [("portal", PORTAL, "/login"), ("landing", HOST, "/.vestibule/landing")]:
        quoted = target.encode("utf-8").decode("latin-1").replace("%", "%25").replace("#", "%23").replace("?", "%3f").replace("&", "%26").replace("\\", "%5c")
        quoted = "".join(c if ord(c) < 128 else f"%{ord(c):02x}" for c in quoted)
        request(f"redirect-{kind}-{t}", 95, f"{path}?return_to={quoted}", host=host, fields=[("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")])

# 102-130 as far as they reach a door.
request("own-endpoint-metrics", 127, "/metrics")
request("own-endpoint-debug", 127, "/debug/pprof")
for path in ["/.vestibule/", "/.vestibule/landing", "/.vestibule/logout", "/.vestibule/../page", "/.Vestibule/landing", "/.vestibule;x/landing", "/%2evestibule/landing", "/.vestibule/admin"]:
    request(f"own-endpoint-{path.strip('/').replace('/', '_').replace('%', 'p').replace(';', 's') or 'root'}-{path.count('/')}", 126, path)
for path in ["/envoy.service.auth.v3.Authorization/Check", "/grpc", "/page/Check"]:
    request(f"grpc-{path.strip('/').replace('/', '_')}", 113, path, method="POST", fields=[("Content-Type", "application/grpc"), ("TE", "trailers")], body="\x00\x00\x00\x00\x00")
for method in ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "PROPFIND", "LOCK", "QUERY", "ANY", "GETX"]:
    request(f"method-{method.lower()}", 92, "/page", method=method)
    if method not in ("HEAD", "OPTIONS", "PROPFIND", "QUERY"):
        request(f"method-{method.lower()}-bob", 92, "/page", method=method, fields=[("Authorization", BOB)], known=True)

# Wrong passwords close gates: what needs an open one goes first.
lines.sort(key=lambda line: line["name"].startswith("credential-"))
seen = set()
for line in lines:
    assert line["name"] not in seen, line["name"]
    seen.add(line["name"])
path = pathlib.Path(__file__).parent / "requests.jsonl"
path.write_text("".join(json.dumps(line, ensure_ascii=True) + "\n" for line in lines))
print(len(lines), "requests")
