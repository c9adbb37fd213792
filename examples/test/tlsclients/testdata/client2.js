// client2.js HOST PORT CERT N: client.js over HTTP/2, to /node-h2/CLIENT/REQUEST. A client connects again where its
// connection is over, and sends nothing twice.
const fs = require('fs'), http2 = require('http2');
const [host, port, cert, clients] = process.argv.slice(2);
const half = 'baton'.repeat(100), ca = fs.readFileSync(cert);

function run(i, n, session) {
  const version = i % 2 ? 'TLSv1.2' : 'TLSv1.3', path = `/node-h2/${i}/${n}`;
  if (!session || session.closed || session.destroyed) {
    session = http2.connect(`https://${host}:${port}`, { ca, minVersion: version, maxVersion: version });
    session.on('error', () => {}); // each request has it, too
  }
  let over = false;
  const done = (status, said) => {
    if (over) return;
    over = true;
    if (status === 410) return session.close();
    process.stdout.write(status === 200 ? said : `failed ${path}: ${status} ${said}\n`);
    setTimeout(() => run(i, n + 1, session), Math.random() * 200);
  };
  const req = session.request({ ':method': 'POST', ':path': path, 'content-length': 1000 });
  let said = '', status = 0;
  req.on('response', head => status = head[':status']).on('data', part => said += part);
  req.on('end', () => done(status, said)).on('error', e => done(0, e)).on('close', () => done(0, 'closed'));
  req.write(half);
  setImmediate(() => req.end(half));
}

for (let i = 0; i < clients; i++) run(i, 0);
