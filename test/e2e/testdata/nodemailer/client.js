// Drives a relay with nodemailer. Reads a JSON object on standard input, runs
// the scenario named in it and prints a JSON object with what happened.
'use strict';
const fs = require('fs');
const path = require('path');
const nodemailer = require(path.join(process.argv[2], 'node_modules', 'nodemailer'));

const conf = JSON.parse(fs.readFileSync(0, 'utf8'));

function transport(more) {
  const [host, port] = (conf.implicit ? conf.smtp_tls : conf.smtp_starttls).split(':');
  return nodemailer.createTransport({
    host, port: Number(port), secure: conf.implicit, requireTLS: true, name: 'client.example',
    auth: { user: conf.username, pass: conf.api_key },
    tls: { ca: fs.readFileSync(conf.ca_file), servername: conf.hostname },
    ...more,
  });
}

const mail = () => ({ from: conf.from, to: conf.to, subject: conf.subject, text: '.dot\nplain\n' });

const scenarios = {
  async plain() {
    const info = await transport({ authMethod: conf.auth_method }).sendMail(mail());
    return { response: info.response, accepted: info.accepted };
  },
  // A short-lived token in place of a password.
  async oauth2() {
    const info = await transport({ auth: { type: 'OAuth2', user: conf.user, accessToken: conf.access_token } }).sendMail(mail());
    return { response: info.response, accepted: info.accepted };
  },
  // Names and words outside ASCII, an alternative, an attachment, a hidden recipient, a DSN request.
  async rich() {
    const info = await transport().sendMail({
      ...mail(),
      from: { name: 'Jürgen Groß', address: conf.from },
      bcc: conf.bcc,
      subject: conf.subject + ' – grüße ☃',
      html: '<p>grüße ☃ ' + 'x'.repeat(3000) + '</p>',
      attachments: [{ filename: 'ÿ.bin', content: Buffer.alloc(300000, '\x00\xff\r\n.\n', 'latin1') }],
      dsn: { id: 'env-1', return: 'headers', notify: ['failure', 'delay'], recipient: conf.from },
    });
    return { response: info.response, accepted: info.accepted };
  },
  // Many messages over few reused connections.
  async pool() {
    const t = transport({ pool: true, maxConnections: 3, maxMessages: 20 });
    const infos = await Promise.all(Array.from({ length: conf.count }, () => t.sendMail(mail())));
    t.close();
    return { accepted: infos.flatMap((i) => i.accepted) };
  },
  async refused() {
    const m = mail();
    if (conf.header_from) m.from = conf.header_from;
    try {
      const info = await transport().sendMail({ ...m, envelope: { from: conf.from, to: [conf.to] } });
      return { response: info.response };
    } catch (e) {
      return { code: e.responseCode, response: e.response, stage: e.code };
    }
  },
};

scenarios[conf.scenario]().then(
  (r) => console.log(JSON.stringify(r)),
  (e) => { console.error(e); process.exitCode = 1; },
);
