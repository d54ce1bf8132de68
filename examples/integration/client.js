#!/usr/bin/env node
// An integration client as Node has them: log in by address, cut the session out of the first Set-Cookie, query, keep alive, log off.
//     client.js URL USER PASSWORD
'use strict';
const http = require('node:http');
const https = require('node:https');

const [base, user, password] = process.argv.slice(2);
const envelope = '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>' +
  '<ContactQueryPage_Input xmlns="urn:crmondemand/ws/ecbs/contact/"/></soap:Body></soap:Envelope>';

function ask(method, path, headers, body) {
  const url = new URL(path, base);
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? https : http).request(url, { method, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece) => { text += piece; });
      response.on('end', () => resolve({ status: response.statusCode, cookies: response.headers['set-cookie'] || [], text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

const query = (session) => ask('POST', '/Services/Integration/Contact', {
  Cookie: 'JSESSIONID=' + session,
  'Content-Type': 'text/xml',
  SOAPAction: '"document/urn:crmondemand/ws/ecbs/contact/:ContactQueryPage"',
  'Content-Length': Buffer.byteLength(envelope),
}, envelope);

(async () => {
  const login = await ask('GET', '/Services/Integration?command=login', { UserName: user, Password: password });
  console.log('login', login.status);
  if (!login.cookies.length || login.cookies[0].indexOf('JSESSIONID=') !== 0) {
    console.log('no session: ' + login.text.replace(/<[^>]*>/g, ' '));
    process.exit(1);
  }
  const session = login.cookies[0].substring(0, login.cookies[0].indexOf(';')).split('=')[1];
  console.log('query', (await query(session)).status);
  await new Promise((done) => setTimeout(done, 100)); // The service wants 50 ms between two requests of a session.
  console.log('keep-alive', (await query(session)).status);
  console.log('logoff', (await ask('GET', '/Services/Integration?command=logoff', { Cookie: 'JSESSIONID=' + session })).status);
  const over = await query(session);
  console.log('afterwards', over.status, (over.text.match(/SBL-ODU-\d+/) || [over.text])[0]);
})();
