import java.net.URI;
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
import org.apache.cxf.jaxws.DispatchImpl;
import org.apache.cxf.endpoint.Client;
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
        Service service = Service.create(new QName(ORDERS, "OrdersService"));
        QName port = new QName(ORDERS, "Orders");
        service.addPort(port, SOAPBinding.SOAP11HTTP_BINDING, url);
        Dispatch<DOMSource> dispatch = service.createDispatch(port, DOMSource.class, Service.Mode.PAYLOAD);
        dispatch.getRequestContext().put(Message.PROTOCOL_HEADERS, new HashMap<>(Map.of("Host", List.of(host))));
        Client client = ((DispatchImpl<DOMSource>) dispatch).getClient();

        Map<String, Object> with = new HashMap<>();
        with.put("user", kind.startsWith("signed") ? "client" : name);
        with.put("passwordCallbackRef", (CallbackHandler) callbacks -> {
            for (Callback callback : callbacks) {
                ((WSPasswordCallback) callback).setPassword(password);
            }
        });
        switch (kind) {
            case "text" -> { with.put("action", "UsernameToken"); with.put("passwordType", "PasswordText"); }
            case "digest" -> { with.put("action", "UsernameToken"); with.put("passwordType", "PasswordDigest"); }
            case "signed", "signed-streaming" -> {
                with.put("action", kind.equals("signed") ? "Timestamp Signature" : "Signature Timestamp");
                with.put("signatureKeyIdentifier", "DirectReference");
                with.put("signatureAlgorithm", "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256");
                with.put("signatureDigestAlgorithm", "http://www.w3.org/2001/04/xmlenc#sha256");
                with.put("signatureParts", "{Element}{http://schemas.xmlsoap.org/soap/envelope/}Body;{Element}{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd}Timestamp");
                Properties keys = new Properties();
                keys.put("org.apache.wss4j.crypto.provider", "org.apache.wss4j.common.crypto.Merlin");
                keys.put("org.apache.wss4j.crypto.merlin.keystore.type", "PKCS12");
                keys.put("org.apache.wss4j.crypto.merlin.keystore.file", store);
                keys.put("org.apache.wss4j.crypto.merlin.keystore.password", password);
                with.put("signaturePropRefId", "keys");
                with.put("keys", keys);
            }
            case "none" -> with.put("action", "NoSecurity");
            default -> throw new IllegalArgumentException(kind);
        }
        if (kind.endsWith("streaming")) {
            client.getOutInterceptors().add(new WSS4JStaxOutInterceptor(with));
        } else if (!kind.equals("none")) {
            client.getOutInterceptors().add(new WSS4JOutInterceptor(with));
        }

        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        Document document = factory.newDocumentBuilder().newDocument();
        Element order = document.createElementNS(ORDERS, "o:GetOrder");
        order.appendChild(document.createElementNS(ORDERS, "o:id")).setTextContent("7");
        document.appendChild(order);
        try {
            DOMSource answer = dispatch.invoke(new DOMSource(document));
            org.w3c.dom.Node node = answer.getNode();
            System.out.println("ok " + (node instanceof Document whole ? whole.getDocumentElement() : node).getTextContent().trim());
        } catch (jakarta.xml.ws.soap.SOAPFaultException fault) {
            System.out.println("fault " + fault.getFault().getFaultCodeAsQName().getLocalPart());
        } catch (jakarta.xml.ws.WebServiceException other) {
            System.out.println("refused " + other.getCause());
        }
        System.exit(0);
    }
}
