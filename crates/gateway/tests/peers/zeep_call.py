"""zeep calls an operation through the gateway: WSDL URL KIND NAME PASSWORD KEY CERTIFICATE; prints what came of it as JSON."""
import json
import sys

import xmlsec
from zeep import Client
from zeep.exceptions import Fault, TransportError
from zeep.transports import Transport
from zeep.wsse import BinarySignature, UsernameToken
from zeep.wsse.utils import WSU, get_security_header
import datetime
import requests


class Signed(BinarySignature):
    """A Timestamp is there before the signature is made, so that it is signed, too."""

    def apply(self, envelope, headers):
        now = datetime.datetime.now(datetime.timezone.utc)
        written = lambda minutes: (now + datetime.timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
        element = WSU.Timestamp()
        element.append(WSU.Created(written(0)))
        element.append(WSU.Expires(written(5)))
        get_security_header(envelope).append(element)
        return super().apply(envelope, headers)

    def verify(self, envelope):
        """The service signs nothing."""
        return envelope


wsdl, url, host, kind, name, password, key, certificate = sys.argv[1:9]
methods = {"signature_method": xmlsec.Transform.RSA_SHA256, "digest_method": xmlsec.Transform.SHA256}
wsse = {
    "text": lambda: UsernameToken(name, password),
    "digest": lambda: UsernameToken(name, password, use_digest=True),
    "signed": lambda: Signed(key, certificate, **methods),
    "none": lambda: None,
}[kind]()
session = requests.Session()
session.headers["Host"] = host
client = Client(wsdl, wsse=wsse, transport=Transport(session=session))
service = client.create_service("{urn:example:orders}OrdersBinding", url)
try:
    print(json.dumps({"ok": service.GetOrder(id=7)}))
except Fault as fault:
    print(json.dumps({"fault": str(fault.code), "message": fault.message}))
except TransportError as error:
    print(json.dumps({"status": error.status_code}))
