// A chat client as a web page has it: @xmpp/client over WebSocket (RFC 7395).
//
// page.js ORIGIN URL DOMAIN USER PASSWORD PEER: signs in, says hello to the peer, prints what it hears, one event on a line,
// and leaves when it hears "bye".

'use strict';

const [origin, url, domain, username, password, peer] = process.argv.slice(2);
const WebSocket = require('ws');
globalThis.WebSocket = class extends WebSocket {
  constructor(address, protocols) { super(address, protocols, { origin }); }
};

// Node 18 has it in a module only.
globalThis.crypto ??= require('node:crypto').webcrypto;
const say = (...words) => console.log(words.join(' '));

(async () => {
  // NODE_PATH counts for require alone, and the package is a module.
  const { client, xml } = await import(require.resolve('@xmpp/client'));
  const page = client({ service: url, domain, username, password, resource: 'page' });
  page.reconnect.stop();

  page.on('error', (error) => say('error', error.condition || error.code || error.message));
  page.on('status', (status) => say('status', status));
  page.on('stanza', (stanza) => {
    if (!stanza.is('message') || !stanza.getChildText('body')) return;
    const body = stanza.getChildText('body');
    say('heard', body);
    if (body === 'bye') page.stop();
  });
  page.on('online', async (address) => {
    say('online', address.toString());
    await page.send(xml('presence'));
    await page.send(xml('message', { to: peer, type: 'chat' }, xml('body', {}, 'hello from a page')));
  });
  page.start().catch((error) => say('failed', error.condition || error.name));
})();
