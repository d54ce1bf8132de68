#!/usr/bin/env python3
"""Writes requests.jsonl: what attackers send to the doors of a gateway, one request to a line.

Rows are those of the project's list of published attacks. Words in braces are places of the house they are sent to, filled in by
`cli/attack/corpus.rs`: its own for `vestibule attack`, and for the tests one whose tenant `north` has the application's host
app.north.localhost, `/public/**` open, everything else protected, and the user bob, who may read. What must never happen holds
for every line (see the test); what is answered is in answers.json, per door, written by the test with VESTIBULE_WRITE_CORPUS=1
and read by people. `known`: bob's own credential is in it. `guess`: it counts as a wrong password.
"""
import base64
import json
import pathlib

HOST, PORTAL, PAGE, OPEN, LEAF, BOB = "{host}", "{portal}", "{page}", "{open}", "{leaf}", "{basic}"
lines = []


def raw(name, row, octets, **more):
    """Octets as a string, each character one octet."""
    lines.append({"name": name, "row": row, "octets": octets, **more})


def request(name, row, target="/{page}", method="GET", fields=(), host=HOST, body="", version="HTTP/1.1", **more):
    head = f"{method} {target} {version}\r\n"
    if host is not None:
        head += f"Host: {host}\r\n"
    for field, value in fields:
        head += f"{field}: {value}\r\n"
    if body:
        head += f"Content-Length: {len(body)}\r\n"
    raw(name, row, head + "Connection: close\r\n\r\n" + body, **more)


def plain(path):
    """A path as part of a name."""
    return path.strip("/").replace("/", "_").replace("{page}", "page")


# 77, 78: ways from what is open to what is not.
ups = ["..", ".", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "..;", "..;x=1", "%2e%2e;", "..%00", "..%0d", "%c0%ae%c0%ae", "%u002e%u002e",
       "%ef%bc%8e%ef%bc%8e", "..%20", "%20..", "...", "%2e%2e%2f.."]
slashes = ["/", "//", "/./", "%2f", "%2F", "%5c", "\\", "/%2f", "%252f", ";/", "/;/", "%c0%af", "/%3b/", "%ef%bc%8f"]
for up, u in zip(ups, range(99)):
    for slash, s in zip(slashes, range(99)):
        request(f"target-up{u}-slash{s}", 77, f"/{OPEN}{slash}{up}{slash}{PAGE}")
ends = ["", "/", "//", "/.", "/..", "/../{page}", ";", ";x", ";x=/{open}/", "?", "?/{open}/", "?x=/{open}", "%3f/{open}", "%23/{open}", "#/{open}", "%00",
        "%00.png", "%0a", "%0d%0a", "%09", "%20", "%", "%z1", "%2", "%ff", "%c3%28", "%ed%a0%80", "\xff", "\x01", "\x7f", ".", "..", "~", "*", "|",
        "\"", "<", "^", "`", "{x}", "%25", "%2e", "%2f", "%5c", "/%2e%2e/{open}", ".json", "/index.php/..;/{open}", ";/../{open}/"]
bases = {"page": "/{page}", "public": "/{open}/{leaf}", "upper": "/{OPEN}/{leaf}", "title": "/{Open}", "two-slashes": "//{page}", "three-slashes": "///{page}", "dot": "/./{page}", "escaped": "/{%page}", "escaped-slash": "/{open}%2f{leaf}"}
for base, target in bases.items():
    for end, e in zip(ends, range(99)):
        request(f"target-{base}-end{e}", 79 if "#" in end or "%23" in end else 78, target + end)
for name, target in [
    ("absolute-other-host", "http://app.south.localhost/{page}"), ("absolute-own-host", "http://{host}/{page}"),
    ("absolute-no-path", "http://{host}"), ("absolute-userinfo", "http://x@{host}/{page}"),
    ("absolute-file", "file:///etc/passwd"), ("authority", "{host}"), ("asterisk", "*"), ("empty", ""), ("no-slash", "{page}"),
    ("query-only", "?x"), ("backslash", "\\{page}"), ("long-path", "/{open}/" + "a" * 9000), ("long-query", "/{open}/?" + "a" * 40000),
    ("many-segments", "/{open}" + "/a" * 200), ("skip-by-query", "/{page}?x=/{open}/"), ("skip-by-fragment", "/{page}%23/{open}/"),
]:
    request(f"target-{name}", 80 if name.startswith("skip") else 82, target)
