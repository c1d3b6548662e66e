/** Tells an alert by e-mail: a plain text that a phone shows at a glance. Delivered is what the server has accepted. */
import { readFile } from 'node:fs/promises';
import { createTransport } from 'nodemailer';
import { headlineOf, type AlertMessage } from '../../alerts/alert.ts';
import type { AlertSink } from '../../alerts/sink.ts';
import { readSecret } from './secret.ts';
import type { EmailSettings } from './sink-settings.ts';

const timeoutMs = 15_000;

export function createEmailSink(settings: EmailSettings): AlertSink {
  const { name, kind, levels } = settings;
  return { name, kind, levels, send: (message) => mail(settings, message), async close() {} };
}

/** A connection for each: they are few and far between, and an old one would have been dropped by the server. */
async function mail(settings: EmailSettings, message: AlertMessage): Promise<void> {
  const { host, port, security, caPath, login, from, to } = settings;
  const transport = createTransport({
    host,
    port,
    secure: security === 'tls',
    requireTLS: security === 'starttls',
    ignoreTLS: security === 'none',
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true,
    ...(caPath === null ? {} : { tls: { ca: await readFile(caPath) } }),
    ...(login === null ? {} : { auth: { user: login.user, pass: await readSecret(login.password) } }),
  });
  try {
    await transport.sendMail({
      from,
      to: [...to],
      subject: `[${message.cluster}] ${headlineOf(message)}`,
      text: textOf(message),
      date: new Date(message.saidAtMs),
      // The same at each try, by which mailboxes drop what came twice.
      messageId: `<${message.messageId}@holdfast.invalid>`,
      // What an automatic answer should not be sent to (RFC 3834 §5).
      headers: { 'auto-submitted': 'auto-generated' },
    });
  } finally {
    transport.close();
  }
}

function textOf(message: AlertMessage): string {
  const { text, level, code, component, id, group, node, cluster, atMs, saidAtMs, count, over, number, sender } =
    message;
  const time = (ms: number): string => new Date(ms).toISOString();
  const facts = [
    ['level', level],
    ['code', code],
    ['component', component],
    ['id', id],
    ...(group === null ? [] : [['group', group]]),
    ['seen by', node],
    ['cluster', cluster],
    ['since', time(atMs)],
    ...(over ? [['over', time(saidAtMs)]] : []),
    ...(count > 1 ? [['seen', `${count} times`]] : []),
    ...(number === 0 ? [] : [['alert', `${number} at ${sender}`]]),
  ];
  const table = facts.map(([name, value]) => `${`${name}:`.padEnd(11)}${value}`);
  const next =
    over || number === 0
      ? []
      : ['', `What to do: docs/manual/alerts/${code}.md`, `Seen to it? holdfast alerts ack ${number}`];
  return [`${over ? 'OVER: ' : ''}${text}`, '', ...table, ...next, ''].join('\n');
}
