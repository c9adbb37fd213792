import java.io.*;
import java.net.URI;
import java.net.http.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicBoolean;
import javax.net.ssl.*;

/**
 * Client HOST PORT CERT N: N clients POST to /java/CLIENT/REQUEST, on a connection each, until the answer is 410. Each
 * prints its answers, or why there is none.
 */
class Client {
    static final byte[] body = "baton".repeat(200).getBytes();

    public static void main(String[] args) throws Exception {
        var trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (var in = new FileInputStream(args[2])) {
            trusted.setCertificateEntry("service", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        var managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(trusted);
        for (int i = 0; i < Integer.parseInt(args[3]); i++) {
            int client = i;
            var ssl = SSLContext.getInstance("TLS");
            ssl.init(null, managers.getTrustManagers(), null);
            new Thread(() -> run(ssl, "https://" + args[0] + ":" + args[1], client)).start();
        }
    }

    static void run(SSLContext ssl, String url, int i) {
        var only = new SSLParameters();
        only.setProtocols(new String[] {i % 2 == 1 ? "TLSv1.2" : "TLSv1.3"});
        var http = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).sslContext(ssl).sslParameters(only).build();
        for (int n = 0;; n++) {
            String path = "/java/" + i + "/" + n, said;
            try {
                var read = new AtomicBoolean();
                var once = HttpRequest.BodyPublishers.ofInputStream(
                    () -> read.getAndSet(true) ? null : new ByteArrayInputStream(body));
                var asked = HttpRequest.newBuilder(URI.create(url + path)).POST(once).build();
                var answer = http.send(asked, HttpResponse.BodyHandlers.ofString());
                if (answer.statusCode() == 410) return;
                said = answer.statusCode() == 200 ? answer.body() : "failed " + path + ": " + answer.statusCode() + answer.body();
            } catch (IOException | InterruptedException e) {
                said = "failed " + path + ": " + e;
            }
            System.out.println(said.strip());
            try {
                Thread.sleep(ThreadLocalRandom.current().nextInt(200));
            } catch (InterruptedException e) {
                return;
            }
        }
    }
}
