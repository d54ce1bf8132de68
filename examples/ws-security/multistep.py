#!/usr/bin/env python3
"""Gets a header at one service and takes it to another: multistep.py WSDL KEY CERTIFICATE SERVICE-A SERVICE-B. Needs zeep and xmlsec.
A answers with an assertion that names our key (`confirm = "holder-of-key"`, `holder = "message"`); B knows A's certificate."""
import datetime
import sys

import xmlsec
from zeep import Client
from zeep.wsse import BinarySignature
from zeep.wsse.utils import WSU, get_security_header


class Holder(BinarySignature):
    assertion = None

    def apply(self, envelope, headers):
        now = datetime.datetime.now(datetime.timezone.utc)
        until = now + datetime.timedelta(minutes=5)
        security = get_security_header(envelope)
        security.extend([self.assertion] if self.assertion is not None else [])
        security.append(WSU.Timestamp(*(make(f"{time:%Y-%m-%dT%H:%M:%SZ}") for make, time in ((WSU.Created, now), (WSU.Expires, until)))))
        return super().apply(envelope, headers)

    def verify(self, envelope):
        self.assertion = envelope.find(".//{urn:oasis:names:tc:SAML:2.0:assertion}Assertion")


wsdl, key, certificate, a, b = sys.argv[1:6]
holder = Holder(key, certificate, signature_method=xmlsec.Transform.RSA_SHA256, digest_method=xmlsec.Transform.SHA256)
client = Client(wsdl, wsse=holder)
for place in (a, b):
    print(client.create_service("{urn:example:orders}OrdersBinding", place).GetOrder(id=7))
