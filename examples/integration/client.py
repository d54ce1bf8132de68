#!/usr/bin/env python3
"""An integration client as Python has them: log in by address, then SOAP with the session's cookie, and a login that is part of a
message, in the draft of 2002.       client.py URL USER PASSWORD"""
import sys
import time
from urllib.parse import quote

import requests

BASE, USER, PASSWORD = sys.argv[1:4]
SERVICE = BASE + "/Services/Integration"
ACTION = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '"document/urn:crmondemand/ws/ecbs/contact/:ContactQueryPage"'}
DRAFT = "http://schemas.xmlsoap.org/ws/2002/07/secext"


def envelope(header=""):
    return (
        '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Header>' + header + "</soap:Header><soap:Body>"
        '<ContactQueryPage_Input xmlns="urn:crmondemand/ws/ecbs/contact/"/></soap:Body></soap:Envelope>'
    ).encode()


def session_of(answer):
    """The first Set-Cookie, up to its semicolon."""
    first = answer.raw.headers.getlist("Set-Cookie")[0]
    name, value = first[: first.index(";")].split("=")
    assert name == "JSESSIONID", first
    return value


def query(session):
    # By hand: a jar keeps a cookie from other paths than its own, and these clients had none.
    return requests.post(SERVICE + "/Contact", data=envelope(), headers={**ACTION, "Cookie": "JSESSIONID=" + session})


credentials = {"UserName": quote(USER), "Password": quote(PASSWORD), "X-ClientName": "Acme Ltd, client.py"}
answer = requests.get(SERVICE, params={"command": "login", "isEncoded": "Y"}, headers=credentials)
print("login", answer.status_code)
if answer.status_code != 200:
    sys.exit(answer.text)
session = session_of(answer)
print("query", query(session).status_code)
time.sleep(0.1)  # The service wants 50 ms between two requests of a session.
print("keep-alive", query(session).status_code)
print("logoff", requests.post(SERVICE, params={"command": "logoff"}, headers={"Cookie": "JSESSIONID=" + session}).status_code)
over = query(session)
print("afterwards", over.status_code, "SBL-ODU-01006" if "SBL-ODU-01006" in over.text else over.text)

escaped = PASSWORD.replace("&", "&amp;").replace("<", "&lt;")
token = (
    f'<wsse:Security soap:mustUnderstand="1" xmlns:wsse="{DRAFT}"><wsse:UsernameToken><wsse:Username>{USER}</wsse:Username>'
    f'<wsse:Password Type="wsse:PasswordText">{escaped}</wsse:Password></wsse:UsernameToken></wsse:Security>'
)
answer = requests.post(SERVICE + "/Contact", data=envelope(token), headers=ACTION)
print("login by message", answer.status_code)
session = session_of(answer)
print("query", query(session).status_code)
print("logoff", requests.get(SERVICE, params={"command": "logoff"}, headers={"Cookie": "JSESSIONID=" + session}).status_code)
