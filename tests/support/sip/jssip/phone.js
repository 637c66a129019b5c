// A phone as a web page has it: JsSIP over WebSocket (RFC 7118). Node has no media, so that the peer connection is a
// stand-in with a fixed session description; what is tested is signalling.
//
// phone.js ORIGIN URL USER DOMAIN PASSWORD CALLEE: registers, calls, hangs up when the call is up, and says what happens, one
// word on a line.

'use strict';

globalThis.window = globalThis;
const [origin, url, user, domain, password, callee] = process.argv.slice(2);
const WebSocket = require('ws');
globalThis.WebSocket = class extends WebSocket {
  constructor(address, protocols) { super(address, protocols, { origin }); }
};

class PeerConnection {
  constructor() {
    this.iceGatheringState = 'complete';
    this.iceConnectionState = 'connected';
    this.connectionState = 'connected';
    this.signalingState = 'stable';
    this.localDescription = null;
    this.remoteDescription = null;
  }

  createOffer() {
    return Promise.resolve({ type: 'offer', sdp: OFFER });
  }

  setLocalDescription(description) {
    this.localDescription = description;
    return Promise.resolve();
  }

  setRemoteDescription(description) {
    this.remoteDescription = description;
    return Promise.resolve();
  }

  addEventListener() {}
  removeEventListener() {}
  addTrack() {}
  getSenders() { return []; }
  getReceivers() { return []; }
  close() {}
}

const OFFER = [
  'v=0', 'o=- 1 1 IN IP4 192.0.2.1', 's=-', 'c=IN IP4 192.0.2.1', 't=0 0', 'm=audio 9 RTP/SAVP 8',
  'a=rtpmap:8 PCMA/8000', 'a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3BxcnN0',
  'a=sendrecv', '',
].join('\r\n');

globalThis.RTCPeerConnection = PeerConnection;
globalThis.RTCSessionDescription = class {
  constructor(description) { Object.assign(this, description); }
};

const JsSIP = require('jssip');
const say = (...words) => console.log(words.join(' '));

const ua = new JsSIP.UA({
  sockets: [new JsSIP.WebSocketInterface(url)],
  uri: `sip:${user}@${domain}`,
  password,
  register_expires: 300,
});

ua.on('connected', () => say('connected'));
ua.on('disconnected', () => say('disconnected'));
ua.on('registrationFailed', (event) => say('refused', event.response ? event.response.status_code : event.cause));
ua.on('registered', () => {
  say('registered');
  const session = ua.call(`sip:${callee}@${domain}`, { mediaConstraints: { audio: false, video: false } });
  session.on('progress', (event) => say('progress', event.response.status_code));
  session.on('failed', (event) => say('failed', event.cause));
  session.on('accepted', (event) => say('accepted', event.response.body.includes('RTP/SAVP') ? 'sealed' : 'open'));
  session.on('confirmed', () => session.terminate());
  session.on('ended', () => { say('ended'); ua.stop(); });
});
ua.start();
