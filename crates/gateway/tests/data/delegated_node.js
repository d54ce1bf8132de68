// A service that checks passwords, made from the WSDL with npm's `soap`. Arguments: port, password, WSDL file.
const http = require("http");
const fs = require("fs");
const soap = require("soap");

const [port, password, wsdl] = process.argv.slice(2);
const authenticate = (asked) => ({
  Authenticated: asked.username === "sara" && asked.password === password && asked.sourceIp === "127.0.0.1",
});
const service = { SforceAuthenticationService: { AuthenticationService: { Authenticate: authenticate } } };
const server = http.createServer((_, answer) => answer.writeHead(404).end());
server.listen(Number(port), "127.0.0.1", () => soap.listen(server, "/da", service, fs.readFileSync(wsdl, "utf8")));
