// Asks an endpoint with npm's `soap`. Arguments: address, then name, password and source of each question.
const soap = require("soap");

const [address, ...rest] = process.argv.slice(2);
(async () => {
  const client = await soap.createClientAsync(`${address}?wsdl`);
  for (let at = 0; at < rest.length; at += 3) {
    const [username, password, sourceIp] = rest.slice(at);
    try {
      const [answer] = await client.AuthenticateAsync({ username, password, sourceIp });
      console.log(String(answer.Authenticated));
    } catch (error) {
      console.log("fault", error.root ? error.root.Envelope.Body.Fault.faultstring : error.message);
    }
  }
})();
