/* gSOAP calls GetOrder through the gateway: URL HOST KIND NAME PASSWORD KEY CERTIFICATE; prints what came of it. */
#include <stdio.h>
#include <string.h>

#include "soapH.h"
#include "Orders.nsmap"
#include "wsseapi.h"

static const char *host;

/* The gateway knows its tenants by host. */
int (*usual)(struct soap *, const char *, const char *);

static int post_header(struct soap *soap, const char *name, const char *value)
{
  return usual(soap, name, name && value && !strcmp(name, "Host") ? host : value);
}

int main(int count, char **arguments)
{
  if (count < 8) return 2;
  const char *url = arguments[1], *kind = arguments[3], *name = arguments[4], *password = arguments[5];
  host = arguments[2];
  struct soap *soap = soap_new1(SOAP_XML_CANONICAL);
  soap_register_plugin(soap, soap_wsse);
  usual = soap->fposthdr;
  soap->fposthdr = post_header;
  if (!strcmp(kind, "text")) {
    soap_wsse_add_UsernameTokenText(soap, "User", name, password);
  } else if (!strcmp(kind, "digest")) {
    soap_wsse_add_UsernameTokenDigest(soap, "User", name, password);
  } else if (!strcmp(kind, "signed")) {
    FILE *file = fopen(arguments[6], "r");
    EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    if (file) fclose(file);
    file = fopen(arguments[7], "r");
    X509 *certificate = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    if (file) fclose(file);
    if (!key || !certificate
     || soap_wsse_add_Timestamp(soap, "Time", 60)
     || soap_wsse_add_BinarySecurityTokenX509(soap, "Token", certificate)
     || soap_wsse_add_KeyInfo_SecurityTokenReferenceX509(soap, "#Token")
     || soap_wsse_sign_body(soap, SOAP_SMD_SIGN_RSA_SHA256, key, 0)
     || soap_wsse_sign_only(soap, "Time Body")) {
      soap_print_fault(soap, stderr);
      return 2;
    }
  } else if (strcmp(kind, "none")) {
    return 2;
  }
  char *state = NULL;
  struct o__Order answer;
  struct o__GetOrder order = {7};
  if (soap_call___o__GetOrder(soap, url, "urn:example:orders/GetOrder", &order, &answer) == SOAP_OK) {
    state = answer.state;
    printf("ok %s\n", state ? state : "");
  } else {
    const char **code = soap_faultcode(soap);
    printf("fault %s\n", code && *code ? *code : "");
  }
  return 0;
}
