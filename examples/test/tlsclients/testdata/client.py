# client.py LIBRARY HOST PORT CERT N: N threads POST to /LIBRARY/THREAD/REQUEST on a connection each, until the answer
# is 410. Each prints its answers, or why there is none.
import http.client, itertools, random, ssl, sys, threading, time

library, host, port, cert, clients = sys.argv[1:]
half = b"baton" * 100


class HTTPClient:
    def __init__(self, context):
        self.conn = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)

    def ask(self, path):
        try:
            self.conn.request("POST", path, iter([half, half]), {"Content-Length": "1000"})
            answer = self.conn.getresponse()
            return answer.status, answer.read().decode()
        except Exception:
            self.conn.close()
            raise


class Requests:
    def __init__(self, context):
        from requests import Session, adapters

        context.check_hostname = False  # urllib3 looks at the name; urllib3 1.26 can't have this too, for an address

        class Adapter(adapters.HTTPAdapter):
            def init_poolmanager(self, *args, **kwargs):
                super().init_poolmanager(*args, ssl_context=context, **kwargs)

        self.session = Session()
        self.session.mount("https://", Adapter(max_retries=0))

    def ask(self, path):
        body = (part for part in [half, half])
        answer = self.session.post(f"https://{host}:{port}{path}", data=body, verify=cert, timeout=60)
        return answer.status_code, answer.text


def run(i):
    context = ssl.create_default_context(cafile=cert)
    version = ssl.TLSVersion.TLSv1_2 if i % 2 else ssl.TLSVersion.TLSv1_3
    context.minimum_version = context.maximum_version = version
    client = {"http.client": HTTPClient, "requests": Requests}[library](context)
    for n in itertools.count():
        path = f"/{library}/{i}/{n}"
        try:
            status, said = client.ask(path)
        except Exception as e:
            status, said = 0, repr(e)
        if status == 410:
            return
        sys.stdout.write(said if status == 200 else f"failed {path}: {status} {said}\n")
        sys.stdout.flush()
        time.sleep(random.uniform(0, 0.2))


for i in range(int(clients)):
    threading.Thread(target=run, args=(i,)).start()
