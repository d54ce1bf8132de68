import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.CallbackHandler;
import org.apache.cxf.headers.Header;
import org.apache.cxf.ws.security.wss4j.WSS4JOutInterceptor;
import org.apache.wss4j.common.saml.SAMLCallback;
import org.w3c.dom.Element;

/**
 * Apache CXF with OpenSAML gets a header at one service and takes it to another: URL-A HOST-A URL-B HOST-B PASSWORD KEYSTORE, as CxfCall. A answers
 * with an assertion that names our key (confirm = "holder-of-key", holder = "message"); B knows A's certificate. Prints what A and B said, and what
 * B says to an assertion that was changed on the way.
 */
public class CxfMultistep {
    private static final String SAML = "urn:oasis:names:tc:SAML:2.0:assertion";

    public static void main(String[] arguments) throws Exception {
        String password = arguments[4], store = arguments[5];
        Map<String, Object> with = new HashMap<>();
        CxfCall.sign(with, store, password);
        with.put("action", "Timestamp Signature");
        Element assertion = assertion(CxfCall.call(arguments[0], arguments[1], new WSS4JOutInterceptor(with)));

        with.put("action", "Timestamp SAMLTokenSigned");
        with.put("signatureUser", "client");
        with.put("samlCallbackRef", (CallbackHandler) callbacks -> {
            for (Callback callback : callbacks) {
                ((SAMLCallback) callback).setAssertionElement(assertion);
            }
        });
        CxfCall.call(arguments[2], arguments[3], new WSS4JOutInterceptor(with));
        assertion.getElementsByTagNameNS(SAML, "NameID").item(0).setTextContent("somebody else");
        CxfCall.call(arguments[2], arguments[3], new WSS4JOutInterceptor(with));
        System.exit(0);
    }

    /** The assertion in the headers of an answer. */
    private static Element assertion(List<Header> headers) {
        for (Header header : headers) {
            if (header.getObject() instanceof Element security && security.getElementsByTagNameNS(SAML, "Assertion").item(0) instanceof Element found) {
                return found;
            }
        }
        throw new IllegalStateException("A answered without an assertion");
    }
}
