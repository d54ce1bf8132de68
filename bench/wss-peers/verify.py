"""xmlsec1's library and zeep verify a signed message again and again: CERTIFICATE SECONDS FILE...; prints "FILE KIND microseconds"."""
import pathlib
import statistics
import sys
import time

import xmlsec
from lxml import etree
from zeep.wsse import signature

certificate, seconds, files = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
UTILITY = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
SIGNATURE = "{http://www.w3.org/2000/09/xmldsig#}Signature"
key = xmlsec.Key.from_file(certificate, xmlsec.KeyFormat.CERT_PEM)


def by_library(octets):
    message = etree.fromstring(octets)
    context = xmlsec.SignatureContext()
    context.key = key
    for element in message.iter("{http://schemas.xmlsoap.org/soap/envelope/}Body", f"{{{UTILITY}}}Timestamp"):
        context.register_id(element, "Id", UTILITY)
    context.verify(next(message.iter(SIGNATURE)))


def by_zeep(octets):
    signature._verify_envelope_with_key(etree.fromstring(octets), key)


for path in map(pathlib.Path, files):
    octets = path.read_bytes()
    for kind, work in (("xmlsec1-library", by_library), ("zeep", by_zeep)):
        times, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end or not times:
            begin = time.perf_counter()
            work(octets)
            times.append(time.perf_counter() - begin)
        print(path.name, kind, round(statistics.median(times) * 1e6))
