/** The sinks of the configuration, bound to the world. */
import type { AlertSink } from '../../alerts/sink.ts';
import { assertNever } from '../../base/assert.ts';
import type { Environment } from '../../base/environment.ts';
import { createCommandSink } from './command-sink.ts';
import { createEmailSink } from './email-sink.ts';
import type { SinkSettings } from './sink-settings.ts';
import { openSnmpEngine, type SnmpEngine } from './snmp-engine.ts';
import { createSnmpSink } from './snmp-sink.ts';
import { createWebhookSink } from './webhook-sink.ts';

/** @param folder of the node's alerts: there is its SNMP engine's identity. It need not exist. */
export function createSinks(
  settings: readonly SinkSettings[],
  environment: Pick<Environment, 'files' | 'random' | 'log'>,
  folder: string,
): readonly AlertSink[] {
  const { files, random, log } = environment;
  // One engine for all of them, booted once.
  let engine: Promise<SnmpEngine> | null = null;
  const openEngine = (): Promise<SnmpEngine> => {
    engine ??= files
      .makeFolder(folder)
      .then(() => openSnmpEngine(files, random, `${folder}/snmp-engine.json`))
      .catch((error: unknown) => {
        engine = null;
        throw error;
      });
    return engine;
  };
  return settings.map((sink) => {
    switch (sink.kind) {
      case 'snmp':
        return createSnmpSink(sink, openEngine);
      case 'webhook':
        return createWebhookSink(sink);
      case 'email':
        return createEmailSink(sink);
      case 'command':
        return createCommandSink(sink, log);
      default:
        return assertNever(sink);
    }
  });
}
