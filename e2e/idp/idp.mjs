// A real OpenID Connect provider on the loopback, for the end-to-end tests and the demo.
//
// People sign in as OAuth clients with the client-credentials grant and get a JWT access token for the
// gateway, with their groups inside. The first line on standard output is JSON and says where it listens.
//
//   node idp.mjs --people people.json [--port 0] [--audience URI] [--ttl SECONDS] [--token-lab]
//
// SIGHUP makes a new signing key and keeps one old key published, as a provider does when it rotates. With --token-lab, routes
// below /lab/ sign any claims with the provider's own keys (expired tokens, foreign audiences ...), rotate
// the keys and count JWKS fetches. They make it a provider for tests only.

import { readFileSync } from 'node:fs';
import http from 'node:http';
import { parseArgs } from 'node:util';

import * as jose from 'jose';
import Provider from 'oidc-provider';

const { values: options } = parseArgs({
  options: {
    people: { type: 'string' },
    port: { type: 'string', default: '0' },
    audience: { type: 'string', default: 'https://gateway.example' },
    ttl: { type: 'string', default: '900' },
    'token-lab': { type: 'boolean', default: false },
  },
});
if (!options.people) {
  console.error('idp: say who can sign in: --people FILE with {"name": {"secret": "...", "groups": [...]}}');
  process.exit(2);
}
const people = JSON.parse(readFileSync(options.people, 'utf8'));
const ttl = Number(options.ttl);

/** The signing keys, newest first. The provider signs with the first. */
const keys = [];
let jwksFetches = 0;
/** The request handler of the running provider; a rotation replaces the provider. */
let answer;

async function rotate(issuer) {
  const { privateKey } = await jose.generateKeyPair('RS256', { extractable: true, modulusLength: 2048 });
  const jwk = await jose.exportJWK(privateKey);
  keys.unshift({ ...jwk, use: 'sig', alg: 'RS256', kid: await jose.calculateJwkThumbprint(jwk) });
  keys.splice(2);
  answer = provider(issuer).callback();
  return keys[0].kid;
}

function provider(issuer) {
  return new Provider(issuer, {
    jwks: { keys: structuredClone(keys) },
    clients: Object.entries(people).map(([name, person]) => ({
      client_id: name,
      client_secret: person.secret,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_basic',
    })),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => options.audience,
        getResourceServerInfo: (_context, audience) => ({
          scope: '',
          audience,
          accessTokenFormat: 'jwt',
          accessTokenTTL: ttl,
          jwt: { sign: { alg: 'RS256' } },
        }),
        useGrantedResource: () => true,
      },
    },
    extraTokenClaims: (_context, token) => ({ groups: people[token.clientId]?.groups ?? [] }),
    ttl: { ClientCredentials: ttl },
  });
}

/** Signs whatever it is asked to: {"claims": {...}, "header": {...}, "foreign_key": bool}. */
async function mint({ claims, header = {}, foreign_key: foreign = false }) {
  const [newest] = keys;
  const key = foreign
    ? (await jose.generateKeyPair('RS256')).privateKey
    : await jose.importJWK(newest, 'RS256');
  return new jose.SignJWT(claims)
    .setProtectedHeader({ alg: 'RS256', kid: newest.kid, typ: 'at+jwt', ...header })
    .sign(key);
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString() || '{}');
}

async function lab(request, response, issuer) {
  let result;
  if (request.url === '/lab/rotate') result = { kid: await rotate(issuer) };
  else if (request.url === '/lab/mint') result = { token: await mint(await body(request)) };
  else if (request.url === '/lab/stats') result = { jwks_fetches: jwksFetches };
  else result = undefined;
  response.writeHead(result ? 200 : 404, { 'content-type': 'application/json' });
  response.end(JSON.stringify(result ?? { error: 'no such route' }));
}

const server = http.createServer();
server.listen(Number(options.port), '127.0.0.1', async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  await rotate(issuer);
  server.on('request', (request, response) => {
    if (options['token-lab'] && request.url.startsWith('/lab/')) {
      lab(request, response, issuer).catch((error) => {
        response.writeHead(400, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ error: String(error) }));
      });
      return;
    }
    if (request.url.startsWith('/jwks')) jwksFetches += 1;
    answer(request, response);
  });
  process.on('SIGHUP', async () => console.log(JSON.stringify({ rotated: await rotate(issuer) })));
  process.on('SIGTERM', () => process.exit(0));
  console.log(JSON.stringify({ ready: true, issuer }));
});
