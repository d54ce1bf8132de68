"""pysaml2 as the other side. A list of jobs comes as JSON on standard input, their answers go to
standard output as JSON."""
import json, os, sys, tempfile
from urllib.parse import parse_qs, urlsplit

from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT, BINDING_SOAP
from saml2 import xmldsig as ds
from saml2.authn_context import INTERNETPROTOCOLPASSWORD
from saml2.client import Saml2Client
from saml2.config import IdPConfig, SPConfig
from saml2.metadata import create_metadata_string
from saml2.saml import NAMEID_FORMAT_PERSISTENT, NAME_FORMAT_BASIC, NameID
from saml2.server import Server

jobs = json.load(sys.stdin)
job = jobs[0]
KEYS = job["keys"]
FOLDER = tempfile.mkdtemp()


def partner():
    if "metadata" not in job:
        return {}
    path = os.path.join(FOLDER, "partner.xml")
    with open(path, "w") as file:
        file.write(job["metadata"])
    return {"local": [path]}


def common(name):
    return {
        "key_file": f"{KEYS}/{name}.key", "cert_file": f"{KEYS}/{name}.crt",
        "encryption_keypairs": [{"key_file": f"{KEYS}/{name}.key", "cert_file": f"{KEYS}/{name}.crt"}],
        "xmlsec_binary": "/usr/bin/xmlsec1", "delete_tmpfiles": True, "metadata": partner(), "allow_unknown_attributes": True,
    }


def idp():
    return IdPConfig().load({
        "entityid": job["idp"],
        "service": {"idp": {
            "endpoints": {
                "single_sign_on_service": [(job["sso"], BINDING_HTTP_REDIRECT), (job["sso"], BINDING_HTTP_POST)],
                "single_logout_service": [(job["slo"], BINDING_HTTP_REDIRECT)],
            },
            "policy": {"default": {"lifetime": {"minutes": 5}, "attribute_restrictions": None, "name_form": NAME_FORMAT_BASIC}},
            "want_authn_requests_signed": True,
        }}, **common("idp-rsa2048")})


def sp():
    return SPConfig().load({
        "entityid": job["sp"],
        "service": {"sp": {
            "endpoints": {
                "assertion_consumer_service": [(job["acs"], BINDING_HTTP_POST)],
                "single_logout_service": [(job["sp_slo"], BINDING_HTTP_REDIRECT)],
            },
            "authn_requests_signed": True, "want_assertions_signed": job.get("want_assertions_signed", False),
            "want_response_signed": False, "allow_unsolicited": "request" not in job,
        }}, **common("sp-rsa2048")})


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def run(do):
    if do == "metadata":
        return {"idp": text(create_metadata_string(None, config=idp(), sign=False)), "sp": text(create_metadata_string(None, config=sp(), sign=False))}
    if do == "read_request":
        server = Server(config=idp())
        if job["binding"] == "post":
            request = server.parse_authn_request(job["message"], BINDING_HTTP_POST)
        else:
            request = server.parse_authn_request(job["message"], BINDING_HTTP_REDIRECT, job["relay_state"], job["algorithm"], job["signature"])
        message = request.message
        return {"id": message.id, "issuer": message.issuer.text, "acs": message.assertion_consumer_service_url, "force": message.force_authn}
    if do == "read_response":
        client = Saml2Client(config=sp())
        open_requests = {job["request"]: "/"} if "request" in job else {}
        response = client.parse_authn_request_response(job["message"], BINDING_HTTP_POST, open_requests)
        found = response.assertion
        return {"name": response.get_subject().text, "attributes": response.ava, "index": found.authn_statement[0].session_index}
    if do == "make_request":
        client = Saml2Client(config=sp())
        binding = BINDING_HTTP_POST if job["binding"] == "post" else BINDING_HTTP_REDIRECT
        identifier, made = client.prepare_for_authenticate(entityid=job["idp"], binding=binding, relay_state="/a b?c=d&e",
                                                           sign=True, sigalg=ds.SIG_RSA_SHA256, digest_alg=ds.DIGEST_SHA256)
        return {"id": identifier, "url": dict(made["headers"]).get("Location"), "form": text(made["data"])}
    if do == "make_response":
        server = Server(config=idp())
        name = NameID(format=NAMEID_FORMAT_PERSISTENT, text="alice <&>", name_qualifier=job["idp"], sp_name_qualifier=job["sp"])
        made = server.create_authn_response(
            identity={"mail": ["alice@example.org"], "memberOf": ["a & b", "<c>"]}, in_response_to=job["request"], destination=job["acs"],
            sp_entity_id=job["sp"], userid="alice", name_id=name, authn={"class_ref": INTERNETPROTOCOLPASSWORD, "authn_auth": job["idp"]},
            sign_response=job["sign_response"], sign_assertion=job["sign_assertion"], encrypt_assertion=job["encrypt"],
            encrypted_advice_attributes=False, sign_alg=ds.SIG_RSA_SHA256, digest_alg=ds.DIGEST_SHA256)
        return {"xml": text(made)}
    if do == "make_logout":
        client = Saml2Client(config=sp())
        name = NameID(format=NAMEID_FORMAT_PERSISTENT, text=job.get("name", "alice <&>"))
        indexes = [job["index"]] if "index" in job else ["_s1", "_s2"]
        identifier, request = client.create_logout_request(job["slo"], job["idp"], name_id=name, session_indexes=indexes)
        made = client.apply_binding(BINDING_HTTP_REDIRECT, text(request), job["slo"], "state", sign=True, sigalg=ds.SIG_RSA_SHA256)
        return {"id": identifier, "url": dict(made["headers"])["Location"]}
    if do == "read_logout_answer":
        query = {name: values[0] for name, values in parse_qs(urlsplit(job["url"]).query).items()}
        answer = Saml2Client(config=sp()).parse_logout_request_response(query["SAMLResponse"], BINDING_HTTP_REDIRECT)
        return {"done": answer.response.in_response_to == job["request"] and answer.status_ok()}
    if do == "read_logout":
        server = Server(config=idp())
        request = server.parse_logout_request(job["message"], BINDING_HTTP_POST)
        return {"name": request.message.name_id.text, "indexes": [index.text for index in request.message.session_index]}
    raise ValueError(do)


answers = []
for job in jobs:
    answers.append(run(job["do"]))
json.dump(answers, sys.stdout)
