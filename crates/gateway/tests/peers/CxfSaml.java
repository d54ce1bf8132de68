import java.io.File;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.CallbackHandler;
import javax.xml.namespace.QName;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.transform.dom.DOMSource;
import jakarta.xml.ws.Dispatch;
import jakarta.xml.ws.Service;
import jakarta.xml.ws.soap.SOAPBinding;
import org.apache.cxf.endpoint.Client;
import org.apache.cxf.jaxws.DispatchImpl;
import org.apache.cxf.message.Message;
import org.apache.cxf.ws.security.wss4j.WSS4JOutInterceptor;
import org.apache.wss4j.common.crypto.Crypto;
import org.apache.wss4j.common.crypto.CryptoFactory;
import org.apache.wss4j.common.crypto.CryptoType;
import org.apache.wss4j.common.ext.WSPasswordCallback;
import org.apache.wss4j.common.saml.SAMLCallback;
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
import org.w3c.dom.Element;

/**
 * Apache CXF over WSS4J and OpenSAML. All stores are PKCS#12, with the password "never typed by anybody".
 *
 * call URL HOST KIND NAME CLIENT-STORE ISSUER-STORE: calls GetOrder with an assertion about NAME; prints what came of it. KIND is 20-holder,
 * 11-holder, 20-vouches or 11-vouches. The keys are called "client" and "issuer".
 * check TRUST-STORE FILE...: prints for each message which actions its header held to, or why it does not.
 */
public class CxfSaml {
    private static final String ORDERS = "urn:example:orders";
    private static final String PASSWORD = "never typed by anybody";
    private static final String BODY = "{Element}{http://schemas.xmlsoap.org/soap/envelope/}Body";
    private static final String TIMESTAMP = "{Element}{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd}Timestamp";

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

    private static Properties store(String file) {
        Properties properties = new Properties();
        properties.put("org.apache.wss4j.crypto.provider", "org.apache.wss4j.common.crypto.Merlin");
        properties.put("org.apache.wss4j.crypto.merlin.keystore.type", "PKCS12");
        properties.put("org.apache.wss4j.crypto.merlin.keystore.file", file);
        properties.put("org.apache.wss4j.crypto.merlin.keystore.password", PASSWORD);
        return properties;
    }

    /** Fills in the assertion that an issuer of our own makes. */
    private static void fill(SAMLCallback callback, String kind, String name, Crypto client, Crypto issuer) throws Exception {
        boolean newer = kind.startsWith("20");
        callback.setSamlVersion(newer ? Version.SAML_20 : Version.SAML_11);
        callback.setIssuer("https://gateway.north.example");
        String method = switch (kind.substring(3)) {
            case "holder" -> newer ? SAML2Constants.CONF_HOLDER_KEY : SAML1Constants.CONF_HOLDER_KEY;
            case "vouches" -> newer ? SAML2Constants.CONF_SENDER_VOUCHES : SAML1Constants.CONF_SENDER_VOUCHES;
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
        callback.setSignatureAlgorithm("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256");
        callback.setSignatureDigestAlgorithm("http://www.w3.org/2001/04/xmlenc#sha256");
    }

    private static void call(String url, String host, String kind, String name, String clientStore, String issuerStore) throws Exception {
        Service service = Service.create(new QName(ORDERS, "OrdersService"));
        QName port = new QName(ORDERS, "Orders");
        service.addPort(port, SOAPBinding.SOAP11HTTP_BINDING, url);
        Dispatch<DOMSource> dispatch = service.createDispatch(port, DOMSource.class, Service.Mode.PAYLOAD);
        dispatch.getRequestContext().put(Message.PROTOCOL_HEADERS, new HashMap<>(Map.of("Host", List.of(host))));
        Client client = ((DispatchImpl<DOMSource>) dispatch).getClient();

        Crypto ours = CryptoFactory.getInstance(store(clientStore)), theirs = CryptoFactory.getInstance(store(issuerStore));
        Map<String, Object> with = new HashMap<>();
        with.put("action", "Timestamp SAMLTokenSigned");
        with.put("user", "client");
        with.put("signatureUser", "client");
        with.put("signaturePropRefId", "keys");
        with.put("keys", store(clientStore));
        with.put("signatureKeyIdentifier", "DirectReference");
        with.put("signatureAlgorithm", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256");
        with.put("signatureDigestAlgorithm", "http://www.w3.org/2001/04/xmlenc#sha256");
        with.put("signatureParts", BODY + ";" + TIMESTAMP);
        with.put("passwordCallbackRef", (CallbackHandler) callbacks -> {
            for (Callback callback : callbacks) {
                ((WSPasswordCallback) callback).setPassword(PASSWORD);
            }
        });
        with.put("samlCallbackRef", (CallbackHandler) callbacks -> {
            for (Callback callback : callbacks) {
                try {
                    fill((SAMLCallback) callback, kind, name, ours, theirs);
                } catch (Exception error) {
                    throw new java.io.IOException(error);
                }
            }
        });
        client.getOutInterceptors().add(new WSS4JOutInterceptor(with));

        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        Document document = factory.newDocumentBuilder().newDocument();
        Element order = document.createElementNS(ORDERS, "o:GetOrder");
        order.appendChild(document.createElementNS(ORDERS, "o:id")).setTextContent("7");
        document.appendChild(order);
        try {
            org.w3c.dom.Node node = dispatch.invoke(new DOMSource(document)).getNode();
            System.out.println("ok " + (node instanceof Document whole ? whole.getDocumentElement() : node).getTextContent().trim());
        } catch (jakarta.xml.ws.soap.SOAPFaultException fault) {
            System.out.println("fault " + fault.getFault().getFaultCodeAsQName().getLocalPart() + " " + fault);
        } catch (jakarta.xml.ws.WebServiceException other) {
            System.out.println("refused " + other.getCause());
        }
    }

    private static void check(String trust, String file) throws Exception {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        Document message = factory.newDocumentBuilder().parse(new File(file));
        RequestData data = new RequestData();
        data.setSigVerCrypto(CryptoFactory.getInstance(store(trust)));
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
