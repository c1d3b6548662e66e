/** Text negotiations after a login, for tests. */
import type { Agreement } from '../../../src/hosts/iscsi/agreement.ts';
import { TextNegotiation } from '../../../src/hosts/iscsi/text.ts';
import {
  directoryOf,
  initiatorName,
  LoginTest,
  pairsOf,
  targetName,
  TestTarget,
  textHeader,
  textOf,
} from './initiator.ts';

export function agreement(type: 'normal' | 'discovery', maxSendDataSegmentLength = 8192): Agreement {
  const test = new LoginTest();
  const names = [`InitiatorName=${initiatorName}`, `TargetName=${targetName}`];
  test.send(
    { stage: 1, next: 3, transit: true },
    ...names,
    `SessionType=${type === 'normal' ? 'Normal' : 'Discovery'}`,
    `MaxRecvDataSegmentLength=${maxSendDataSegmentLength}`,
  );
  return test.agreement;
}

export function targets(count: number): TestTarget[] {
  return Array.from({ length: count }, (_, index) => {
    const target = new TestTarget();
    target.name = `iqn.2026-11.org.holdfast:c1:g${index + 1}`;
    target.portals = [
      { address: '0.0.0.0:3260', tag: 1 },
      { address: '[::]:3260', tag: 2 },
      { address: '10.0.0.2:3260', tag: 17 },
    ];
    return target;
  });
}

interface Request {
  final?: boolean;
  continues?: boolean;
  transferTag?: number;
}

export class TextTest {
  readonly negotiation: TextNegotiation;

  constructor(with_: Agreement, all: TestTarget[], local = '192.168.1.5') {
    this.negotiation = new TextNegotiation(with_, directoryOf(...all), { remote: '10.0.0.9', local });
  }

  ask(request: Request, ...pairs: string[]) {
    const data = textOf(pairs);
    const step = this.negotiation.request(textHeader(request), data);
    return step.kind === 'answer' ? { ...step, data: pairsOf(step.data) } : step;
  }
}