request("target-space", 82, "/pa ge")
request("target-asterisk-options", 82, "*", method="OPTIONS")

# 81, 108, 112: the host.
for name, host in [
    ("upper", "{NAME}:{port}"), ("dot", "{name}.:{port}"), ("dots", "{name}..:{port}"), ("empty", ""), ("none", None),
    ("port-empty", "{name}:"), ("port-huge", "{name}:99999"), ("port-text", "{name}:80x"), ("other-port", "{name}:1"),
    ("userinfo", "x@{name}"), ("space", "app north"), ("comma", "{name}, app.south.localhost"), ("path", "{name}/{open}"),
    ("unknown", "evil.example"), ("metadata", "169.254.169.254"), ("loopback", "127.0.0.1"), ("ipv6", "[::1]"), ("ipv6-zone", "[fe80::1%25eth0]"), ("nul", "{name}\x00.evil.example"),
    ("wide", "app\xef\xbc\x8enorth\xef\xbc\x8elocalhost"), ("long", "a." * 200 + "localhost"), ("portal", PORTAL), ("percent", "app%2enorth.localhost"),
]:
    request(f"host-{name}", 81, "/{page}", host=host)
raw("host-twice", 86, f"GET /{PAGE} HTTP/1.1\r\nHost: {HOST}\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")
raw("host-twice-other", 86, f"GET /{PAGE} HTTP/1.1\r\nHost: {HOST}\r\nHost: app.south.localhost\r\nConnection: close\r\n\r\n")

# 83, 84, 86: what only we may say, in every spelling.
names = ["X-Vestibule-User", "X-Vestibule-Groups", "X-Vestibule-Tenant", "X-Vestibule-Profile", "X-Vestibule-Scheme", "X-Vestibule-Id", "X-Vestibule-Auth", "X-Vestibule-Anything", "X-Vestibule-Token"]
spell = {
    "plain": lambda n: n, "lower": str.lower, "upper": str.upper, "underscore": lambda n: n.replace("-", "_"), "last-underscore": lambda n: "_".join(n.rsplit("-", 1)),
    "dot": lambda n: n.replace("-", "."), "mixed": lambda n: n.replace("-", "_", 1), "star": lambda n: n.replace("-", "*"), "bang": lambda n: n.replace("-", "!"), "tilde": lambda n: n.replace("-", "~"),
    "space-before-colon": lambda n: n + " ", "tab-before-colon": lambda n: n + "\t", "leading-space": lambda n: " " + n, "nul": lambda n: n + "\x00", "high": lambda n: n + "\xad",
}
for name in names:
    for kind, how in spell.items():
        request(f"header-{name.lower()[12:]}-{kind}-nobody", 84, "/{open}/{leaf}", fields=[(how(name), "root")])
        request(f"header-{name.lower()[12:]}-{kind}-bob", 84, "/{page}", fields=[("Authorization", BOB), (how(name), "root")], known=True)
for name in names[:2]:
    request(f"header-{name.lower()[12:]}-twice", 86, "/{page}", fields=[("Authorization", BOB), (name, "root"), (name, "root")], known=True)
    request(f"header-{name.lower()[12:]}-folded", 84, "/{page}", fields=[("Authorization", BOB), (name, "x\r\n root")], known=True)
    request(f"header-{name.lower()[12:]}-empty", 84, "/{page}", fields=[("Authorization", BOB), (name, "")], known=True)
for name, value in [
    ("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-For", "garbage"), ("X-Forwarded-For", "127.0.0.1, " * 100), ("X-Forwarded-Host", "app.south.localhost"), ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "443"), ("X-Forwarded-Prefix", "//evil.example"), ("X-Forwarded-Server", "evil.example"), ("X-Forwarded-Uri", "/{open}/{leaf}"), ("X-Forwarded-Method", "OPTIONS"), ("Forwarded", "for=127.0.0.1;host=app.south.localhost"),
    ("X-Real-IP", "127.0.0.1"), ("X-Original-URL", "/{open}/{leaf}"), ("X-Original-URI", "/{open}/{leaf}"), ("X-Original-Method", "OPTIONS"), ("X-Rewrite-URL", "/{open}/{leaf}"), ("X-HTTP-Method-Override", "GET"), ("X-Method-Override", "GET"),
    ("X-Envoy-Original-Path", "/{open}/{leaf}"), ("X-Envoy-Auth-Partial-Body", "true"), ("X-Envoy-Internal", "true"), ("X-Auth-Request-User", "root"), ("Remote-User", "root"), ("User-Agent", "kube-probe/1.30"), ("User-Agent", "GoogleHC/1.0"),
    ("ContactCenterId", "south"), ("X-Vestibule-Status", "200"), ("Proxy", "http://evil.example"), ("Upgrade", "h2c"), ("Sec-WebSocket-Key", "x"), ("Max-Forwards", "0"), ("Range", "bytes=0-"), ("Expect", "100-continue"), ("Expect", "200-ok"),
]:
    key = f"{name.lower()}-{sum(1 for line in lines if line['name'].startswith('claim-' + name.lower()))}"
    row = 100 if name == "X-Forwarded-For" else 111 if name == "X-Forwarded-Prefix" else 83 if name.startswith("X-F") else 88
    request(f"claim-{key}", row, "/{page}", fields=[(name, value)])
