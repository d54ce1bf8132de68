"""zeep as the other side: `make KEYS FOLDER` writes messages, `check KEYS FILE...` verifies some, a line of JSON each."""
import datetime
import json
import sys

import xmlsec
from lxml import etree
from zeep.wsse import BinarySignature, Signature, UsernameToken
from zeep.wsse.signature import verify_envelope
from zeep.wsse.utils import WSU, get_security_header

SOAP = {"11": "http://schemas.xmlsoap.org/soap/envelope/", "12": "http://www.w3.org/2003/05/soap-envelope"}
METHODS = {"signature_method": xmlsec.Transform.RSA_SHA256, "digest_method": xmlsec.Transform.SHA256}


def envelope(version):
    return etree.fromstring(
        f'<s:Envelope xmlns:s="{SOAP[version]}"><s:Header/><s:Body>'
        '<o:GetOrder xmlns:o="urn:example:orders"><o:id>7</o:id></o:GetOrder></s:Body></s:Envelope>'
    )


def timestamp():
    now = datetime.datetime.now(datetime.timezone.utc)
    written = lambda minutes: (now + datetime.timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    element = WSU.Timestamp()
    element.append(WSU.Created(written(0)))
    element.append(WSU.Expires(written(5)))
    return element


def make(keys, folder):
    pair = (f"{keys}/client-rsa2048.key", f"{keys}/client-rsa2048.crt")
    plugins = {
        "name-text": UsernameToken("alice", "wonderland"),
        "name-digest": UsernameToken("alice", "wonderland", use_digest=True),
        "signed-token": BinarySignature(*pair, **METHODS),
        "signed-data": Signature(*pair, **METHODS),
    }
    for version in SOAP:
        for name, plugin in plugins.items():
            message = envelope(version)
            if name.startswith("signed"):
                get_security_header(message).append(timestamp())
            message, _ = plugin.apply(message, {})
            etree.ElementTree(message).write(f"{folder}/{name}-{version}.xml", xml_declaration=True, encoding="utf-8")


def check(keys, files):
    for file in files:
        try:
            verify_envelope(etree.parse(file).getroot(), f"{keys}/client-rsa2048.crt")
            verdict = "accept"
        except Exception as error:
            verdict = f"reject {type(error).__name__} {error}"
        print(json.dumps([file.rsplit("/", 1)[-1], verdict]))


if sys.argv[1] == "make":
    make(*sys.argv[2:4])
else:
    check(sys.argv[2], sys.argv[3:])
