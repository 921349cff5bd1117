// An OpenID provider on a free port of the loopback address, for tests. It prints
// its port, and obeys lines on its input: "rotate" signs with a new key and goes on
// publishing the old ones, "forget" publishes the newest only. It ends with its input.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { Provider } from 'oidc-provider';

const scope = 'dcv-session-manager/sm_scope';
const algorithm = process.argv[2] ?? 'RS256';
let keys = [];

function newKey() {
  const kind = algorithm.startsWith('ES') ? ['ec', { namedCurve: 'P-256' }] : ['rsa', { modulusLength: 2048 }];
  const jwk = generateKeyPairSync(...kind).privateKey.export({ format: 'jwk' });
  return { ...jwk, kid: randomUUID(), use: 'sig', alg: algorithm };
}

function callback(issuer) {
  const provider = new Provider(issuer, {
    jwks: { keys },
    routes: { jwks: '/.well-known/jwks.json' },
    clients: [{
      client_id: 'portal', client_secret: 'not-a-secret', grant_types: ['client_credentials'],
      response_types: [], redirect_uris: [], scope, id_token_signed_response_alg: algorithm,
    }],
    scopes: [scope],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:dcv',
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          scope, audience: 'urn:dcv', accessTokenTTL: 600, accessTokenFormat: 'jwt', jwt: { sign: { alg: algorithm } },
        }),
      },
    },
  });
  return provider.callback();
}

keys = [newKey()];
const server = createServer((request, response) => answer(request, response));
let answer;
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  const issuer = `http://127.0.0.1:${port}`;
  answer = callback(issuer);
  console.log(`port ${port}`);
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    if (line === 'rotate') keys = [newKey(), ...keys];
    if (line === 'forget') keys = keys.slice(0, 1);
    answer = callback(issuer);
    console.log('done');
  });
  lines.on('close', () => process.exit(0));
});
