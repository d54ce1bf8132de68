// An OpenID provider for the tests: oidc-provider (certified), with one person per name and clients of every kind.
//
//   VESTIBULE_MODULES   the folder node_modules
//   VESTIBULE_PORTAL    origin of the gateway's portal
//   VESTIBULE_PORT      where to listen, on loopback
//
// Names below localhost are this machine, whatever a resolver says (RFC 6761); Node asks one.
import { generateKeyPairSync } from "node:crypto";
import dns from "node:dns";
import path from "node:path";
import { pathToFileURL } from "node:url";

const ask = dns.lookup;
dns.lookup = (name, options, callback) => {
  const done = callback ?? options;
  if (!name.endsWith(".localhost")) return ask(name, options, callback);
  return options?.all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4);
};

const need = (name) => process.env[name] ?? (console.error(`${name} is not set`), process.exit(2));
const [modules, portal, port] = ["VESTIBULE_MODULES", "VESTIBULE_PORTAL", "VESTIBULE_PORT"].map(need);
const { Provider } = await import(pathToFileURL(path.join(modules, "oidc-provider/lib/index.js")));

const key = (type, options, alg) => ({ ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }), use: "sig", alg, kid: alg });
const api = "https://app.north.localhost/api";
const rp = (name) => ({
  client_id: name,
  redirect_uris: [`${portal}/oidc/rp/callback/${name}`],
  post_logout_redirect_uris: [`${portal}/logout`],
  backchannel_logout_uri: `${portal}/oidc/rp/logout/${name}`,
  backchannel_logout_session_required: true,
  grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"],
});
// What is said of everybody changes while they are signed in; then they are gone.
const now = { department: "crew", gone: false };
const provider = new Provider(`http://op.localhost:${port}`, {
  clients: [
    { ...rp("secret"), client_secret: "the secret of the tests: 100 % + / & =" },
    { ...rp("key"), token_endpoint_auth_method: "private_key_jwt", jwks_uri: `${portal}/oidc/rp/jwks`, token_endpoint_auth_signing_alg: "ES256", id_token_signed_response_alg: "ES256" },
    { client_id: "script", client_secret: "a script's secret", grant_types: ["client_credentials"], redirect_uris: [], response_types: [] },
    { client_id: "asker", client_secret: "who asks about tokens", grant_types: [], redirect_uris: [], response_types: [] },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "preferred_username", "department"] },
  jwks: { keys: [key("rsa", { modulusLength: 2048 }, "RS256"), key("ec", { namedCurve: "P-256" }, "ES256")] },
  // Its own calls avoid loopback, where all of this is.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  cookies: { keys: ["of the tests"] },
  findAccount: (ctx, id) => now.gone ? undefined : ({
    accountId: id,
    claims: () => ({ sub: id, department: now.department, name: `${id} of the peer`, preferred_username: id, email: `${id}@north.example`, email_verified: true }),
  }),
  // Each refresh token is good once; one that comes again ends the login.
  rotateRefreshToken: true,
  features: {
    backchannelLogout: { enabled: true },
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: "orders.read", audience: api, accessTokenFormat: "opaque", accessTokenTTL: 300 }),
    },
    rpInitiatedLogout: { enabled: true },
  },
});
provider.use(async (ctx, next) => {
  if (ctx.path === "/move") now.department = "bridge";
  else if (ctx.path === "/forget") now.gone = true;
  else return next();
  ctx.body = "so be it";
});
provider.on("server_error", (ctx, error) => console.error(error));
provider.on("backchannel.error", (ctx, error) => console.error("backchannel", error));
provider.on("grant.error", (ctx, error) => console.error("grant", error.error, error.error_description, error.error_detail));
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
