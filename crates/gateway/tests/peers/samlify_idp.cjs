// samlify as an identity provider without a network: one JSON job on standard input, its result on standard output.
//
//   {"do": "metadata", "entity_id", "sso", "key", "cert"} gives {"metadata"}
//   {"do": "answer", …, "sp_metadata", "url", "user", "encrypt"} reads our request in a redirect's address, and gives {"fields", "action"};
//   without "url" it answers nobody
//   {"do": "logout", …, "sp_metadata", "user"} gives {"url", "id"}; {"do": "logout_end", …, "url"} reads our answer: {"in_response_to"}
//   {"do": "logout_answer", …, "url"} reads our LogoutRequest, and gives {"name", "url"}
"use strict";
const fs = require("node:fs");
const samlify = require("samlify");

const job = JSON.parse(fs.readFileSync(0, "utf8"));
const { namespace, algorithms } = samlify.Constants;
samlify.setSchemaValidator({ validate: () => Promise.resolve("the gateway's tests look at it") });

const idp = samlify.IdentityProvider({
  entityID: job.entity_id,
  privateKey: job.key,
  signingCert: job.cert,
  requestSignatureAlgorithm: algorithms.signature.RSA_SHA256,
  wantAuthnRequestsSigned: true,
  wantLogoutRequestSigned: true,
  wantLogoutResponseSigned: true,
  isAssertionEncrypted: Boolean(job.encrypt),
  dataEncryptionAlgorithm: algorithms.encryption.data.AES_128_GCM,
  keyEncryptionAlgorithm: algorithms.encryption.key.RSA_OAEP_MGF1P,
  nameIDFormat: ["urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"],
  singleSignOnService: [{ Binding: namespace.binding.redirect, Location: job.sso }],
  singleLogoutService: [{ Binding: namespace.binding.redirect, Location: job.slo }],
  loginResponseTemplate: {
    context:
      '<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="{ID}" Version="2.0" IssueInstant="{IssueInstant}" Destination="{Destination}" InResponseTo="{InResponseTo}"><saml:Issuer>{Issuer}</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status><saml:Assertion ID="{AssertionID}" Version="2.0" IssueInstant="{IssueInstant}"><saml:Issuer>{Issuer}</saml:Issuer><saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">{NameID}</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="{End}" Recipient="{Destination}" InResponseTo="{InResponseTo}"/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="{IssueInstant}" NotOnOrAfter="{End}"><saml:AudienceRestriction><saml:Audience>{Audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="{IssueInstant}" SessionIndex="_session"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>{AttributeStatement}</saml:Assertion></samlp:Response>',
    attributes: ["uid", "groups"].map((name) => ({
      name,
      valueTag: name,
      nameFormat: "urn:oasis:names:tc:SAML:2.0:attrname-format:basic",
      valueXsiType: "xs:string",
    })),
  },
});

const instant = (ms) => new Date(Date.now() + ms).toISOString();

const serviceProvider = () =>
  samlify.ServiceProvider({ metadata: job.sp_metadata, wantLogoutRequestSigned: true, wantLogoutResponseSigned: true });

/// What came in a redirect's address.
const incoming = () => {
  const search = new URL(job.url).search.slice(1);
  const query = Object.fromEntries(new URLSearchParams(search));
  const octetString = search.split("&").filter((part) => /^(SAMLRequest|SAMLResponse|RelayState|SigAlg)=/.test(part)).join("&");
  return { query, octetString };
};

const answer = async () => {
  const sp = serviceProvider();
  const { query, octetString } = job.url ? incoming() : { query: {} };
  const { extract } = job.url ? await idp.parseLoginRequest(sp, "redirect", { query, octetString }) : { extract: {} };
  const action = sp.entityMeta.getAssertionConsumerService("post");
  const values = {
    ID: `_r${process.hrtime.bigint()}`, AssertionID: `_a${process.hrtime.bigint()}`, Destination: action, Audience: sp.entityMeta.getEntityID(),
    Issuer: job.entity_id, IssueInstant: instant(0), End: instant(300e3), InResponseTo: extract.request?.id, NameID: job.user,
    attrUid: job.user, attrGroups: "staff",
  };
  const fill = (template) => {
    const said = job.url ? template : template.replaceAll(' InResponseTo="{InResponseTo}"', "");
    return { id: values.ID, context: samlify.SamlLib.replaceTagsByValue(said, values) };
  };
  const made = await idp.createLoginResponse(sp, { extract }, "post", {}, fill);
  const fields = { SAMLResponse: made.context };
  return { action, fields: query.RelayState ? { ...fields, RelayState: query.RelayState } : fields };
};

const jobs = {
  metadata: () => ({ metadata: idp.getMetadata() }),
  answer,
  logout: () => {
    const made = idp.createLogoutRequest(serviceProvider(), "redirect", { logoutNameID: job.user, sessionIndex: "_session" }, "state");
    return { id: made.id, url: made.context };
  },
  logout_end: async () => {
    const { extract } = await idp.parseLogoutResponse(serviceProvider(), "redirect", incoming());
    return { in_response_to: extract.response.inResponseTo };
  },
  logout_answer: async () => {
    const sp = serviceProvider();
    const asked = await idp.parseLogoutRequest(sp, "redirect", incoming());
    return { name: asked.extract.nameID, url: idp.createLogoutResponse(sp, asked, "redirect", "").context };
  },
};

(async () => {
  const result = await jobs[job.do]();
  process.stdout.write(JSON.stringify(result));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
