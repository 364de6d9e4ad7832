// Drives a relay's HTTP API with SendGrid's own clients, of which only the host
// is changed. Reads a JSON object on standard input: either a request for
// @sendgrid/client or a mail for @sendgrid/mail; prints what came back.
'use strict';
const fs = require('fs');
const path = require('path');
const modules = path.join(process.argv[2], 'node_modules');
const client = require(path.join(modules, '@sendgrid', 'client'));
const mail = require(path.join(modules, '@sendgrid', 'mail'));

const conf = JSON.parse(fs.readFileSync(0, 'utf8'));
client.setApiKey(conf.api_key);
client.setDefaultRequest('baseUrl', conf.base_url);
mail.setClient(client);
if (conf.subuser) mail.setSubstitutionWrappers('{{', '}}');

async function main() {
  if (conf.mail) {
    const [response] = await mail.send(conf.mail, false);
    return { status: response.statusCode, headers: response.headers };
  }
  const [response, body] = await client.request(conf.request);
  return { status: response.statusCode, headers: response.headers, body };
}

main().then(
  (r) => console.log(JSON.stringify(r)),
  (e) => {
    if (!e.response) throw e;
    console.log(JSON.stringify({ status: e.code, headers: e.response.headers, body: e.response.body }));
  },
);
