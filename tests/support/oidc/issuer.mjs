// An issuer inside, over TLS: node issuer.mjs ISSUER ADDRESS PORT CERTIFICATE KEY FOLDER
//
// Its signing key is named by the file FOLDER/kid and made when it is first named; the process reads it at start alone, so
// that a restart rotates keys. Environment: ACCESS_TTL in seconds, AUDIENCE.
import fs from 'node:fs';
import https from 'node:https';
import { generateKeyPairSync } from 'node:crypto';
import { createLocalJWKSet, jwtVerify } from 'jose';
import Provider, { errors } from 'oidc-provider';

const [issuer, address, port, certificate, key, folder] = process.argv.slice(2);
const audience = process.env.AUDIENCE || 'urn:edge:uc';
const ttl = Number(process.env.ACCESS_TTL || 300);

const kids = fs.readFileSync(`${folder}/kid`, 'utf8').trim().split(' ');
const keys = kids.map((kid) => {
  const file = `${folder}/jwk-${kid}.json`;
  if (!fs.existsSync(file)) {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    fs.writeFileSync(file, JSON.stringify({ ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' }));
  }
  return JSON.parse(fs.readFileSync(file, 'utf8'));
});

// Whatever is stored is kept in a file, so that a restart forgets no grant.
const store = `${folder}/store.json`;
const all = fs.existsSync(store) ? new Map(JSON.parse(fs.readFileSync(store, 'utf8'))) : new Map();
const save = () => fs.writeFileSync(store, JSON.stringify([...all]));
class FileAdapter {
  constructor(kind) { this.kind = kind; }
  name(id) { return `${this.kind}:${id}`; }
  async upsert(id, payload, expiresIn) {
    all.set(this.name(id), { ...payload, until: expiresIn ? Date.now() + expiresIn * 1000 : undefined });
    save();
  }
  async find(id) {
    const found = all.get(this.name(id));
    return found && (!found.until || found.until > Date.now()) ? found : undefined;
  }
  async findByUid(uid) { return [...all.values()].find((one) => one.uid === uid); }
  async findByUserCode() { return undefined; }
  async consume(id) { all.get(this.name(id)).consumed = Math.floor(Date.now() / 1000); save(); }
  async destroy(id) { all.delete(this.name(id)); save(); }
  async revokeByGrantId(grantId) {
    for (const [name, one] of all) if (one.grantId === grantId) all.delete(name);
    save();
  }
}

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const inside = ['urn:edge:voicemail'];

const provider = new Provider(issuer, {
  adapter: FileAdapter,
  jwks: { keys },
  clients: [
    {
      client_id: 'phone', token_endpoint_auth_method: 'none', application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
      redirect_uris: ['http://127.0.0.1/callback'],
    },
    // What edge-c is to it, to have tokens exchanged.
    {
      client_id: 'edge-c', client_secret: 'a secret for tests alone', grant_types: [EXCHANGE], response_types: [], redirect_uris: [],
    },
  ],
  scopes: ['openid', 'offline_access', 'uc'],
  pkce: { required: () => true, methods: ['S256'] },
  features: {
    devInteractions: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'uc', audience, accessTokenFormat: 'jwt', accessTokenTTL: ttl, jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  issueRefreshToken: async (ctx, client, code) => client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
  rotateRefreshToken: true,
  ttl: { AccessToken: ttl, AuthorizationCode: 60, Grant: 3600, IdToken: 60, Interaction: 600, RefreshToken: 3600, Session: 3600 },
  findAccount: async (ctx, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
  cookies: { keys: ['a key for tests alone'] },
});
// RFC 8693: a user's token becomes one for a service inside that is known here.
const published = createLocalJWKSet({ keys: keys.map(({ kty, n, e, kid, use, alg }) => ({ kty, n, e, kid, use, alg })) });
provider.registerGrantType(EXCHANGE, async (ctx, next) => {
  const { params, client } = ctx.oidc;
  if (params.subject_token_type !== ACCESS_TOKEN) throw new errors.InvalidRequest('subject_token_type is none that is known');
  if (!inside.includes(params.audience)) throw new errors.InvalidTarget();
  let claims;
  try {
    claims = (await jwtVerify(params.subject_token, published, { issuer, audience, typ: 'at+jwt' })).payload;
  } catch (error) {
    throw new errors.InvalidGrant(`subject_token: ${error.code}`);
  }
  const token = new provider.AccessToken({ accountId: claims.sub, client, gty: 'token_exchange', scope: 'uc' });
  token.resourceServer = new provider.ResourceServer(params.audience, {
    scope: 'uc', audience: params.audience, accessTokenFormat: 'jwt', accessTokenTTL: ttl, jwt: { sign: { alg: 'RS256' } },
  });
  const value = await token.save();
  ctx.body = { access_token: value, issued_token_type: ACCESS_TOKEN, token_type: 'Bearer', expires_in: ttl };
  await next();
}, ['audience', 'scope', 'subject_token', 'subject_token_type', 'requested_token_type']);
provider.on('server_error', (ctx, error) => console.error('server_error', error));
// TLS ends here, and the framework must know.
provider.proxy = false;

let asked = 0;
const options = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) };
const answer = provider.callback();
https.createServer(options, (request, response) => {
  asked += 1;
  console.log('asked', asked, request.method, request.url.split('?')[0]);
  answer(request, response);
}).listen(Number(port), address, () => console.log('listening'));
