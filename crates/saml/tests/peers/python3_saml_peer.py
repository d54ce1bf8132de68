"""python3-saml as the other side. A list of jobs comes as JSON on standard input, their answers go to
standard output as JSON."""
import json, sys
from urllib.parse import parse_qs, urlsplit

from onelogin.saml2.auth import OneLogin_Saml2_Auth
from onelogin.saml2.idp_metadata_parser import OneLogin_Saml2_IdPMetadataParser
from onelogin.saml2.logout_response import OneLogin_Saml2_Logout_Response
from onelogin.saml2.response import OneLogin_Saml2_Response
from onelogin.saml2.settings import OneLogin_Saml2_Settings

jobs = json.load(sys.stdin)
job = jobs[0]
RSA = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA = "http://www.w3.org/2001/04/xmlenc#sha256"


def pem(name):
    with open(f"{job['keys']}/{name}") as file:
        return "".join(line.strip() for line in file if "-----" not in line)


def settings():
    base = {
        "strict": True,
        "sp": {
            "entityId": job["sp"],
            "assertionConsumerService": {"url": job["acs"], "binding": "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"},
            "singleLogoutService": {"url": job["sp_slo"], "binding": "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"},
            "NameIDFormat": "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent",
            "x509cert": pem("sp-rsa2048.crt"), "privateKey": pem("sp-rsa2048.key"),
        },
        "security": {
            "authnRequestsSigned": True, "logoutRequestSigned": True, "signatureAlgorithm": RSA, "digestAlgorithm": SHA,
            "wantAssertionsSigned": job.get("want_assertions_signed", False), "wantMessagesSigned": job.get("want_messages_signed", False),
            "wantAssertionsEncrypted": job.get("want_encrypted", False), "requestedAuthnContext": False, "rejectDeprecatedAlgorithm": True,
        },
    }
    known = OneLogin_Saml2_IdPMetadataParser.parse(job["metadata"], entity_id=job["idp"]) if "metadata" in job else {"idp": {
        "entityId": job["idp"], "singleSignOnService": {"url": job["sso"]}, "singleLogoutService": {"url": job["slo"]}, "x509cert": pem("idp-rsa2048.crt")}}
    return {**base, "idp": known["idp"]}


def request_to(url):
    parts = urlsplit(url)
    return {"https": "on", "http_host": parts.netloc, "script_name": parts.path, "get_data": {}, "post_data": {}}


def run(do):
    if do == "metadata":
        return {"sp": OneLogin_Saml2_Settings(settings(), sp_validation_only=True).get_sp_metadata().decode()}
    if do == "read_response":
        response = OneLogin_Saml2_Response(OneLogin_Saml2_Settings(settings()), job["message"])
        response.is_valid(request_to(job["acs"]), job.get("request"), raise_exceptions=True)
        return {"name": response.get_nameid(), "attributes": response.get_attributes(), "index": response.get_session_index()}
    auth = OneLogin_Saml2_Auth(request_to(job["acs"]), settings())
    if do == "make_request":
        return {"url": auth.login(return_to="https://gw.example.com/a b?c=d&e", force_authn=True), "id": auth.get_last_request_id()}
    if do == "make_logout":
        url = auth.logout(return_to="https://gw.example.com/", name_id=job.get("name", "alice <&>"), session_index=job.get("index", "_s1"),
                          name_id_format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent")
        return {"url": url, "id": auth.get_last_request_id()}
    if do == "read_logout_answer":
        query = urlsplit(job["url"]).query
        get = {name: values[0] for name, values in parse_qs(query).items()}
        answer = OneLogin_Saml2_Logout_Response(OneLogin_Saml2_Settings(settings()), get["SAMLResponse"])
        known = {**request_to(job["sp_slo"]), "get_data": get, "query_string": query, "validate_signature_from_qs": True}
        answer.is_valid(known, job["request"], raise_exceptions=True)
        return {"done": answer.get_status() == "urn:oasis:names:tc:SAML:2.0:status:Success"}
    raise ValueError(do)


answers = []
for job in jobs:
    answers.append(run(job["do"]))
json.dump(answers, sys.stdout)
