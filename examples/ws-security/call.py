#!/usr/bin/env python3
"""Calls the service behind the gateway: call.py WSDL PASSWORD [digest]. Needs zeep (pip install zeep)."""
import sys

from zeep import Client
from zeep.wsse import UsernameToken

wsdl, password = sys.argv[1:3]
client = Client(wsdl, wsse=UsernameToken("acme", password, use_digest="digest" in sys.argv))
service = client.create_service("{urn:example:orders}OrdersBinding", "http://orders.localhost:8080/orders")
print(service.GetOrder(id=7))
