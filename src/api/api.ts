/** Serves the control API of a node over HTTP. Loopback only: it does not know who is calling (see `guard.ts`). */
import { createServer } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { HoldfastError, messageOf } from '../base/errors.ts';
import { formatAddress, type Address } from '../base/network.ts';
import type { NodeControl } from '../node/control.ts';
import { createRoutes } from './routes.ts';

type TcpAddress = Extract<Address, { kind: 'tcp' }>;

export interface RunningApi {
  /** The address really bound. */
  readonly address: TcpAddress;
  /** Ends open connections, event streams among them. */
  close(): Promise<void>;
}

/** Rejects with `E_PORT_TAKEN`, `E_ADDRESS_UNAVAILABLE` or `E_LISTEN`, naming the address. */
export async function startApi(control: NodeControl, address: TcpAddress, version: string): Promise<RunningApi> {
  const app = createRoutes(control, version);
  const answer = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, address)));
    server.listen(address.port, address.host, resolve);
  });
  const bound = server.address();
  const port = bound !== null && typeof bound === 'object' ? bound.port : address.port;
  return {
    address: { ...address, port },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listenError(error: NodeJS.ErrnoException, address: TcpAddress): HoldfastError {
  const where = `control API at ${formatAddress(address)}`;
  if (error.code === 'EADDRINUSE')
    return new HoldfastError('E_PORT_TAKEN', `${where}: another program listens there`);
  if (error.code === 'EADDRNOTAVAIL') {
    return new HoldfastError('E_ADDRESS_UNAVAILABLE', `${where}: the address is not of this machine`);
  }
  return new HoldfastError('E_LISTEN', `${where}: ${messageOf(error)}`, { cause: error });
}
