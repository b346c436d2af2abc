// A phone in a browser, without the browser: JsSIP on Node, whose WebSocket says the origin that a page would.
//
// node jssip.js URL ORIGIN AOR USER PASSWORD
//
// Each event is a line of JSON. The line "unregister" on standard input unregisters; its end ends the program.
'use strict';

const readline = require('node:readline');
const WebSocket = require('ws');

const [url, origin, uri, authorization_user, password] = process.argv.slice(2);

// JsSIP's own interface asks for the browser's class.
globalThis.WebSocket = class extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { origin });
  }
};
const JsSIP = require('jssip');

const phone = new JsSIP.UA({
  sockets: [new JsSIP.WebSocketInterface(url)],
  uri,
  authorization_user,
  password,
  register_expires: 600,
  user_agent: `JsSIP ${JsSIP.version}`,
});
for (const event of ['connected', 'disconnected', 'registered', 'unregistered', 'registrationFailed']) {
  phone.on(event, ({ cause, response }) => {
    console.log(JSON.stringify({ event, cause, status: response?.status_code }));
  });
}
phone.start();

readline
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    if (line === 'unregister') {
      phone.unregister();
    }
  })
  .on('close', () => process.exit(0));
