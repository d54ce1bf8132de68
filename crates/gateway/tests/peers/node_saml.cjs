// @node-saml/node-saml as a service provider. One job per line on standard input, its answer per line on standard output.
"use strict";
const readline = require("node:readline");
const { SAML } = require("@node-saml/node-saml");

let provider;
const jobs = {
  open(job) {
    provider = new SAML({
      callbackUrl: job.acs, issuer: job.sp, entryPoint: job.sso, logoutUrl: job.slo, idpIssuer: job.idp, idpCert: job.idpCert ?? "none",
      privateKey: job.key, publicCert: job.cert, decryptionPvk: job.key, signatureAlgorithm: "sha256", digestAlgorithm: "sha256",
      identifierFormat: job.format ?? null, validateInResponseTo: job.unsolicited ? "ifPresent" : "always", wantAssertionsSigned: true, wantAuthnResponseSigned: true,
    });
    return { metadata: provider.generateServiceProviderMetadata(job.cert, job.cert) };
  },
  request: async (job) => ({ url: await provider.getAuthorizeUrlAsync(job.state, undefined, {}) }),
  response: async (job) => {
    const { profile } = await provider.validatePostResponseAsync({ SAMLResponse: job.message });
    return { profile };
  },
  logout: async (job) => ({ url: await provider.getLogoutUrlAsync(job.profile, job.state, {}) }),
  loggedOut: async (job) => {
    const container = Object.fromEntries(new URLSearchParams(job.query));
    return { done: (await provider.validateRedirectAsync(container, job.query)).loggedOut };
  },
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const job = JSON.parse(line);
  let answer;
  try { answer = await jobs[job.do](job); } catch (error) { answer = { error: String(error) }; }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
