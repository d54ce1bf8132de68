"""pysaml2 as an identity provider without a network: one JSON job on standard input, its result on standard output.

{"do": "metadata", "entity_id", "sso", "slo", "keys", "key"} gives {"metadata"}, with "signer" and "valid_until" signed by that key; "only_post" leaves out how else to ask.
{"do": "answer", …, "sp_metadata", "url" | "fields", "user", "attributes", "sign": "assertion|response|both", "encrypt", "name_format",
"session_seconds": how long a session may last}
reads our request as it came (a redirect's address or a form's fields), and gives {"fields", "action", "request"}.
{"do": "unsolicited", …, "sp", "acs"} answers nobody.
{"do": "logout", …, "user", "session_index", "destination", "binding": "redirect|post"} gives the address or form of a LogoutRequest.
{"do": "logout_answer", …, "url" | "fields", "destination"} answers our LogoutRequest; {"do": "logout_end", …} reads our answer to one.
"""
import base64, json, subprocess, sys, tempfile, urllib.parse

from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT, BINDING_SOAP, BINDING_HTTP_ARTIFACT
from saml2 import saml, xmldsig as ds
from saml2.authn_context import PASSWORDPROTECTEDTRANSPORT
from saml2.config import IdPConfig
from saml2.metadata import create_metadata_string
from saml2.saml import NameID
from saml2.server import Server
from saml2.time_util import in_a_while

job = json.load(sys.stdin)


def config():
    endpoints = {
        "single_sign_on_service": [(job["sso"], BINDING_HTTP_REDIRECT), (job["sso"] + "/post", BINDING_HTTP_POST)],
        "single_logout_service": [(job["slo"], BINDING_HTTP_REDIRECT), (job["slo"] + "/post", BINDING_HTTP_POST)],
    }
    if "artifact" in job:
        endpoints["artifact_resolution_service"] = [(job["artifact"], BINDING_SOAP, 0)]
    return {
        "entityid": job["entity_id"],
        "service": {"idp": {
            "name": "Example",
            "endpoints": endpoints,
            "policy": {"default": {"lifetime": {"minutes": 5}, "attribute_restrictions": None, "name_form": "urn:oasis:names:tc:SAML:2.0:attrname-format:unspecified"}},
            "want_authn_requests_signed": job.get("want_signed", False),
        }},
        "key_file": job["keys"] + "/" + job["key"] + ".key", "cert_file": job["keys"] + "/" + job["key"] + ".crt",
        "xmlsec_binary": "/usr/bin/xmlsec1", "delete_tmpfiles": True,
        "metadata": {"inline": [job["sp_metadata"]]} if "sp_metadata" in job else {},
    }


def text(x):
    return x.decode() if isinstance(x, bytes) else x


def incoming(name):
    if "url" in job:
        query = urllib.parse.parse_qs(urllib.parse.urlparse(job["url"]).query)
        flat = {key: values[0] for key, values in query.items()}
        return flat[name], flat.get("RelayState"), BINDING_HTTP_REDIRECT, flat
    return job["fields"][name], job["fields"].get("RelayState"), BINDING_HTTP_POST, job["fields"]


def name_id():
    return NameID(format=job.get("name_format", saml.NAMEID_FORMAT_PERSISTENT), text=job["user"])


def response(server, sp, acs, in_response_to):
    sign = job.get("sign", "assertion")
    answer = server.create_authn_response(
        identity=job.get("attributes", {}), in_response_to=in_response_to, destination=acs, sp_entity_id=sp, userid=job["user"], name_id=name_id(),
        authn={"class_ref": job.get("context", PASSWORDPROTECTEDTRANSPORT), "authn_auth": job["entity_id"]},
        sign_response=sign in ("response", "both"), sign_assertion=sign in ("assertion", "both"),
        encrypt_assertion=job.get("encrypt", False), encrypted_advice_attributes=False,
        sign_alg=ds.SIG_RSA_SHA256, digest_alg=ds.DIGEST_SHA256,
        session_not_on_or_after=in_a_while(seconds=job["session_seconds"]) if "session_seconds" in job else None)
    return text(str(answer))


def sent(field, message, destination, relay_state, post, signed):
    """A message on its way through a browser."""
    if post:
        made = {field: base64.b64encode(text(str(message)).encode()).decode()}
        if relay_state:
            made["RelayState"] = relay_state
        return {"fields": made, "action": destination}
    http = Server(config=IdPConfig().load(config())).apply_binding(BINDING_HTTP_REDIRECT, str(message), destination, relay_state or "", response=field == "SAMLResponse",
                             sign=signed, sigalg=ds.SIG_RSA_SHA256 if signed else None)
    return {"url": dict(http["headers"])["Location"]}


