// client.js HOST PORT CERT N: N clients POST to /node/CLIENT/REQUEST, with an agent each that keeps one connection,
// until the answer is 410. Each prints its answers, or why there is none.
const fs = require('fs'), https = require('https');
const [host, port, cert, clients] = process.argv.slice(2);
const half = 'baton'.repeat(100), ca = fs.readFileSync(cert);

function run(i, n, agent) {
  const path = `/node/${i}/${n}`;
  const done = (status, said) => {
    if (status === 410) return agent.destroy();
    process.stdout.write(status === 200 ? said : `failed ${path}: ${status} ${said}\n`);
    setTimeout(() => run(i, n + 1, agent), Math.random() * 200);
  };
  const req = https.request({ agent, host, port, path, method: 'POST', headers: { 'Content-Length': 1000 } }, res => {
    let said = '';
    res.on('data', part => said += part).on('end', () => done(res.statusCode, said)).on('error', e => done(0, e));
  });
  req.on('error', e => done(0, e));
  req.write(half);
  setImmediate(() => req.end(half));
}

for (let i = 0; i < clients; i++) {
  const version = i % 2 ? 'TLSv1.2' : 'TLSv1.3';
  run(i, 0, new https.Agent({ keepAlive: true, maxSockets: 1, ca, minVersion: version, maxVersion: version }));
}
