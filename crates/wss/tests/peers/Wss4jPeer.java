// Apache WSS4J 1.6 as the other side: `make KEYS FOLDER` writes messages, `check KEYS FILE...` verifies some, a line each.
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.CallbackHandler;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.transform.TransformerFactory;
import javax.xml.transform.dom.DOMSource;
import javax.xml.transform.stream.StreamResult;
import org.apache.ws.security.WSConstants;
import org.apache.ws.security.WSEncryptionPart;
import org.apache.ws.security.WSPasswordCallback;
import org.apache.ws.security.WSSConfig;
import org.apache.ws.security.WSSecurityEngine;
import org.apache.ws.security.WSSecurityEngineResult;
import org.apache.ws.security.components.crypto.Crypto;
import org.apache.ws.security.components.crypto.Merlin;
import org.apache.ws.security.handler.RequestData;
import org.apache.ws.security.message.WSSecEncrypt;
import org.apache.ws.security.message.WSSecHeader;
import org.apache.ws.security.message.WSSecSignature;
import org.apache.ws.security.message.WSSecTimestamp;
import org.apache.ws.security.message.WSSecUsernameToken;
import org.apache.ws.security.util.WSSecurityUtil;
import org.w3c.dom.Document;
import org.w3c.dom.Element;

public final class Wss4jPeer {
    private static final String SOAP = "http://schemas.xmlsoap.org/soap/envelope/";
    private static final String MESSAGE = "<s:Envelope xmlns:s=\"" + SOAP + "\"><s:Body><o:GetOrder xmlns:o=\"urn:example:orders\">"
        + "<o:id>7</o:id></o:GetOrder></s:Body></s:Envelope>";
    private final Path keys;

    private Wss4jPeer(Path keys) {
        this.keys = keys;
    }

    public static void main(String[] arguments) throws Exception {
        WSSConfig.init();
        Wss4jPeer peer = new Wss4jPeer(Path.of(arguments[1]));
        if (arguments[0].equals("make")) {
            peer.make(Path.of(arguments[2]));
        } else {
            for (int file = 2; file < arguments.length; file++) {
                System.out.println(new File(arguments[file]).getName() + "\t" + peer.check(arguments[file]));
            }
        }
        System.exit(0);
    }

    private void make(Path folder) throws Exception {
        int[] references = {
            WSConstants.BST_DIRECT_REFERENCE, WSConstants.ISSUER_SERIAL, WSConstants.SKI_KEY_IDENTIFIER, WSConstants.THUMBPRINT_IDENTIFIER
        };
        String[] names = {"direct", "serial", "identifier", "thumbprint"};
        for (int which = 0; which < references.length; which++) {
            write(folder, "signed-" + names[which], signed(references[which], header()));
        }
        // The token is signed by way of its reference.
        write(folder, "signed-transform", signed(WSConstants.BST_DIRECT_REFERENCE, header(), "STRTransform"));
        WSSecHeader header = header();
        Document message = parse(new ByteArrayInputStream(MESSAGE.getBytes(StandardCharsets.UTF_8)));
        header.insertSecurityHeader(message);
        WSSecUsernameToken token = new WSSecUsernameToken();
        token.setUserInfo("alice", "wonderland");
        token.setPasswordType(WSConstants.PASSWORD_DIGEST);
        token.build(message, header);
        write(folder, "name-digest", message);

        header = header();
        message = signed(WSConstants.BST_DIRECT_REFERENCE, header);
        WSSecEncrypt encrypt = new WSSecEncrypt();
        encrypt.setUserInfo("server-rsa2048");
        encrypt.setKeyIdentifierType(WSConstants.ISSUER_SERIAL);
        encrypt.setSymmetricEncAlgorithm(WSConstants.AES_128_GCM);
        encrypt.setKeyEnc(WSConstants.KEYTRANSPORT_RSAOEP);
        encrypt.build(message, crypto(null, "server-rsa2048"), header);
        write(folder, "encrypted-gcm", message);
    }

