// npm `soap` calls GetOrder through the gateway: WSDL URL HOST KIND NAME PASSWORD KEY CERTIFICATE; prints what came of it as JSON.
const fs = require('fs');
const soap = require('soap');

const [wsdl, url, host, kind, name, password, key, certificate] = process.argv.slice(2);
const signing = { signatureAlgorithm: 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256', hasTimeStamp: true };
const read = (file) => fs.readFileSync(file, 'utf8');
const security = {
  text: () => new soap.WSSecurity(name, password, { passwordType: 'PasswordText', hasTimeStamp: true }),
  digest: () => new soap.WSSecurity(name, password, { passwordType: 'PasswordDigest', hasNonce: true }),
  // Its own default is an `Id` without namespace, which is a concession.
  signed: () => new soap.WSSecurityCert(read(key), read(certificate), '', { ...signing, signerOptions: { idMode: 'wssecurity' } }),
  'signed-plain-id': () => new soap.WSSecurityCert(read(key), read(certificate), '', signing),
  none: () => null,
}[kind];

(async () => {
  const client = await soap.createClientAsync(wsdl, { endpoint: url });
  client.setEndpoint(url);
  client.addHttpHeader('Host', host);
  const wanted = security();
  if (wanted) client.setSecurity(wanted);
  try {
    const [answer] = await client.GetOrderAsync({ id: 7 });
    console.log(JSON.stringify({ ok: answer.state }));
  } catch (error) {
    const fault = error.root?.Envelope?.Body?.Fault?.faultcode;
    console.log(JSON.stringify({ fault: fault?.$value ?? fault ?? String(error.response?.status ?? error) }));
  }
})();
