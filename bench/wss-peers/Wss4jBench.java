import java.io.ByteArrayInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.stream.XMLInputFactory;
import javax.xml.stream.XMLStreamReader;
import org.apache.wss4j.common.crypto.Crypto;
import org.apache.wss4j.common.crypto.CryptoFactory;
import org.apache.wss4j.dom.engine.WSSConfig;
import org.apache.wss4j.dom.engine.WSSecurityEngine;
import org.apache.wss4j.dom.handler.RequestData;
import org.apache.wss4j.stax.ext.WSSConstants;
import org.apache.wss4j.stax.ext.WSSSecurityProperties;
import org.apache.wss4j.stax.setup.InboundWSSec;
import org.apache.wss4j.stax.setup.WSSec;
import org.w3c.dom.Document;

/** WSS4J verifies a signed message again and again: TRUST.p12 PASSWORD SECONDS FILE...; prints "FILE KIND microseconds", the median. */
public final class Wss4jBench {
    private interface Work {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        WSSConfig.init();
        Properties trust = new Properties();
        trust.put("org.apache.wss4j.crypto.provider", "org.apache.wss4j.common.crypto.Merlin");
        trust.put("org.apache.wss4j.crypto.merlin.truststore.type", "PKCS12");
        trust.put("org.apache.wss4j.crypto.merlin.truststore.file", arguments[0]);
        trust.put("org.apache.wss4j.crypto.merlin.truststore.password", arguments[1]);
        Crypto crypto = CryptoFactory.getInstance(trust);
        long seconds = Long.parseLong(arguments[2]);

        WSSecurityEngine engine = new WSSecurityEngine();
        DocumentBuilderFactory documents = DocumentBuilderFactory.newInstance();
        documents.setNamespaceAware(true);
        WSSSecurityProperties properties = new WSSSecurityProperties();
        
        properties.loadSignatureVerificationKeystore(Path.of(arguments[0]).toUri().toURL(), arguments[1].toCharArray());
        // The rules of the Basic Security Profile cost nothing and refuse what is good.
        properties.setDisableBSPEnforcement(true);
        InboundWSSec inbound = WSSec.getInboundWSSec(properties);
        XMLInputFactory readers = XMLInputFactory.newInstance();

        for (int file = 3; file < arguments.length; file++) {
            byte[] octets = Files.readAllBytes(Path.of(arguments[file]));
            String name = Path.of(arguments[file]).getFileName().toString();
            report(name, "wss4j-dom", seconds, () -> {
                Document message = documents.newDocumentBuilder().parse(new ByteArrayInputStream(octets));
                RequestData request = new RequestData();
                request.setSigVerCrypto(crypto);
                request.setDisableBSPEnforcement(true);
                request.setWssConfig(engine.getWssConfig());
                // The parts are all there: two references, of which the caller would have to ask for more than we do here.
                if (engine.processSecurityHeader(message, request).getResults().isEmpty()) {
                    throw new IllegalStateException("nothing was verified");
                }
            });
            report(name, "wss4j-streaming", seconds, () -> {
                XMLStreamReader reader = inbound.processInMessage(readers.createXMLStreamReader(new ByteArrayInputStream(octets)), new ArrayList<>(), event -> { });
                while (reader.hasNext()) {
                    reader.next();
                }
            });
        }
        System.exit(0);
    }

    private static void report(String name, String kind, long seconds, Work work) throws Exception {
        long warm = System.nanoTime() + seconds * 1_000_000_000L;
        while (System.nanoTime() < warm) {
            work.run();
        }
        List<Long> times = new ArrayList<>();
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        while (System.nanoTime() < end) {
            long begin = System.nanoTime();
            work.run();
            times.add(System.nanoTime() - begin);
        }
        long[] sorted = times.stream().mapToLong(Long::longValue).sorted().toArray();
        System.out.printf("%s %s %.0f%n", name, kind, sorted[sorted.length / 2] / 1000.0);
    }
}
