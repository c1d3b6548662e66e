import { pino } from 'pino';
import type { Log } from '../log.ts';

/**
 * Log lines as JSON, one each, to standard error or a file. They are written synchronously: there are few, and the
 * last one before a crash is the one that matters. A log that cannot be written does not stop the node.
 */
export function createNodeLog(options: { readonly name: string; readonly path?: string }): Log {
  const destination = pino.destination({ dest: options.path ?? 2, sync: true, mkdir: true, append: true });
  destination.on('error', () => {});
  const logger = pino(
    { base: { pid: process.pid, node: options.name }, timestamp: pino.stdTimeFunctions.isoTime },
    destination,
  );
  return {
    info: (message, fields) => logger.info(fields ?? {}, message),
    warn: (message, fields) => logger.warn(fields ?? {}, message),
    error: (message, fields) => logger.error(fields ?? {}, message),
  };
}
