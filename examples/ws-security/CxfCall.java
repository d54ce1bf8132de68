import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.CallbackHandler;
import javax.xml.namespace.QName;
import javax.xml.transform.dom.DOMSource;
import javax.xml.parsers.DocumentBuilderFactory;
import jakarta.xml.ws.Dispatch;
import jakarta.xml.ws.Service;
import jakarta.xml.ws.soap.SOAPBinding;
import org.apache.cxf.headers.Header;
import org.apache.cxf.interceptor.Interceptor;
import org.apache.cxf.jaxws.DispatchImpl;
import org.apache.cxf.message.Message;
import org.apache.cxf.ws.security.wss4j.WSS4JOutInterceptor;
import org.apache.cxf.ws.security.wss4j.WSS4JStaxOutInterceptor;
import org.apache.wss4j.common.ext.WSPasswordCallback;
import org.w3c.dom.Document;
import org.w3c.dom.Element;

/**
 * Apache CXF over WSS4J calls GetOrder through the gateway: URL HOST KIND NAME PASSWORD KEYSTORE; prints what came of it. KIND is text, digest,
 * signed (over a tree), signed-streaming or none; the key in KEYSTORE (PKCS#12) is called "client", its password is PASSWORD.
 */
public class CxfCall {
    private static final String ORDERS = "urn:example:orders";

    public static void main(String[] arguments) throws Exception {
        String url = arguments[0], host = arguments[1], kind = arguments[2], name = arguments[3], password = arguments[4], store = arguments[5];
        Map<String, Object> with = new HashMap<>();
        switch (kind) {
            case "text" -> { with.put("action", "UsernameToken"); with.put("passwordType", "PasswordText"); }
            case "digest" -> { with.put("action", "UsernameToken"); with.put("passwordType", "PasswordDigest"); }
            case "signed" -> with.put("action", "Timestamp Signature");
            case "signed-streaming" -> with.put("action", "Signature Timestamp");
            case "none" -> { }
            default -> throw new IllegalArgumentException(kind);
        }
        if (kind.startsWith("signed")) {
            sign(with, store, password);
        } else {
            with.put("user", name);
            answer(with, password);
        }
        call(url, host, kind.equals("none") ? null : kind.endsWith("streaming") ? new WSS4JStaxOutInterceptor(with) : new WSS4JOutInterceptor(with));
        System.exit(0);
    }

    /** Signs Body and Timestamp with the key "client" of a store. */
    static void sign(Map<String, Object> with, String store, String password) {
        with.put("user", "client");
        with.put("signatureKeyIdentifier", "DirectReference");
        with.put("signatureAlgorithm", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256");
        with.put("signatureDigestAlgorithm", "http://www.w3.org/2001/04/xmlenc#sha256");
        with.put("signatureParts", "{Element}{http://schemas.xmlsoap.org/soap/envelope/}Body;{Element}{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd}Timestamp");
        with.put("signaturePropRefId", "keys");
        with.put("keys", keys(store, password));
        answer(with, password);
    }

    /** What WSS4J has to know of a store of keys. */
    static Properties keys(String store, String password) {
        Properties keys = new Properties();
        keys.put("org.apache.wss4j.crypto.provider", "org.apache.wss4j.common.crypto.Merlin");
        keys.put("org.apache.wss4j.crypto.merlin.keystore.type", "PKCS12");
        keys.put("org.apache.wss4j.crypto.merlin.keystore.file", store);
        keys.put("org.apache.wss4j.crypto.merlin.keystore.password", password);
        return keys;
    }

    /** Gives WSS4J the password that it asks for. */
    private static void answer(Map<String, Object> with, String password) {
        with.put("passwordCallbackRef", (CallbackHandler) callbacks -> {
            for (Callback callback : callbacks) {
                ((WSPasswordCallback) callback).setPassword(password);
            }
        });
    }

    /** Calls GetOrder with what an interceptor puts into the header, if there is one, and prints what came of it. Returns the headers of the answer. */
    @SuppressWarnings("unchecked")
    static List<Header> call(String url, String host, Interceptor<? extends Message> security) throws Exception {
        Service service = Service.create(new QName(ORDERS, "OrdersService"));
        QName port = new QName(ORDERS, "Orders");
        service.addPort(port, SOAPBinding.SOAP11HTTP_BINDING, url);
        Dispatch<DOMSource> dispatch = service.createDispatch(port, DOMSource.class, Service.Mode.PAYLOAD);
        dispatch.getRequestContext().put(Message.PROTOCOL_HEADERS, new HashMap<>(Map.of("Host", List.of(host))));
        if (security != null) {
            ((DispatchImpl<DOMSource>) dispatch).getClient().getOutInterceptors().add(security);
        }

        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        Document document = factory.newDocumentBuilder().newDocument();
        Element order = document.createElementNS(ORDERS, "o:GetOrder");
        order.appendChild(document.createElementNS(ORDERS, "o:id")).setTextContent("7");
        document.appendChild(order);
        try {
            org.w3c.dom.Node node = dispatch.invoke(new DOMSource(document)).getNode();
            System.out.println("ok " + (node instanceof Document whole ? whole.getDocumentElement() : node).getTextContent().trim());
            return (List<Header>) dispatch.getResponseContext().getOrDefault(Header.HEADER_LIST, List.of());
        } catch (jakarta.xml.ws.soap.SOAPFaultException fault) {
            System.out.println("fault " + fault.getFault().getFaultCodeAsQName().getLocalPart());
        } catch (jakarta.xml.ws.WebServiceException other) {
            System.out.println("refused " + other.getCause());
        }
        return List.of();
    }
}