for value, n in zip(["", ",", "::1", "[::1]:80", "127.0.0.1:99999", "::ffff:127.0.0.1", "unknown", "_hidden", "0x7f000001", "127.1", "\xff", "127.0.0.1\t", "for=127.0.0.1"], range(99)):
    request(f"client-address-{n}", 100, "/{page}", fields=[("X-Forwarded-For", value), ("X-Real-IP", value), ("Forwarded", f"for={value}")])

# 97: who somebody is, in the headers by which other products tell it.
for name in ["SM_USER", "SM-User", "REMOTE_USER", "X-Remote-User", "X-WebAuth-User", "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username", "X-Auth-Request-Email", "X-Authentik-Username", "Remote-Groups", "X-Pomerium-Claim-Email", "X-Goog-Authenticated-User-Email",
             "Cf-Access-Authenticated-User-Email", "X-Amzn-Oidc-Identity", "X-MS-Client-Principal-Name", "X-Token-Subject", "X-Consumer-Username", "Kong-Consumer", "X-Userinfo", "SSL_CLIENT_S_DN", "X-SSL-Client-DN", "X-SSL-Client-Verify", "Ssl-Client-Verify", "X-ARR-ClientCert", "X-Client-Cert",
             "Client-Cert", "Client-Cert-Chain", "X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Tls-Client-Cert-Info", "ssid", "surl", "X-Api-Key", "X-WSSE"]:
    request(f"pre-auth-{name.lower()}", 97, "/{page}", fields=[(name, "root")])

# 85, 110: fields of the connection.
for token, t in zip(["X-Vestibule-User", "x-vestibule-user", "X-VESTIBULE-USER, close", "close, X-Vestibule-Id", "Authorization", "Cookie", "Host", "X-Forwarded-For", "x_vestibule_user", "a," * 40 + "X-Vestibule-User", "\xff", "X-Vestibule-User;q=1"], range(99)):
    raw(f"hop-{t}", 85, f"GET /{PAGE} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: {BOB}\r\nConnection: {token}\r\n\r\n", known=True, close=True)

