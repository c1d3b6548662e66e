/**
 * Tells an alert by an SNMP notification of HOLDFAST-MIB (docs/HOLDFAST-MIB.txt), v2c or v3: a trap, which is delivered
 * when it has left, or an inform, which is when the receiver has answered.
 */
import * as snmp from 'net-snmp';
import { codeTraits, heldBackNotification } from '../../alerts/codes.ts';
import type { AlertMessage } from '../../alerts/alert.ts';
import type { AlertSink } from '../../alerts/sink.ts';
import type { AlertLevel } from '../../pulse/indication.ts';
import { readSecret } from './secret.ts';
import type { SnmpEngine } from './snmp-engine.ts';
import type { SnmpSettings } from './sink-settings.ts';

/** iso.org.dod.internet.private.enterprises.32473.1: RFC 5612's number for examples, until the product has its own. */
const root = '1.3.6.1.4.1.32473.1';
const objects = `${root}.1.1`;
const notifications = `${root}.2.0`;

/** HoldfastAlertLevel. */
const levelNumbers: Readonly<Record<AlertLevel, number>> = {
  'SYSTEM DOWN': 1,
  SERIOUS: 2,
  MODERATE: 3,
  TEMPORARY: 4,
};

const timeoutMs = 3000;
const retries = 2;
const textBytesMax = 255;

/** @param openEngine of SNMPv3; asked once, and again where it failed. */
export function createSnmpSink(settings: SnmpSettings, openEngine: () => Promise<SnmpEngine>): AlertSink {
  const { name, kind, levels, informs } = settings;
  const startedMs = performance.now();
  let engine: SnmpEngine | null = null;
  const open = new Set<snmp.Session>();
  return {
    name,
    kind,
    levels,
    async send(message) {
      if (settings.access.version === '3') engine ??= await openEngine();
      // A socket for each: they are few, and one that broke needs no mending.
      const session = await openSession(settings, engine, startedMs);
      open.add(session);
      try {
        await notify(session, informs, message, startedMs);
      } finally {
        open.delete(session);
        session.close();
      }
    },
    async close() {
      for (const session of open) session.close();
    },
  };
}

async function openSession(
  settings: SnmpSettings,
  engine: SnmpEngine | null,
  startedMs: number,
): Promise<snmp.Session> {
  const { host, port, access } = settings;
  const transport = host.includes(':') ? ('udp6' as const) : ('udp4' as const);
  const common = { port, trapPort: port, timeout: timeoutMs, retries, transport };
  if (access.version === '2c') {
    const community = access.community === null ? 'public' : await readSecret(access.community);
    return snmp.createSession(host, community, { ...common, version: snmp.Version2c });
  }
  const { user: name, authenticationKey, privacyKey, authentication, privacy } = access;
  const user: snmp.User = { name, level: snmp.SecurityLevel.noAuthNoPriv };
  if (authenticationKey !== null) {
    user.level = snmp.SecurityLevel.authNoPriv;
    user.authProtocol = snmp.AuthProtocols[authentication];
    user.authKey = await readSecret(authenticationKey);
    if (privacyKey !== null) {
      user.level = snmp.SecurityLevel.authPriv;
      user.privProtocol = snmp.PrivProtocols[privacy];
      user.privKey = await readSecret(privacyKey);
    }
  }
  const engineID = engine === null ? {} : { engineID: Buffer.from(engine.id) };
  const session = snmp.createV3Session(host, user, { ...common, ...engineID });
  if (engine !== null && !settings.informs) stampTraps(session, engine, startedMs);
  return session;
}

/**
 * The library sends traps as of boot 0, time 0. A receiver that has known this engine for longer than 150 seconds would
 * drop them as old (RFC 3414 §3.2 7b).
 */
function stampTraps(session: snmp.Session, engine: SnmpEngine, startedMs: number): void {
  const send = session.send.bind(session);
  session.send = (request, noWait) => {
    const parameters = request.message.msgSecurityParameters;
    if (parameters !== undefined) {
      parameters.msgAuthoritativeEngineBoots = engine.boots;
      parameters.msgAuthoritativeEngineTime = Math.floor((performance.now() - startedMs) / 1000);
    }
    return send(request, noWait);
  };
}

function notify(session: snmp.Session, informs: boolean, message: AlertMessage, startedMs: number): Promise<void> {
  const { notification } = message.code === 'held-back' ? heldBackNotification : codeTraits[message.code];
  const oid = `${notifications}.${notification}`;
  const options = { upTime: Math.floor((performance.now() - startedMs) / 10) };
  return new Promise((resolve, reject) => {
    session.on('error', reject);
    const done = (error: Error | null): void => (error === null ? resolve() : reject(error));
    if (informs) session.inform(oid, varbindsOf(message), options, done);
    else session.trap(oid, varbindsOf(message), options, done);
  });
}

/** In the order of the objects in HOLDFAST-MIB. */
function varbindsOf(message: AlertMessage): snmp.Varbind[] {
  const { OctetString, Integer } = snmp.ObjectType;
  const text = (value: string): [snmp.ObjectType, string] => [OctetString, shortened(value)];
  const values: [snmp.ObjectType, string | number | Buffer][] = [
    text(message.cluster),
    text(message.node),
    text(message.group ?? ''),
    text(message.component),
    text(message.id),
    [Integer, levelNumbers[message.level]],
    text(message.code),
    text(message.text),
    [OctetString, dateAndTime(message.atMs)],
    // TruthValue
    [Integer, message.over ? 1 : 2],
    text(message.messageId),
  ];
  return values.map(([type, value], index) => ({ oid: `${objects}.${index + 1}.0`, type, value }));
}

/** Whole characters within the size of a HoldfastText. */
function shortened(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= textBytesMax) return text;
  let end = textBytesMax - 3;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return `${bytes.subarray(0, end).toString()}…`;
}

/** SNMPv2-TC DateAndTime, UTC. */
function dateAndTime(wallMs: number): Buffer {
  const at = new Date(wallMs);
  const bytes = Buffer.alloc(11);
  bytes.writeUInt16BE(at.getUTCFullYear(), 0);
  bytes.set([at.getUTCMonth() + 1, at.getUTCDate(), at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()], 2);
  bytes.set([Math.floor(at.getUTCMilliseconds() / 100), '+'.charCodeAt(0), 0, 0], 7);
  return bytes;
}
