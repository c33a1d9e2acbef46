// A real OAuth 2.0 and OpenID Connect provider on loopback, for tests: package oidc starts it and says what it is for.
//
// It reads one line of JSON from its standard input (the options), writes one line of JSON to its standard output
// (where it listens), and ends when its standard input does, so that it never outlives whoever started it.
import { createHash, generateKeyPairSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import { Provider } from 'oidc-provider';

const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const sleep = (ms) => new Promise((done) => { setTimeout(done, ms); });

const lines = createInterface({ input: process.stdin });
const options = JSON.parse(await new Promise((done) => { lines.once('line', done); }));
lines.once('close', () => process.exit(0));

// Storage. The package's own forgets all but the last thousand entries, and what was revoked; this one forgets nothing.
const entries = new Map(); // "Model:id" to what is stored
const families = new Map(); // id of a grant to the keys of the tokens that came of it
const revoked = new Set(); // keys of tokens whose family was revoked
const used = new Map(); // keys of tokens to when they were rotated, in milliseconds

class Memory {
  constructor(model) { this.model = model; }

  key(id) { return `${this.model}:${id}`; }

  async upsert(id, payload) {
    const key = this.key(id);
    entries.set(key, payload);
    if (payload.grantId && this.model !== 'Session' && this.model !== 'Interaction') {
      if (!families.has(payload.grantId)) families.set(payload.grantId, new Set());
      families.get(payload.grantId).add(key);
    }
  }

  async find(id) { return entries.get(this.key(id)); }

  async findByUid(uid) {
    for (const [key, payload] of entries) {
      if (key.startsWith(`${this.model}:`) && payload.uid === uid) return payload;
    }
    return undefined;
  }

  async findByUserCode() { return undefined; }

  async destroy(id) { entries.delete(this.key(id)); }

  async consume(id) {
    entries.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
    used.set(this.key(id), Date.now());
  }

  async revokeByGrantId(grantId) {
    for (const key of families.get(grantId) ?? []) {
      if (key.startsWith(this.key(''))) {
        entries.delete(key);
        revoked.add(key);
      }
    }
  }
}

// tokenState says what a refresh token is worth: "current", "used", "revoked" or "unknown".
function tokenState(token) {
  const key = `RefreshToken:${token}`;
  const payload = entries.get(key);
  if (revoked.has(key)) return 'revoked';
  if (!payload) return 'unknown';
  if (!entries.has(`Grant:${payload.grantId}`)) return 'revoked';
  return payload.consumed ? 'used' : 'current';
}

// What happens to the token endpoint's answers, after it did its work: held until released, delayed, cut off.
let faults = { delayMs: 0, cut: 0, deny: false };
let hold = null;
const calls = [];

function startHold() {
  if (hold) throw new Error('answers are held already');
  let release;
  const released = new Promise((done) => { release = done; });
  hold = { reached: 0, watchers: [], released, release };
}

function endHold(cut) {
  const ended = hold;
  hold = null;
  ended?.release(cut);
  for (const watcher of ended?.watchers ?? []) watcher.done();
}

// watched waits until so many answers are held, or the hold ends.
function watched(count) {
  if (!hold || hold.reached >= count) return Promise.resolve();
  return new Promise((done) => { hold.watchers.push({ count, done }); });
}

// record notes every call of the token endpoint when its work is done, that is, when a rotation has happened.
async function record(ctx, next) {
  const received = Date.now();
  let socketClosed = false;
  ctx.res.once('close', () => { socketClosed = true; });
  await next();
  if (ctx.oidc?.route !== 'token') return;

  const { grant_type: grantType = '', refresh_token: presented } = ctx.oidc.params ?? {};
  const call = {
    grantType,
    clientId: ctx.oidc.client?.clientId ?? '',
    refreshToken: presented ? sha256(presented) : '',
    issued: ctx.body?.refresh_token ? sha256(ctx.body.refresh_token) : '',
    status: ctx.status,
    error: ctx.body?.error ?? '',
    fate: 'pending',
    received,
    worked: (ctx.body?.refresh_token && used.get(`RefreshToken:${presented}`)) || Date.now(),
  };
  calls.push(call);

  let cut = false;
  if (hold) {
    const { released } = hold;
    hold.reached += 1;
    for (const watcher of hold.watchers) if (hold.reached >= watcher.count) watcher.done();
    cut = await released;
  }
  if (faults.delayMs > 0) await sleep(faults.delayMs);
  if (!cut && faults.cut > 0) {
    faults.cut -= 1;
    cut = true;
  }
  if (cut) {
    ctx.respond = false;
    ctx.req.socket.destroy();
    call.fate = 'cut';
  } else if (socketClosed) {
    call.fate = 'abandoned';
  } else {
    ctx.res.once('finish', () => { call.fate = 'answered'; });
    ctx.res.once('close', () => { if (call.fate === 'pending') call.fate = 'abandoned'; });
  }
}

// consent plays the person in front of the browser: signs in as login_hint says, and agrees to everything, or to nothing.
async function consent(provider, req, res) {
  const interaction = await provider.interactionDetails(req, res);
  const { prompt, params, session } = interaction;
  if (faults.deny) {
    return provider.interactionFinished(req, res, { error: 'access_denied', error_description: 'the person said no' });
  }
  if (prompt.name === 'login') {
    return provider.interactionFinished(req, res, { login: { accountId: params.login_hint || 'ada' } });
  }
  const grant = interaction.grantId
    ? await provider.Grant.find(interaction.grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope ?? '');
  const grantId = await grant.save();
  return provider.interactionFinished(req, res, { consent: { grantId } });
}

function metadata(client) {
  return {
    client_id: client.id,
    ...(client.secret ? { client_secret: client.secret } : {}),
    token_endpoint_auth_method: client.authMethod,
    redirect_uris: client.redirectUris,
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
  };
}

async function listen(server) {
  await new Promise((done, failed) => {
    server.once('error', failed);
    server.listen(0, '127.0.0.1', done);
  });
  return `http://127.0.0.1:${server.address().port}`;
}

const front = createServer();
const issuer = await listen(front);

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const provider = new Provider(issuer, {
  adapter: Memory,
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'test', use: 'sig', alg: 'RS256' }] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  pkce: { required: () => true },
  responseTypes: ['code'],
  rotateRefreshToken: true,
  issueRefreshToken: (ctx, client, code) => client.grantTypeAllowed('refresh_token')
    && (!options.requireOfflineAccess || code.scopes.has('offline_access')),
  expiresWithSession: () => false,
  scopes: ['openid', 'offline_access', 'read', 'write'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
  findAccount: (ctx, sub) => ({
    accountId: sub,
    claims: () => ({ sub, name: sub, email: `${sub}@example.test`, email_verified: true }),
  }),
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  features: {
    devInteractions: { enabled: false },
    introspection: { enabled: true },
    revocation: { enabled: true },
    userinfo: { enabled: true },
  },
  ttl: {
    AccessToken: options.accessTokenSeconds,
    AuthorizationCode: 60,
    Grant: 30 * 86400,
    IdToken: 3600,
    Interaction: 3600,
    RefreshToken: 30 * 86400,
    Session: 86400,
  },
});
provider.use(record);
for (const client of options.clients) await new Memory('Client').upsert(client.id, metadata(client));

