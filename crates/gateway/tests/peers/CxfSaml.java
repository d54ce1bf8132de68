import java.io.File;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.CallbackHandler;
import javax.xml.parsers.DocumentBuilder;
import javax.xml.parsers.DocumentBuilderFactory;
import org.apache.cxf.ws.security.wss4j.WSS4JOutInterceptor;
import org.apache.wss4j.common.crypto.Crypto;
import org.apache.wss4j.common.crypto.CryptoFactory;
import org.apache.wss4j.common.crypto.CryptoType;
import org.apache.wss4j.common.saml.SAMLCallback;
import org.apache.wss4j.common.saml.SamlAssertionWrapper;
import org.apache.wss4j.common.saml.bean.AudienceRestrictionBean;
import org.apache.wss4j.common.saml.bean.AuthenticationStatementBean;
import org.apache.wss4j.common.saml.bean.ConditionsBean;
import org.apache.wss4j.common.saml.bean.KeyInfoBean;
import org.apache.wss4j.common.saml.bean.SubjectBean;
import org.apache.wss4j.common.saml.bean.Version;
import org.apache.wss4j.common.saml.builder.SAML1Constants;
import org.apache.wss4j.common.saml.builder.SAML2Constants;
import org.apache.wss4j.dom.WSDataRef;
import org.apache.wss4j.dom.engine.WSSecurityEngine;
import org.apache.wss4j.dom.engine.WSSecurityEngineResult;
import org.apache.wss4j.dom.handler.RequestData;
import org.w3c.dom.Document;

/**
 * Apache CXF over WSS4J and OpenSAML. All stores are PKCS#12, with the password "never typed by anybody".
 *
 * call URL HOST KIND NAME CLIENT-STORE ISSUER-STORE: calls GetOrder with an assertion about NAME; prints what came of it. KIND is 20- or 11-, and
 * holder, vouches, bearer (which the issuer signed beforehand) or bearer-sha1 (which WSS4J signs on the way). The keys are called "client" and
 * "issuer".
 * check TRUST-STORE FILE...: prints for each message which actions its header held to, or why it does not.
 */
public class CxfSaml {
    private static final String PASSWORD = "never typed by anybody";
    private static final String RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
    private static final String SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256";

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("call")) {
            call(arguments[1], arguments[2], arguments[3], arguments[4], arguments[5], arguments[6]);
        } else {
            for (int at = 2; at < arguments.length; at++) {
                check(arguments[1], arguments[at]);
            }
        }
        System.exit(0);
    }

    private static Crypto store(String file) throws Exception {
        return CryptoFactory.getInstance(CxfCall.keys(file, PASSWORD));
    }

    private static DocumentBuilder builder() throws Exception {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        return factory.newDocumentBuilder();
    }

    /** Fills in the assertion that an issuer of our own makes. */
    private static void fill(SAMLCallback callback, String kind, String name, Crypto client, Crypto issuer) throws Exception {
        boolean newer = kind.startsWith("20");
        callback.setSamlVersion(newer ? Version.SAML_20 : Version.SAML_11);
        callback.setIssuer("https://gateway.north.example");
        String method = switch (kind.substring(3)) {
            case "holder" -> newer ? SAML2Constants.CONF_HOLDER_KEY : SAML1Constants.CONF_HOLDER_KEY;
            case "vouches" -> newer ? SAML2Constants.CONF_SENDER_VOUCHES : SAML1Constants.CONF_SENDER_VOUCHES;
            case "bearer", "bearer-sha1" -> newer ? SAML2Constants.CONF_BEARER : SAML1Constants.CONF_BEARER;
            default -> throw new IllegalArgumentException(kind);
        };
        SubjectBean subject = new SubjectBean(name, null, method);
        if (kind.endsWith("holder")) {
            CryptoType alias = new CryptoType(CryptoType.TYPE.ALIAS);
            alias.setAlias("client");
            KeyInfoBean key = new KeyInfoBean();
            key.setCertificate(client.getX509Certificates(alias)[0]);
            key.setCertIdentifer(KeyInfoBean.CERT_IDENTIFIER.X509_CERT);
            subject.setKeyInfo(key);
        }
        callback.setSubject(subject);
        AuthenticationStatementBean authenticated = new AuthenticationStatementBean();
        authenticated.setSubject(subject);
        authenticated.setAuthenticationMethod("Password");
        callback.setAuthenticationStatementData(List.of(authenticated));
        ConditionsBean conditions = new ConditionsBean();
        conditions.setTokenPeriodMinutes(4);
        AudienceRestrictionBean audience = new AudienceRestrictionBean();
        audience.getAudienceURIs().add("urn:north:orders");
        conditions.setAudienceRestrictions(List.of(audience));
        callback.setConditions(conditions);
        callback.setSignAssertion(true);
        callback.setIssuerCrypto(issuer);
        callback.setIssuerKeyName("issuer");
        callback.setIssuerKeyPassword(PASSWORD);
        callback.setSignatureAlgorithm(RSA_SHA256);
        callback.setSignatureDigestAlgorithm(SHA256);
        if (kind.endsWith("bearer")) {
            // As a security token service hands it over: the action that puts in a bearer assertion signs over SHA-1, whatever it is told.
            SamlAssertionWrapper assertion = new SamlAssertionWrapper(callback);
            assertion.signAssertion("issuer", PASSWORD, issuer, false, "http://www.w3.org/2001/10/xml-exc-c14n#", RSA_SHA256, SHA256);
            callback.setAssertionElement(assertion.toDOM(builder().newDocument()));
            callback.setSignAssertion(false);
        }
    }

    private static void call(String url, String host, String kind, String name, String clientStore, String issuerStore) throws Exception {
        Crypto ours = store(clientStore), theirs = store(issuerStore);
        Map<String, Object> with = new HashMap<>();
        CxfCall.sign(with, clientStore, PASSWORD);
        with.put("action", "Timestamp " + (kind.contains("bearer") ? "SAMLTokenUnsigned" : "SAMLTokenSigned"));
        with.put("signatureUser", "client");
        with.put("samlCallbackRef", (CallbackHandler) callbacks -> {
            for (Callback callback : callbacks) {
                try {
                    fill((SAMLCallback) callback, kind, name, ours, theirs);
                } catch (Exception error) {
                    throw new java.io.IOException(error);
                }
            }
        });
        CxfCall.call(url, host, new WSS4JOutInterceptor(with));
    }

    private static void check(String trust, String file) throws Exception {
        Document message = builder().parse(new File(file));
        RequestData data = new RequestData();
        data.setSigVerCrypto(store(trust));
        data.setAudienceRestrictions(List.of("urn:north:orders"));
        data.setMsgContext(new HashMap<String, Object>());
        StringBuilder held = new StringBuilder(new File(file).getName());
        try {
            for (WSSecurityEngineResult result : new WSSecurityEngine().processSecurityHeader(message, data).getResults()) {
                held.append(' ').append(result.get(WSSecurityEngineResult.TAG_ACTION));
                List<?> covered = (List<?>) result.get(WSSecurityEngineResult.TAG_DATA_REF_URIS);
                for (Object part : covered == null ? List.of() : covered) {
                    held.append(' ').append(((WSDataRef) part).getName().getLocalPart());
                }
            }
            System.out.println(held);
        } catch (org.apache.wss4j.common.ext.WSSecurityException error) {
            System.out.println(held + " refused: " + error);
        }
    }
}
