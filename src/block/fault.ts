import { messageOf } from '../base/errors.ts';
import { errnoOf } from '../base/node/node-files.ts';
import type { BlockFault } from './device.ts';

const kinds: Readonly<Record<string, BlockFault['kind']>> = {
  ENOSPC: 'noSpace',
  EDQUOT: 'noSpace',
  EROFS: 'readOnly',
  ENXIO: 'gone',
  ENODEV: 'gone',
  ESTALE: 'gone',
  EBADF: 'gone',
};

/**
 * The operating system's error (or its name alone) as a fault. `otherwise` is the kind where the error does not say more
 * than that the operation failed. A flush never fails for want of space only: what it could not write is lost (R10).
 */
export function blockFault(
  path: string,
  error: unknown,
  otherwise: 'readFailed' | 'writeFailed' | 'flushFailed',
): BlockFault {
  const errno = typeof error === 'string' ? error : errnoOf(error);
  const named = kinds[errno] ?? otherwise;
  const kind = otherwise === 'flushFailed' && named !== 'gone' ? otherwise : named;
  return { kind, detail: `${typeof error === 'string' ? error : messageOf(error)} ${path}` };
}
