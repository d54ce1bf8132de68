// Makes the tokens of this folder anew, with keys that are forgotten afterwards: `node make.mjs`.
import { constants, createHash, createHmac, createPublicKey, generateKeyPairSync, sign as signed } from "node:crypto";
import { writeFileSync } from "node:fs";

const clock = 1_800_000_000;
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }), rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" });
const jwk = (pair, kid, alg) => ({ ...pair.publicKey.export({ format: "jwk" }), kid, alg, use: "sig" });
const keys = [jwk(ec, "e1", "ES256"), jwk(rsa, "r1", "RS256")];
writeFileSync("keys.json", JSON.stringify({ keys }, null, 1) + "\n");

const b64 = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
const es256 = (input, pair = ec) => signed("sha256", Buffer.from(input), { key: pair.privateKey, dsaEncoding: "ieee-p1363" }).toString("base64url");
const rs256 = (input) => signed("sha256", Buffer.from(input), rsa.privateKey).toString("base64url");
const ps256 = (input) => signed("sha256", Buffer.from(input), { key: rsa.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }).toString("base64url");
const hs = (secret) => (input) => createHmac("sha256", secret).update(input).digest("base64url");
const token = (header, payload, by = es256) => ((input) => `${input}.${by(input)}`)(`${b64(header)}.${b64(payload)}`);

const id = { iss: "https://op.example.com", sub: "4711", aud: "vestibule", iat: clock, exp: clock + 300, nonce: "n-0S6_WzA2Mj", auth_time: clock - 10 };
const EVENT = "http://schemas.openid.net/event/backchannel-logout";
const out = { iss: id.iss, sub: "4711", sid: "s1", aud: "vestibule", iat: clock, exp: clock + 120, jti: "j1", events: { [EVENT]: {} } };
const e1 = { alg: "ES256", kid: "e1", typ: "JWT" }, r1 = { alg: "RS256", kid: "r1", typ: "JWT" };
const raw = (json) => json;
const pem = createPublicKey(rsa.privateKey).export({ type: "spki", format: "pem" });
const hash = createHash("sha256").update("another access token").digest().subarray(0, 16).toString("base64url");