# 87: one reader sees one request, the next sees two.
# Whoever judges the second request by itself refuses it; whoever does not sees it whole. Its length is known when the
# places are filled in: {second.length}, {second.hex}, and {chunked.length} with an empty chunk before it.
SECOND = "{second}"
def smuggle(name, fields, body, method="POST", target="/{open}/{leaf}"):
    raw(f"smuggle-{name}", 87, f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n{body}", close=True)
chunked = "0\r\n\r\n" + SECOND
for kind, te in {"plain": "chunked", "space": " chunked", "tab": "\tchunked", "upper": "CHUNKED", "x": "xchunked", "identity": "chunked, identity", "twice": "chunked, chunked", "quoted": '"chunked"', "vtab": "\x0bchunked", "trail": "chunked\x0b", "comma": "chunked,", "gzip": "gzip, chunked", "cow": "cow"}.items():
    smuggle(f"cl-te-{kind}", f"Content-Length: {{chunked.length}}\r\nTransfer-Encoding: {te}\r\n", chunked)
    smuggle(f"te-cl-{kind}", f"Transfer-Encoding: {te}\r\nContent-Length: 4\r\n", "{second.hex}\r\n{second}\r\n0\r\n\r\n")
for kind, field in {"space-colon": "Transfer-Encoding : chunked", "lead": " Transfer-Encoding: chunked", "fold": "Transfer-Encoding:\r\n chunked", "lf": "X: y\nTransfer-Encoding: chunked", "cr": "X: y\rTransfer-Encoding: chunked", "nul": "Transfer-Encoding: chunked\x00", "under": "Transfer_Encoding: chunked", "no-colon": "Transfer-Encoding chunked", "twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"}.items():
    smuggle(f"te-{kind}", f"Content-Length: {{chunked.length}}\r\n{field}\r\n", chunked)
for kind, value in {"plus": "+5", "minus": "-5", "hex": "0x5", "list": "5, 5", "list-other": "5, 6", "space": "5 5", "huge": "99999999999999999999999", "empty": "", "float": "5.0", "lead-zero": "005", "unicode": "\xd9\xa5"}.items():
    smuggle(f"length-{kind}", f"Content-Length: {value}\r\n", "hello" + SECOND)
smuggle("length-twice", "Content-Length: 5\r\nContent-Length: 6\r\n", "hello!" + SECOND)
smuggle("length-twice-same", "Content-Length: 5\r\nContent-Length: 5\r\n", "hello" + SECOND)
smuggle("length-zero-prefixed-get", "Content-Length: {second.length}\r\n", SECOND, method="GET")
for kind, body in {"ext": "5;x=\n\r\nhello\r\n0\r\n\r\n", "bad-size": "5x\r\nhello\r\n0\r\n\r\n", "negative": "-5\r\nhello\r\n0\r\n\r\n", "huge": "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n", "lf": "5\nhello\n0\n\n", "no-crlf": "5\r\nhelloX0\r\n\r\n", "trailer": "0\r\nX-Vestibule-User: root\r\n\r\n"}.items():
    smuggle(f"chunk-{kind}", "Transfer-Encoding: chunked\r\n", body + SECOND)
for kind, octets in {
    "bare-lf": f"GET /{PAGE} HTTP/1.1\nHost: {HOST}\n\n", "bare-cr": f"GET /{PAGE} HTTP/1.1\rHost: {HOST}\r\r", "no-version": "GET /{page}\r\n\r\n", "http09": "GET /{page} HTTP/0.9\r\n\r\n", "http2-text": f"GET /{PAGE} HTTP/2.0\r\nHost: {HOST}\r\n\r\n", "http3": f"GET /{PAGE} HTTP/3.0\r\nHost: {HOST}\r\n\r\n",
    "lower-version": f"GET /{PAGE} http/1.1\r\nHost: {HOST}\r\n\r\n", "two-spaces": f"GET  /{PAGE} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "tab": f"GET\t/{PAGE}\tHTTP/1.1\r\nHost: {HOST}\r\n\r\n", "lead-crlf": f"\r\n\r\nGET /{PAGE} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n",
    "first-field-folded": f"GET /{PAGE} HTTP/1.1\r\n Host: {HOST}\r\nHost: {HOST}\r\n\r\n", "field-nul": f"GET /{PAGE} HTTP/1.1\r\nHost: {HOST}\r\nX: a\x00b\r\n\r\n", "field-no-name": f"GET /{PAGE} HTTP/1.1\r\nHost: {HOST}\r\n: x\r\n\r\n", "field-high": f"GET /{PAGE} HTTP/1.1\r\nHost: {HOST}\r\nX-\xff: x\r\nConnection: close\r\n\r\n",
    "method-lower": f"get /{PAGE} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n", "method-odd": f"G{{T /{PAGE} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "method-connect": "CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n", "method-trace": f"TRACE /{OPEN}/{LEAF} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n",
    "method-long": f"{'A' * 5000} /{PAGE} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "tls-hello": "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "nothing-but-nul": "\x00" * 64, "proxy-protocol": f"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET /{PAGE} HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
}.items():
    raw(f"head-{kind}", 87, octets, close=True)
# 87, 113: HTTP/2 in the clear, of which some gateways make HTTP/1.1 by hand. Its fields; whoever sends it makes the frames.
def h2(name, fields, body=b"", row=87, head=(":method", ":scheme", ":authority", ":path"), **more):
    usual = {":method": "GET", ":scheme": "http", ":authority": "{host}", ":path": "/{page}"}
    pieces = [[field, usual[field]] for field in head if field not in dict(fields)] + [list(field) for field in fields]
    lines.append({"name": f"h2-{name}", "row": row, "fields": pieces, "body": body.decode("latin-1"), **more})


for kind, fields in {
    "plain": [], "upper-name": [("X-Upper", "x")], "connection": [("connection", "x-vestibule-user")], "upgrade": [("upgrade", "h2c")], "transfer-encoding": [("transfer-encoding", "chunked")], "te": [("te", "chunked")],
    "name-colon": [("x:y", "x")], "name-crlf": [("x\r\nx-vestibule-user", "root")], "name-space": [("x vestibule", "x")], "name-empty": [("", "x")], "value-crlf": [("x", "y\r\nx-vestibule-user: root")], "value-lf": [("x", "y\nx-vestibule-user: root")], "value-nul": [("x", "y\x00z")],
    "value-request": [("x", "y\r\n\r\nGET /?smuggled HTTP/1.1\r\nhost: x")], "path-crlf": [(":path", "/{page} HTTP/1.1\r\nx: y\r\n")], "path-space": [(":path", "/{page} x")], "path-empty": [(":path", "")], "path-relative": [(":path", "{page}")], "path-star": [(":path", "*")],
    "path-absolute": [(":path", "http://app.south.localhost/{page}")], "path-fragment": [(":path", "/{open}/{leaf}#/../{page}")], "path-up": [(":path", "/{open}/../{page}")], "path-high": [(":path", "/\xff")], "method-crlf": [(":method", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET")], "method-space": [(":method", "GET /")],
    "method-empty": [(":method", "")], "method-connect": [(":method", "CONNECT")], "method-trace": [(":method", "TRACE")], "scheme-odd": [(":scheme", "http://app.south.localhost/?")], "scheme-file": [(":scheme", "file")], "authority-other": [(":authority", "app.south.localhost")],
    "authority-userinfo": [(":authority", "x@{host}")], "authority-crlf": [(":authority", "{host}\r\nx: y")], "authority-path": [(":authority", "{host}/{open}")], "authority-empty": [(":authority", "")], "host-other": [("host", "app.south.localhost")], "host-twice": [("host", "{host}"), ("host", "{host}")],
    "pseudo-unknown": [(":user", "root")], "pseudo-status": [(":status", "200")], "pseudo-late": [("x", "y"), (":path", "/{open}/{leaf}")], "protocol": [(":method", "CONNECT"), (":protocol", "websocket")], "user": [("x-vestibule-user", "root")], "user-under": [("x_vestibule_user", "root")],
    "length-long": [("content-length", "10")], "length-twice": [("content-length", "0"), ("content-length", "5")], "length-plus": [("content-length", "+0")], "cookie-crumbs": [("cookie", "vestibule=a"), ("cookie", "vestibule=b")], "authorization-twice": [("authorization", "{basic}"), ("authorization", "{basic}")],
}.items():
    h2(kind, fields)
for missing in (":method", ":scheme", ":authority", ":path"):
    h2(f"no-{missing[1:]}", [], head=[field for field in (":method", ":scheme", ":authority", ":path") if field != missing])
for twice in (":method", ":authority", ":path"):
    h2(f"two-{twice[1:]}", [("x", "y")], head=(":method", ":scheme", ":authority", ":path", twice))
h2("length-short", [(":method", "POST"), (":path", "/{open}/{leaf}"), ("content-length", "2")], body=b"hello")
h2("length-none-body", [(":method", "POST"), (":path", "/{open}/{leaf}"), ("content-length", "0")], body=b"GET /?smuggled HTTP/1.1\r\nhost: x\r\n\r\n")
h2("open-user", [(":path", "/{open}/{leaf}"), ("x-vestibule-user", "root")], row=84)
h2("bob-connection", [("authorization", "{basic}"), ("connection", "x-vestibule-user")], row=85, known=True)
h2("bob-user", [("authorization", "{basic}"), ("x-vestibule-user", "root")], row=84, known=True)
for kind, value in {"no-slash": "envoy.service.auth.v3.Authorization/Check", "no-method": "/envoy.service.auth.v3.Authorization", "check": "/envoy.service.auth.v3.Authorization/Check"}.items():
    h2(f"grpc-{kind}", [(":method", "POST"), (":path", value), ("content-type", "application/grpc"), ("te", "trailers")], body=b"\x00\x00\x00\x00\x00", row=113)

request("head-fields-many", 87, "/{open}/{leaf}", fields=[(f"X-{n}", "x") for n in range(300)])
request("head-field-long", 87, "/{open}/{leaf}", fields=[("X", "x" * 70000)])
request("head-name-long", 87, "/{open}/{leaf}", fields=[("X" * 70000, "x")])

# 86, 92, 98, 99, 101: credentials.
def basic(pair):
    return "Basic " + base64.b64encode(pair.encode("latin-1")).decode()


def jwt(header, signature=b"x" * 64):
    """Claims that name bob, under a header that says how its reader shall be fooled."""
    parts = [json.dumps(header).encode(), b'{"sub":"bob","exp":99999999999}', signature]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def row_of(kind):
    rows = [("bearer", 101), ("cookie-bomb", 96), ("cookie-login-bomb", 96), ("cookie-device-bomb", 96), ("cookie-chunks", 96), ("cookie", 90), ("twice", 86), ("comma", 86), ("split", 102), ("mail", 89), ("two-at", 89)]
    return next((row for start, row in rows if kind.startswith(start)), 98)


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
    "split-left": [("Authorization", basic("bo:b:staple of the north"))], "split-right": [("Authorization", basic("bob:staple of the north:"))], "split-twice": [("Authorization", basic("bob::staple of the north"))], "tenant-slash": [("Authorization", basic("north/bob:staple of the north"))], "tenant-backslash": [("Authorization", basic("NORTH\\bob:staple of the north"))],
    "mail-many-at": [("Authorization", basic("bob@evil.example@app.north.localhost:x"))], "mail-look-alike": [("Authorization", basic("bob@evilnorth:x"))], "mail-cyrillic": [("Authorization", basic("bob@n\xd0\xberth:x"))], "mail-zero-width": [("Authorization", basic("bob\xe2\x80\x8b:x"))],
    "bearer-none-spelled": [("Authorization", "Bearer eyJhbGciOiJuT25FIn0.eyJzdWIiOiJib2IifQ.")], "bearer-kid-path": [("Authorization", "Bearer " + jwt({"alg": "HS256", "kid": "../../../../dev/null"}))], "bearer-kid-sql": [("Authorization", "Bearer " + jwt({"alg": "HS256", "kid": "x' union select 'k'--"}))],
    "bearer-jku": [("Authorization", "Bearer " + jwt({"alg": "RS256", "jku": "http://evil.example/jwks"}))], "bearer-x5u": [("Authorization", "Bearer " + jwt({"alg": "RS256", "x5u": "http://169.254.169.254/"}))], "bearer-jwk": [("Authorization", "Bearer " + jwt({"alg": "ES256", "jwk": {"kty": "EC"}}))],
    "bearer-zero-signature": [("Authorization", "Bearer " + jwt({"alg": "ES256"}, b"\x00" * 64))], "bearer-crit": [("Authorization", "Bearer " + jwt({"alg": "ES256", "crit": ["b64"], "b64": False}))], "bearer-own-header": [("X-Vestibule-Token", jwt({"alg": "none"}))], "bearer-query": [("Authorization", "Bearer x, " + BOB)],
    "cookie-bomb": [("Cookie", "vestibule-bounces=99999999999999999999")], "cookie-login-bomb": [("Cookie", "vestibule-login=" + "9" * 4000)], "cookie-device-bomb": [("Cookie", "vestibule-device=" + "9." * 1000)], "cookie-chunks": [("Cookie", "vestibule_chunks=999999999; vestibule_0=x")],
}.items():
    guess = {"guess": True} if any(field == "Authorization" and value.startswith("Basic ") and value != BOB for field, value in fields) else {}
    request(f"credential-{kind}", row_of(kind), "/{page}", fields=fields, **guess)
for value, n in zip(["99999999999999999999", "-1", "1e309", "0x7fffffff", "NaN", "1" * 4000], range(99)):
    request(f"number-{n}", 96, f"/{PAGE}?page={value}&size={value}&expires={value}")

# 95, 111: where a login returns to.
for target, t in zip([
    "//evil.example", "https://evil.example", "http:evil.example", "https:/evil.example", "https:///evil.example", "/\\evil.example", "\\\\evil.example", "/%09/evil.example", "%09//evil.example", "/%5cevil.example", "//evil.example/%2e%2e", "http://{name}@evil.example", "http://{name}:x@evil.example/",
    "http://{name}.evil.example", "http://evil.example#{name}", "http://evil.example?{name}", "http://evil.example\\@{name}", "javascript:alert(1)", "data:text/html,x", "vbscript:x", "http://[::1]@evil.example", "http://evil.example%00.north.localhost", "http://evil.example%2f.north.localhost",
    "http://evilnorth.localhost", "http://{name}%40evil.example", "http://{NAME}.evil.example", "https://{host}%40evil.example", "////evil.example", "/.x.example", "///evil.example/..", "http://evil.example/%0d%0aSet-Cookie:x=y", "%0d%0aLocation:http://evil.example", "http://%65vil.example", "//%65vil.example", "http://evil。example",
    "http://app.south.localhost:{port}/", "http://{portal}/logout", "/login?return_to=//evil.example",
], range(99)):
    for kind, host, path in [("portal", PORTAL, "/login"), ("landing", HOST, "/.vestibule/landing")]:
        quoted = target.encode("utf-8").decode("latin-1").replace("%", "%25").replace("#", "%23").replace("?", "%3f").replace("&", "%26").replace("\\", "%5c")
        quoted = "".join(c if ord(c) < 128 else f"%{ord(c):02x}" for c in quoted)
        request(f"redirect-{kind}-{t}", 95, f"{path}?return_to={quoted}", host=host, fields=[("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")])

# Every way to begin, with every way to write another host.
begins = ["", "/", "\\", "%5c", "%2f", "%09", "%0a", "%20", "%00", "/%09/", "/%0d/", ".", "http:", "https:", "http:/", "http:\\\\", "{host}@", "//{host}@", "/\\/", "/./", "/%2e/", "/x/..//", "?", "#"]
hosts = ["//evil.example", "\\\\evil.example", "/\\evil.example", "//evil.example%2f@{host}", "//evil%E3%80%82example", "//xn--evl-zma.example", "//0x7f.1"]
for begin, b in zip(begins, range(99)):
    for host, h in zip(hosts, range(99)):
        quoted = "".join(c if c.isalnum() or c in "{}./:@" else f"%{ord(c):02x}" for c in begin + host)
        request(f"redirect-portal-begin{b}-host{h}", 95, f"/login?return_to={quoted}", host=PORTAL, fields=[("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate")])

# 102-130 as far as they reach a door.
request("own-endpoint-metrics", 127, "/metrics")
request("own-endpoint-debug", 127, "/debug/pprof")
for path in ["/.vestibule/", "/.vestibule/landing", "/.vestibule/logout", "/.vestibule/../{page}", "/.Vestibule/landing", "/.vestibule;x/landing", "/%2evestibule/landing", "/.vestibule/admin"]:
    request(f"own-endpoint-{plain(path).replace('%', 'p').replace(';', 's') or 'root'}-{path.count('/')}", 126, path)
for n, query in zip(range(99), ["code=", "code=x", "code=" + "A" * 43, "code=" + "A" * 5000, "code=a&code=b", "code=%00", "code=../..", "state=x&code=x", "return_to=//evil.example&code=x", "error=x", "login", "command=login"]):
    request(f"own-endpoint-query-{n}", 128 if n == 2 else 126, f"/.vestibule/landing?{query}")
for path in ["/.git/config", "/admin", "/healthz", "/readyz", "/status", "/.well-known/jwks.json", "/oauth2/userinfo", "/oauth2/sign_in", "/outpost.goauthentik.io/ping", "/server-status", "/actuator/env", "/debug/vars"]:
    request(f"own-endpoint-others{path.replace('/', '_')}", 127, path)
for path in ["/envoy.service.auth.v3.Authorization/Check", "/grpc", "/{page}/Check"]:
    request(f"grpc-{plain(path)}", 113, path, method="POST", fields=[("Content-Type", "application/grpc"), ("TE", "trailers")], body="\x00\x00\x00\x00\x00")
for method in ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "PROPFIND", "LOCK", "QUERY", "ANY", "GETX"]:
    request(f"method-{method.lower()}", 92, "/{page}", method=method)
    if method not in ("HEAD", "OPTIONS", "PROPFIND", "QUERY"):
        request(f"method-{method.lower()}-bob", 92, "/{page}", method=method, fields=[("Authorization", BOB)], known=True)

# Wrong passwords close gates: what needs an open one goes first.
lines.sort(key=lambda line: line["name"].startswith("credential-"))
seen = set()
for line in lines:
    assert line["name"] not in seen, line["name"]
    seen.add(line["name"])
path = pathlib.Path(__file__).parent / "requests.jsonl"
path.write_text("".join(json.dumps(line, ensure_ascii=True) + "\n" for line in lines))
print(len(lines), "requests")