def signed_metadata(made):
    """The same with an end, signed by somebody of the federation."""
    from lxml import etree
    root = etree.fromstring(made.encode())
    root.set("validUntil", job["valid_until"])
    root.set("ID", "_metadata")
    if job.get("only_post"):
        for service in root.findall(".//{*}SingleSignOnService"):
            if service.get("Binding") != BINDING_HTTP_POST:
                service.getparent().remove(service)
    DS = "http://www.w3.org/2000/09/xmldsig#"
    method = "http://www.w3.org/2001/04/xmldsig-more#" + ("ecdsa-sha256" if "ec" in job["signer"] else "rsa-sha256")
    template = f'''<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/><ds:SignatureMethod Algorithm="{method}"/><ds:Reference URI="#_metadata"><ds:Transforms><ds:Transform Algorithm="{DS}enveloped-signature"/><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue/></ds:Reference></ds:SignedInfo><ds:SignatureValue/></ds:Signature>'''
    root.insert(0, etree.fromstring(template))
    with tempfile.NamedTemporaryFile(suffix=".xml") as file:
        file.write(etree.tostring(root))
        file.flush()
        done = subprocess.run(["xmlsec1", "--sign", "--privkey-pem", f'{job["keys"]}/{job["signer"]}.key', "--id-attr:ID",
                               "urn:oasis:names:tc:SAML:2.0:metadata:EntityDescriptor", file.name], capture_output=True, check=True)
    return done.stdout.decode()


def fields(xml, relay_state):
    made = {"SAMLResponse": base64.b64encode(xml.encode()).decode()}
    if relay_state:
        made["RelayState"] = relay_state
    return made


if job["do"] == "metadata":
    made = text(create_metadata_string(None, config=IdPConfig().load(config()), sign=False))
    out = {"metadata": made if "signer" not in job else signed_metadata(made)}
elif job["do"] == "answer":
    server = Server(config=IdPConfig().load(config()))
    message, relay_state, binding, flat = incoming("SAMLRequest")
    kwargs = {}
    if "SigAlg" in flat:
        kwargs = {"relay_state": relay_state, "sigalg": flat["SigAlg"], "signature": flat["Signature"]}
    request = server.parse_authn_request(message, binding, **kwargs)
    seen = request.message
    args = server.response_args(seen, [BINDING_HTTP_POST])
    xml = response(server, args["sp_entity_id"], args["destination"], args["in_response_to"])
    context = seen.requested_authn_context
    out = {
        "fields": fields(xml, relay_state), "action": args["destination"], "xml": xml,
        "request": {"id": seen.id, "signed": "Signature" in flat or seen.signature is not None, "force_authn": seen.force_authn == "true",
                    "context": [c.text for c in context.authn_context_class_ref] if context else [],
                    "name_id_format": seen.name_id_policy.format if seen.name_id_policy else None},
    }
elif job["do"] == "unsolicited":
    server = Server(config=IdPConfig().load(config()))
    xml = response(server, job["sp"], job["acs"], job.get("in_response_to"))
    out = {"fields": fields(xml, job.get("relay_state")), "action": job["acs"], "xml": xml}
elif job["do"] == "logout":
    server = Server(config=IdPConfig().load(config()))
    post = job.get("binding") == "post"
    identifier, request = server.create_logout_request(
        job["destination"], job["sp"], name_id=name_id(), session_indexes=job.get("session_index"),
        sign=post and job.get("signed", True), sign_alg=ds.SIG_RSA_SHA256, digest_alg=ds.DIGEST_SHA256)
    out = {"id": identifier, **sent("SAMLRequest", request, job["destination"], "state", post, job.get("signed", True))}
elif job["do"] == "logout_answer":
    server = Server(config=IdPConfig().load(config()))
    message, relay_state, binding, flat = incoming("SAMLRequest")
    request = server.parse_logout_request(message, binding, relay_state=relay_state, sigalg=flat.get("SigAlg"), signature=flat.get("Signature"))
    seen = request.message
    post = binding == BINDING_HTTP_POST
    answer = server.create_logout_response(seen, [binding], sign=post, sign_alg=ds.SIG_RSA_SHA256, digest_alg=ds.DIGEST_SHA256)
    out = {"name_id": seen.name_id.text, "session_index": [s.text for s in seen.session_index],
           "signed": "Signature" in flat or seen.signature is not None,
           **sent("SAMLResponse", answer, job["destination"], relay_state, post, True)}
elif job["do"] == "logout_end":
    server = Server(config=IdPConfig().load(config()))
    message, relay_state, binding, flat = incoming("SAMLResponse")
    # It remembers no requests of its own between two jobs.
    answer = server.parse_logout_request_response(message, binding)
    seen = answer.response
    subcode = seen.status.status_code.status_code
    out = {"in_response_to": seen.in_response_to, "status": seen.status.status_code.value, "subcode": subcode.value if subcode else None,
           "relay_state": relay_state, "signed": "Signature" in flat or seen.signature is not None}
json.dump(out, sys.stdout)