// file, kind, reason (null: accepted), attack, token
const cases = [
  ["good-es256", "id-token", null, "-", token(e1, id)],
  ["good-rs256", "id-token", null, "-", token(r1, id, rs256)],
  ["good-untyped", "id-token", null, "-", token({ alg: "ES256", kid: "e1" }, id)],
  ["none", "id-token", "algorithm_refused", "101", `${b64({ alg: "none" })}.${b64(id)}.`],
  ["none-in-capitals", "id-token", "algorithm_refused", "101", `${b64({ alg: "nOnE", kid: "e1" })}.${b64(id)}.`],
  ["none-over-a-good-signature", "id-token", "algorithm_refused", "101", token({ alg: "none", kid: "e1" }, id)],
  ["hmac-of-the-pem", "id-token", "algorithm_refused", "101", token({ alg: "HS256", kid: "r1" }, id, hs(pem))],
  ["hmac-of-the-jwk", "id-token", "algorithm_refused", "101", token({ alg: "HS256", kid: "e1" }, id, hs(JSON.stringify(keys[0])))],
  ["hmac-of-nothing", "id-token", "algorithm_refused", "101", token({ alg: "HS256", kid: "e1" }, id, hs(""))],
  ["other-padding", "id-token", "algorithm_refused", "101", token({ alg: "PS256", kid: "r1" }, id, ps256)],
  ["key-of-another-kind", "id-token", "algorithm_refused", "101", token({ alg: "ES256", kid: "r1" }, id)],
  ["zero-signature", "id-token", "signature_invalid", "101 (CVE-2022-21449)", token(e1, id, () => Buffer.alloc(64).toString("base64url"))],
  ["der-signature", "id-token", "signature_invalid", "101", token(e1, id, (input) => signed("sha256", Buffer.from(input), ec.privateKey).toString("base64url"))],
  ["strangers-signature", "id-token", "signature_invalid", "101", token(e1, id, (input) => es256(input, stranger))],
  ["changed-payload", "id-token", "signature_invalid", "101", token(e1, id).replace(b64(id), b64({ ...id, sub: "4712" }))],
  ["key-in-the-header", "id-token", "malformed", "101", token({ ...e1, jwk: jwk(stranger, "e1", "ES256") }, id, (input) => es256(input, stranger))],
  ["key-behind-jku", "id-token", "malformed", "101", token({ ...e1, jku: "https://evil.example/keys" }, id)],
  ["certificate-in-the-header", "id-token", "malformed", "101", token({ ...e1, x5c: ["MIIB"] }, id)],
  ["critical-extension", "id-token", "malformed", "101", token({ ...e1, crit: ["b64"], b64: false }, id)],
  ["two-key-ids", "id-token", "malformed", "101", token(raw('{"alg":"ES256","kid":"r1","kid":"e1"}'), id)],
  ["two-algorithms", "id-token", "malformed", "101", token(raw('{"alg":"none","alg":"ES256","kid":"e1"}'), id)],
  ["path-as-key-id", "id-token", "unknown_key", "101", token({ ...e1, kid: "../../keys/e1" }, id)],
  ["query-as-key-id", "id-token", "unknown_key", "101", token({ ...e1, kid: "e1' OR '1'='1" }, id)],
  ["no-key-id-among-two", "id-token", "unknown_key", "101", token({ alg: "ES256" }, id)],
  ["access-token", "id-token", "wrong_type", "101", token({ ...e1, typ: "at+jwt" }, id)],
  ["logout-token-as-id-token", "id-token", "wrong_type", "101", token({ ...e1, typ: "logout+jwt" }, { ...out, nonce: id.nonce })],
  ["subject-twice", "id-token", "malformed", "101", token(e1, raw(JSON.stringify(id).replace('"sub":"4711"', '"sub":"4712","sub":"4711"')))],
  ["five-parts", "id-token", "malformed", "101", `${token(e1, id)}.a.b`],
  ["padded", "id-token", "malformed", "101", `${token(e1, id)}==`],
  ["another-issuer", "id-token", "wrong_issuer", "-", token(e1, { ...id, iss: "https://op.example.com.evil.example" })],
  ["issuer-with-a-slash", "id-token", "wrong_issuer", "-", token(e1, { ...id, iss: "https://op.example.com/" })],
  ["another-client", "id-token", "wrong_audience", "-", token(e1, { ...id, aud: "another" })],
  ["two-clients", "id-token", "wrong_audience", "-", token(e1, { ...id, aud: ["vestibule", "another"] })],
  ["another-party", "id-token", "wrong_audience", "-", token(e1, { ...id, azp: "another" })],
  ["another-nonce", "id-token", "wrong_nonce", "-", token(e1, { ...id, nonce: "another" })],
  ["no-nonce", "id-token", "wrong_nonce", "-", token(e1, { ...id, nonce: undefined })],
  ["another-access-token", "id-token", "wrong_hash", "-", token(e1, { ...id, at_hash: hash })],
  ["over", "id-token", "expired", "-", token(e1, { ...id, exp: clock - 61 })],
  ["for-ever", "id-token", "malformed", "-", token(e1, raw(JSON.stringify(id).replace(`"exp":${clock + 300}`, '"exp":1e300')))],
  ["of-the-future", "id-token", "not_yet_valid", "-", token(e1, { ...id, iat: clock + 61 })],
  ["of-long-ago", "id-token", "stale", "-", token(e1, { ...id, iat: clock - 3600, exp: clock + 300 })],
  ["good-logout", "logout-token", null, "-", token({ ...e1, typ: "logout+jwt" }, out)],
  ["id-token-as-logout-token", "logout-token", "wrong_type", "-", token(e1, { ...id, events: { [EVENT]: {} }, jti: "j1" })],
  ["logout-without-event", "logout-token", "wrong_event", "-", token(e1, { ...out, events: { "urn:other": {} } })],
  ["logout-of-nobody", "logout-token", "malformed", "-", token(e1, { ...out, sub: undefined, sid: undefined })],
  ["logout-of-another-client", "logout-token", "wrong_audience", "-", token(e1, { ...out, aud: "another" })],
  ["logout-of-an-hour-ago", "logout-token", "stale", "-", token(e1, { ...out, iat: clock - 3600 })],
  ["logout-unsigned", "logout-token", "algorithm_refused", "101", `${b64({ alg: "none", typ: "logout+jwt" })}.${b64(out)}.`],
];
for (const [file, , , , text] of cases) writeFileSync(`${file}.jwt`, text + "\n");
const line = ([file, kind, reason, attack]) => "  " + JSON.stringify({ file: `${file}.jwt`, kind, reason, attack, clock });
writeFileSync("manifest.json", `[\n${cases.map(line).join(",\n")}\n]\n`);