const callback = provider.callback();
front.on('request', (req, res) => {
  if (!req.url.startsWith('/interaction/')) {
    callback(req, res);
    return;
  }
  consent(provider, req, res).catch((err) => {
    res.writeHead(err.statusCode ?? 500, { 'Content-Type': 'text/plain' });
    res.end(String(err.message));
  });
});

// The admin endpoint, on a port of its own: what a test asks and orders.
const doors = {
  '/clients': async (body) => { await new Memory('Client').upsert(body.id, metadata(body)); },
  '/calls': async () => calls,
  '/faults': async (body) => { faults = body; },
  '/hold': async () => { startHold(); },
  '/held': async (body) => { await watched(body.count); return { reached: hold?.reached ?? 0 }; },
  '/release': async (body) => { endHold(body.cut); },
  '/state': async (body) => ({ state: tokenState(body.refreshToken) }),
};

async function admin(req, res) {
  const given = createHash('sha256').update(req.headers.authorization ?? '').digest();
  const wanted = createHash('sha256').update(`Bearer ${options.adminSecret}`).digest();
  if (!timingSafeEqual(given, wanted)) {
    res.writeHead(401).end();
    return;
  }
  const door = doors[req.url];
  if (!door) {
    res.writeHead(404).end();
    return;
  }
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  const answer = await door(JSON.parse(Buffer.concat(chunks).toString() || '{}'));
  res.writeHead(200, { 'Content-Type': 'application/json' });
  res.end(JSON.stringify(answer ?? {}));
}

const back = createServer((req, res) => {
  admin(req, res).catch((err) => { res.writeHead(500).end(String(err.message)); });
});
const adminUrl = await listen(back);

process.stdout.write(`${JSON.stringify({ issuer, adminUrl })}\n`);
