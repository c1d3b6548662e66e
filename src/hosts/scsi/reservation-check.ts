/** Whether a reservation keeps a command from being carried out (SPC-4 5.13.1, tables 62 and 63). */
import { type RegistrantPort, type Reservations, samePort } from '../../group/reservations.ts';
import type { ReservationClass } from './command.ts';

const WriteExclusive = { plain: 1, registrantsOnly: 5, allRegistrants: 7 } as const;

export function conflicts(state: Reservations | null, port: RegistrantPort, command: ReservationClass): boolean {
  const reservation = state?.reservation ?? null;
  if (state === null || reservation === null || command === 'any' || command === 'own') return false;
  const { type, holder } = reservation;
  if (holder !== null && samePort(holder, port)) return false;
  const forRegistrants = type >= WriteExclusive.registrantsOnly;
  if (forRegistrants && state.registrations.some((registration) => samePort(registration, port))) return false;
  const isWriteExclusive = type === WriteExclusive.plain || (forRegistrants && type % 2 === 1);
  return !(isWriteExclusive && command === 'read');
}