    private static WSSecHeader header() {
        WSSecHeader header = new WSSecHeader();
        header.setMustUnderstand(true);
        return header;
    }

    private Document signed(int reference, WSSecHeader header, String... more) throws Exception {
        Document message = parse(new ByteArrayInputStream(MESSAGE.getBytes(StandardCharsets.UTF_8)));
        header.insertSecurityHeader(message);
        WSSecTimestamp timestamp = new WSSecTimestamp();
        timestamp.setTimeToLive(300);
        timestamp.build(message, header);
        WSSecSignature signature = new WSSecSignature();
        signature.setUserInfo("client-rsa2048", "peer");
        signature.setKeyIdentifierType(reference);
        signature.setSignatureAlgorithm("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256");
        signature.setDigestAlgo("http://www.w3.org/2001/04/xmlenc#sha256");
        List<WSEncryptionPart> parts = new ArrayList<>();
        parts.add(new WSEncryptionPart("Body", SOAP, "Element"));
        parts.add(new WSEncryptionPart("Timestamp", WSConstants.WSU_NS, "Element"));
        for (String name : more) {
            parts.add(new WSEncryptionPart(name, null, "Element"));
        }
        signature.setParts(parts);
        signature.build(message, crypto("client-rsa2048"), header);
        return message;
    }

    private String check(String file) {
        CallbackHandler passwords = callbacks -> {
            for (Callback callback : callbacks) {
                WSPasswordCallback asked = (WSPasswordCallback) callback;
                asked.setPassword(asked.getUsage() == WSPasswordCallback.USERNAME_TOKEN ? "wonderland" : "peer");
            }
        };
        try (FileInputStream in = new FileInputStream(file)) {
            WSSConfig config = WSSConfig.getNewInstance();
            WSSecurityEngine engine = new WSSecurityEngine();
            engine.setWssConfig(config);
            RequestData request = new RequestData();
            request.setWssConfig(config);
            request.setCallbackHandler(passwords);
            request.setSigCrypto(crypto(null, "client-rsa2048"));
            request.setDecCrypto(crypto("server-rsa2048"));
            request.setMsgContext(new HashMap<String, Object>());
            Document message = parse(in);
            Element header = WSSecurityUtil.getSecurityHeader(message, "");
            List<WSSecurityEngineResult> results = engine.processSecurityHeader(header, request);
            StringBuilder actions = new StringBuilder("accept");
            for (WSSecurityEngineResult result : results) {
                actions.append(' ').append(result.get(WSSecurityEngineResult.TAG_ACTION));
            }
            return actions.toString();
        } catch (Exception error) {
            return "reject " + String.valueOf(error).replace('\n', ' ');
        }
    }

    private Crypto crypto(String own, String... trusted) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        if (own != null) {
            store.setKeyEntry(own, privateKey(own), "peer".toCharArray(), new Certificate[] {certificate(own)});
        }
        for (String name : trusted) {
            store.setCertificateEntry(name, certificate(name));
        }
        Merlin crypto = new Merlin();
        crypto.setKeyStore(store);
        return crypto;
    }

    private PrivateKey privateKey(String name) throws Exception {
        String pem = Files.readString(keys.resolve(name + ".key")).replaceAll("-----[^-]+-----|\\s", "");
        return KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
    }

    private Certificate certificate(String name) throws Exception {
        try (FileInputStream in = new FileInputStream(keys.resolve(name + ".crt").toFile())) {
            return CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
    }

    private static Document parse(java.io.InputStream in) throws Exception {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        return factory.newDocumentBuilder().parse(in);
    }

    private static void write(Path folder, String name, Document message) throws Exception {
        File file = folder.resolve(name + ".xml").toFile();
        TransformerFactory.newInstance().newTransformer().transform(new DOMSource(message), new StreamResult(file));
    }
}
